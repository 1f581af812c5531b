"""Several devices at once."""

import sys
import threading
import time

import pytest

from compress.devices.fleet import on_each
from compress.devices.schema import CPU, Device
from compress.errors import DeviceError

SCRATCH = Device(name="here")
NOWHERE = Device(name="nowhere", kind="ssh", ssh="127.0.0.1:9")


def test_one_that_fails_does_not_spoil_the_others_and_each_has_its_log(tmp_path):
    def task(connection, write):
        write(f"I am {connection.device.name}\x1b[31m\n")
        return connection.probe().python

    first, second = on_each([NOWHERE, CPU], task, logs=tmp_path)

    assert second.value == ".".join(map(str, sys.version_info[:3]))
    assert second.error is None
    assert first.value is None
    assert isinstance(first.error, DeviceError)
    assert (tmp_path / "cpu.log").read_text() == "I am cpu[31m\n"
    assert "connection refused" in (tmp_path / "nowhere.log").read_text()


def test_a_bug_in_the_task_is_not_hidden():
    def task(connection, write):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        on_each([CPU], task)


def test_they_run_side_by_side():
    both = threading.Barrier(2, timeout=20)

    on_each([CPU, SCRATCH], lambda connection, write: both.wait())


def test_ctrl_c_reaches_every_worker(monkeypatch):
    started, ended = threading.Event(), []

    def task(connection, write):
        started.set()
        try:
            connection._stop.wait(30)
            connection.probe()
        except KeyboardInterrupt:
            ended.append(connection.device.name)
            raise

    real = threading.Thread.join

    def join(self, timeout=None):  # the main thread is interrupted while it waits
        if started.is_set() and timeout == 0.1:
            monkeypatch.undo()
            raise KeyboardInterrupt
        return real(self, timeout)

    monkeypatch.setattr(threading.Thread, "join", join)
    before = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        on_each([CPU, SCRATCH], task)

    assert sorted(ended) == ["cpu", "here"]
    assert time.monotonic() - before < 25
