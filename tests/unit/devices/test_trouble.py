"""What goes wrong between a laptop and a device: each has its text, and nothing stays behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from pi.proxy import Proxy
from pi.sshd import Sshd

from compress.devices import session
from compress.devices.agent import supervisor
from compress.devices.agent.place import Place
from compress.devices.connection import open_device
from compress.devices.session import Session
from compress.devices.wheelhouse import require_engine
from compress.errors import DeviceError

LINES = "import time\nfor i in range(40): print('line', i, flush=True); time.sleep(0.1)\n"
SLEEPS = (
    "import subprocess, time\nsubprocess.Popen(['setsid', 'sleep', '{0}'])\nprint('up', flush=True)\ntime.sleep({0})"
)


def running(words):
    out = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if words in text and "setsid" not in text:
            out.append(text)
    return out


def left_on(board):
    return [p.name for p in (board.home / ".cache/compress-device").glob("job-*")]


def wait_for(check, seconds=30.0):
    limit = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < limit, "it did not happen"
        time.sleep(0.1)


# ---- before anything runs --------------------------------------------------------------------------------------------


def test_a_host_that_is_not_there(board):
    nowhere = board.device("gone").model_copy(update={"ssh": "nobody.invalid"})
    with pytest.raises(DeviceError, match=r"device gone: no host is called 'nobody\.invalid'\n  fix: check the name"):
        open_device(nowhere).probe()

    silent = board.device("off").model_copy(update={"ssh": "127.0.0.1:9"})
    with pytest.raises(DeviceError, match=r"127\.0\.0\.1 cannot be reached: connection refused\n  fix: is it on"):
        open_device(silent).probe()


def test_a_key_it_does_not_know(board):
    with pytest.raises(DeviceError, match=r"accepts none of your keys: (?s:.*)fix: `ssh-copy-id"):
        open_device(board.device("closed", key="stranger")).probe()


def test_a_host_key_that_is_unknown_or_has_changed(board):
    device = board.device("strange")
    (board.folder / "known_hosts").write_text("")
    with pytest.raises(DeviceError, match="is not known here, so it could be anybody\n  fix: `ssh -p"):
        open_device(device).probe()

    board.trust(board.folder / "stranger.pub")
    with pytest.raises(DeviceError, match=r"has changed(?s:.*)somebody is in between(?s:.*)ssh-keygen -R"):
        open_device(device).probe()
    board.trust(board.folder / "hostkey.pub")


def test_no_python_or_one_too_old(board, tmp_path):
    with pytest.raises(DeviceError, match=r"there is no 'python4' on the device(?s:.*)apt install python3"):
        open_device(board.device("bare", python="python4")).probe()

    old = tmp_path / "old python"
    old.write_text(f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = (3, 7, 3, 0, 0)\n$2"\n')
    old.chmod(0o755)
    with pytest.raises(
        DeviceError, match=r"is Python 3\.7 there; edge_runtime needs 3\.9 or newer\n  fix: install one"
    ):
        open_device(board.device("old", python=str(old))).probe()


def test_no_engine_says_which_command_brings_one(board, tmp_path):
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nexec {Path(sys.executable).resolve()} -I -S "$@"\n')
    bare.chmod(0o755)
    probe = open_device(board.device("bare", python=str(bare))).probe()

    with pytest.raises(
        DeviceError, match="its Python has no numpy and no an engine for onnx\n  fix: `compress devices prep"
    ):
        require_engine(probe, ["onnx"])


def test_a_folder_that_cannot_be_written(device, make_job, tmp_path):
    closed = device.model_copy(update={"workdir": "/proc/none"})

    with pytest.raises(DeviceError, match=r"cannot be written: (?s:.*)fix: name another folder: workdir"):
        open_device(closed).run_job(*make_job("pass"), results=tmp_path / "out")


@pytest.mark.slow
def test_a_full_disk(tmp_path, make_job):
    home = tmp_path / "home"
    home.mkdir()
    command = f'export HOME={home} TMPDIR={home}; ulimit -f 200; cd {home}; exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n'
    job, words = make_job("pass", **{"big.bin": os.urandom(300_000)})
    with Sshd(tmp_path / "sshd", command) as sshd:
        device = sshd.device("small", python=sys.executable)
        with pytest.raises(DeviceError, match=r"the device's disk is full(?s:.*)fix: make room there"):
            open_device(device).run_job(job, words, results=tmp_path / "out")

    assert [p.name for p in (home / ".cache/compress-device").rglob("*.part")] == []
    assert [p.name for p in (home / ".cache/compress-device").glob("job-*")] == []


def test_the_device_names_a_result_that_lies_elsewhere():
    for path in ("../x", "/etc/passwd", "a/../../x", "", "a\\b"):
        with pytest.raises(DeviceError, match="do not trust this device"):
            session._safe(path, "device evil")


# ---- on the way ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_file_damaged_on_its_way_is_sent_again(board, device, make_job, tmp_path):
    data = os.urandom(50_000)
    job, words = make_job("import shutil; shutil.copy('big.bin', 'out/back.bin')", **{"big.bin": data})
    import hashlib

    store = board.home / ".cache/compress-device/store"
    store.mkdir(parents=True, exist_ok=True)
    (store / (hashlib.sha256(data).hexdigest() + ".part")).write_bytes(b"\0" * 1000 + data[1000:20_000])

    done = open_device(device).run_job(job, words, results=tmp_path / "out")

    assert (tmp_path / "out/back.bin").read_bytes() == data
    assert done.events == ("1 file(s) arrived damaged; sending them again",)


@pytest.mark.slow
def test_a_file_damaged_twice_is_an_error(device, make_job, tmp_path, monkeypatch):
    real = Session._put_once

    def other_bytes(self, by_sum, more):
        return real(self, {name: b"\0" * len(data) for name, data in by_sum.items()}, more)

    monkeypatch.setattr(Session, "_put_once", other_bytes)
    with pytest.raises(DeviceError, match=r"damaged in transit, twice: (?s:.*)main\.py"):
        open_device(device).run_job(*make_job("# never seen before\n"), results=tmp_path / "out")


@pytest.mark.slow
def test_a_result_cut_short_is_no_result(board, device, make_job, tmp_path, monkeypatch):
    real = Session.fetch

    def cut_first(self, entries, folder):
        (found,) = (board.home / ".cache/compress-device").glob("job-*/work/out/r.json")
        found.write_bytes(found.read_bytes()[:10])
        real(self, entries, folder)

    monkeypatch.setattr(Session, "fetch", cut_first)
    with pytest.raises(DeviceError, match=r"the result r\.json arrived cut short or damaged, twice"):
        open_device(device).run_job(*make_job("open('out/r.json', 'w').write('x' * 100)"), results=tmp_path / "out")

    assert not (tmp_path / "out" / "r.json").exists()
    assert left_on(board) == []


@pytest.mark.slow
@pytest.mark.parametrize("resets", [False, True], ids=["stalls", "drops"])
def test_a_link_that_is_cut_loses_nothing(board, make_job, tmp_path, resets, monkeypatch):
    monkeypatch.setattr(session, "SILENCE_S", 2.0)
    said = []
    with Proxy(board.port) as proxy:
        device = board.device("far", port=proxy.port, python=sys.executable, grace_s=60)
        cut = threading.Timer(0, lambda: None)

        def on_output(text):
            nonlocal cut
            if not said:
                cut = threading.Thread(target=proxy.cut, args=(3.5, resets))
                cut.start()
            said.append(text)

        done = open_device(device).run_job(*make_job(LINES), results=tmp_path / "out", on_output=on_output)
        cut.join()
    board.trust(board.folder / "hostkey.pub")

    assert "".join(said) == "".join(f"line {i}\n" for i in range(40))
    assert done.code == 0
    assert left_on(board) == []


# ---- ends ------------------------------------------------------------------------------------------------------------

TOOL = """
import sys
from pathlib import Path
from compress.devices.connection import open_device
from compress.devices.schema import Device
device = Device.model_validate_json(sys.argv[1])
open_device(device).run_job(Path(sys.argv[2]), ["{python}", "main.py"], results=Path(sys.argv[3]),
                            on_output=lambda text: print(text, flush=True))
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill -9"])
def test_the_end_of_the_tool_ends_the_job(board, device, make_job, tmp_path, number):
    seconds = {signal.SIGINT: "971", signal.SIGKILL: "972"}[number]
    job, _ = make_job(SLEEPS.format(seconds))
    device = device.model_copy(update={"grace_s": 5.0})
    tool = subprocess.Popen([sys.executable, "-c", TOOL, device.model_dump_json(), str(job), str(tmp_path / "out")],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
    assert tool.stdout.readline() == "up\n"
    assert running(f"sleep {seconds}")

    tool.send_signal(number)
    tool.communicate(timeout=60)

    wait_for(lambda: not running(f"sleep {seconds}") and not left_on(board))


@pytest.mark.slow
def test_two_at_once_are_refused_with_who_has_it(board, device, make_job, tmp_path):
    job, words = make_job("import time; print('up', flush=True); time.sleep(12)")
    up = threading.Event()
    first = threading.Thread(
        target=lambda: open_device(device).run_job(
            job, words, results=tmp_path / "one", on_output=lambda text: up.set()
        )
    )
    first.start()
    assert up.wait(60)

    with pytest.raises(DeviceError) as caught:
        open_device(device).run_job(job, words, results=tmp_path / "two")
    held = open_device(device).probe().held
    first.join()

    assert f"(pid {os.getpid()}) is measuring there, for " in caught.value.what
    assert "main.py" in caught.value.what
    assert "two measurements at once would spoil both" in caught.value.fix
    assert str(os.getpid()) in held["who"]
    assert open_device(device).probe().held is None


@pytest.mark.slow
def test_a_keeper_killed_on_the_device_is_noticed(board, device, make_job, tmp_path):
    def kill(text):
        (job,) = (board.home / ".cache/compress-device").glob("job-*")
        for path in Path("/proc").glob("[0-9]*"):
            try:
                mine = (path / "environ").read_bytes().split(b"\0")
                if f"HOME={board.home}".encode() in mine and b"-c" in (path / "cmdline").read_bytes():
                    parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
                    if parent == "1" and f"COMPRESS_JOB={job.name[4:]}".encode() not in mine:
                        os.kill(int(path.name), signal.SIGKILL)
            except OSError:
                continue

    with pytest.raises(DeviceError, match="the job is gone from the device"):
        open_device(device).run_job(
            *make_job("import time; print('up', flush=True); time.sleep(8)"), results=tmp_path / "o", on_output=kill
        )
    done = open_device(device).run_job(tmp_path / "job", ["{python}", "-c", "pass"], results=tmp_path / "again")

    assert done.code == 0  # the next session sweeps what the dead one left
    assert left_on(board) == []


def test_a_clock_that_jumps_is_told_and_changes_no_duration(tmp_path, monkeypatch):
    place = Place({"workdir": str(tmp_path), "job": "abc"})
    (place.job / "work" / "out").mkdir(parents=True)
    (place.job / "go").write_text('{"command": ["true"], "timeout_s": 60}')
    keeper = supervisor.Supervisor(place, {"job": "abc", "grace_s": 60})
    keeper.step()
    keeper.process.wait()
    now = time.time
    monkeypatch.setattr(supervisor.time, "time", lambda: now() + 3600)
    keeper.step()

    import json

    done = json.loads((place.job / "done").read_text())
    assert done["clock_jump_s"] == pytest.approx(3600, abs=1)
    assert done["seconds"] < 30
    assert (done["reason"], done["code"]) == ("ended", 0)
