"""Stopping: put off while a module is being imported, then raised; in a process of its own each time."""

import subprocess
import sys

import pytest

HALF = "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\nfor _ in range(1000): pass\nfinished = True\n"


def run(folder, script):
    start = "import sys, time\nfrom compress.interrupt import stop_on_signals\nstop_on_signals()\n"
    (folder / "main.py").write_text(start + script)  # a file: what -c runs is itself an exec of a string
    return subprocess.run([sys.executable, "main.py"], cwd=folder, capture_output=True, text=True, timeout=60)


CAUGHT = "except KeyboardInterrupt:\n    print('stopped', {seen})\n    sys.exit(130)\n"


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT"])
def test_a_signal_in_mid_import_waits_for_its_end(tmp_path, how):
    (tmp_path / "half.py").write_text(HALF.replace("SIGTERM", how))
    done = run(tmp_path, "try:\n    import half\n    time.sleep(30)\n" + CAUGHT.format(seen="half.finished"))

    assert (done.stdout, done.returncode) == ("stopped True\n", 130), done.stderr


def test_a_signal_inside_exec_does_not_kill_the_process_at_its_end(tmp_path):
    script = f"try:\n    exec({HALF!r})\n    time.sleep(30)\n" + CAUGHT.format(seen="True")
    done = run(tmp_path, script)

    assert (done.stdout, done.returncode) == ("stopped True\n", 130), done.stderr


def test_a_signal_in_plain_code_is_not_put_off(tmp_path):
    script = "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\n    print('late')\n"
    done = run(tmp_path, script + CAUGHT.format(seen="True"))

    assert (done.stdout, done.returncode) == ("stopped True\n", 130), done.stderr


def test_an_import_that_never_ends_is_interrupted_all_the_same(tmp_path):
    (tmp_path / "endless.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(60)\n"
    )
    script = "import compress.interrupt as room\nroom.MOST_PAUSES = 5\ntry:\n    import endless\n"
    done = run(tmp_path, script + CAUGHT.format(seen="True"))

    assert (done.stdout, done.returncode) == ("stopped True\n", 130), done.stderr


def test_a_background_job_of_a_shell_goes_on_ignoring_ctrl_c(tmp_path):
    script = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nprint('goes on')\n"
    (tmp_path / "main.py").write_text("from compress.interrupt import stop_on_signals\nstop_on_signals()\n" + script)
    ignoring = "import signal, os, sys\nsignal.signal(2, signal.SIG_IGN)\n"
    command = ignoring + "os.execv(sys.executable, [sys.executable, 'main.py'])"
    done = subprocess.run([sys.executable, "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert done.stdout == "goes on\n", done.stderr
