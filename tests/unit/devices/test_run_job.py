"""A job over a real sshd: copied, run, followed, fetched, and nothing left."""

import re

import pytest

from compress.devices.connection import open_device
from compress.errors import DeviceError


def left_on(board):
    return [p.name for p in (board.home / ".cache/compress-device").glob("job-*")]


def test_a_job_runs_there_and_its_results_come_back_whole(board, device, make_job, tmp_path):
    said = []
    big = bytes(range(256)) * 3000
    source = "import shutil, edge_runtime\nprint('grüße', flush=True)\nshutil.copy('big.bin', 'out/sub.bin')"

    done = open_device(device).run_job(
        *make_job(source, **{"big.bin": big}), results=tmp_path / "out", on_output=said.append
    )

    assert (done.code, "".join(said), done.events) == (0, "grüße\n", ())
    assert (tmp_path / "out" / "sub.bin").read_bytes() == big
    assert left_on(board) == []


@pytest.mark.slow
def test_a_job_that_never_stops_talking_is_not_taken_for_abandoned(board, device, make_job, tmp_path):
    source = "import time\nfor i in range(600): print(i, flush=True); time.sleep(0.015)"
    said = []

    done = open_device(device.model_copy(update={"grace_s": 5.0})).run_job(
        *make_job(source), results=tmp_path / "out", on_output=said.append
    )

    assert (done.code, done.events) == (0, ())
    assert len("".join(said)) > 500


def test_what_a_device_says_cannot_steer_the_terminal(board, device, make_job, tmp_path):
    said = []

    open_device(device).run_job(
        *make_job(r"print('red \x1b[31m title \x1b]0;x\x07 back\x08 \x9b1m')"),
        results=tmp_path / "out",
        on_output=said.append,
    )

    assert "".join(said) == "red [31m title ]0;x back 1m\n"


def test_a_failing_command_reports_its_code_and_keeps_its_output(board, device, make_job, tmp_path):
    said = []

    done = open_device(device).run_job(
        *make_job("raise SystemExit(7)"), results=tmp_path / "out", on_output=said.append
    )

    assert done.code == 7
    assert left_on(board) == []


def test_a_job_over_its_time_is_ended_with_all_its_processes(board, device, make_job, tmp_path):
    source = "import subprocess, time\nsubprocess.Popen(['setsid', 'sleep', '977'])\ntime.sleep(977)"

    with pytest.raises(
        DeviceError, match=r"device board: the job was ended after its limit of 1 s\n  fix: give it more time"
    ):
        open_device(device).run_job(*make_job(source), results=tmp_path / "out", timeout_s=1)

    assert processes("sleep 977") == []
    assert left_on(board) == []


def processes(words):
    from pathlib import Path

    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if re.search(words, text):
            found.append(text)
    return found
