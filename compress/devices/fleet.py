"""The same task on several devices at once, each with its own log; one that fails does not spoil the others."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TextIO, TypeVar

from compress.devices.call import printable
from compress.devices.connection import Connection, open_device
from compress.devices.schema import Device
from compress.devices.session import Output
from compress.errors import CompressError

T = TypeVar("T")
Task = Callable[[Connection, Output], T]


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What one device gave: a value, or the error that kept it from giving one. log: what was said meanwhile."""

    device: Device
    value: T | None
    error: CompressError | None
    seconds: float
    log: Path | None


def on_each(devices: Sequence[Device], task: Task[T], *, logs: Path | None = None) -> tuple[Outcome[T], ...]:
    """task(connection, write) for every device, side by side; outcomes in the order of the devices.

    logs: folder for NAME.log, one a device: everything the task writes and every event of the connection.
    Nothing but a bug or Ctrl-C is raised; Ctrl-C ends the jobs on all devices first.
    """
    stop = threading.Event()
    found: dict[str, Outcome[T]] = {}
    bugs: list[BaseException] = []

    def work(device: Device) -> None:
        try:
            found[device.name] = _one(device, task, logs, stop)
        except BaseException as error:
            bugs.append(error)
            stop.set()

    threads = [threading.Thread(target=work, args=(d,), name=f"device {d.name}") for d in devices]
    for thread in threads:
        thread.start()
    try:
        while any(t.is_alive() for t in threads):
            for thread in threads:
                thread.join(0.1)
    except BaseException:
        stop.set()
        for thread in threads:
            thread.join()
        raise
    for bug in bugs:
        if not isinstance(bug, KeyboardInterrupt):  # the others only followed it
            raise bug
    return tuple(found[d.name] for d in devices)


def _one(device: Device, task: Task[T], logs: Path | None, stop: threading.Event) -> Outcome[T]:
    started, path = time.monotonic(), logs / f"{device.name}.log" if logs else None
    log = _Log(path)
    value: T | None = None
    failure: CompressError | None = None
    try:
        with open_device(device, lambda text: log.write(f"[{text}]\n"), stop) as connection:
            value = task(connection, log.write)
    except CompressError as error:
        failure = error
        log.write(f"{error}\n")
    finally:
        log.close()
    return Outcome(device, value, failure, time.monotonic() - started, path)


class _Log:
    """A file that is written through, so that it can be watched; without control characters."""

    def __init__(self, path: Path | None) -> None:
        self._file: TextIO | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("w", encoding="utf-8")

    def write(self, text: str) -> None:
        if self._file is not None:
            self._file.write(printable(text))
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
