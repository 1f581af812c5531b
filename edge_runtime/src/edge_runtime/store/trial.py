"""A version on trial: is it in good health over its first calls, and did it kill the process that tried it?"""

from __future__ import annotations

import contextlib
import os
import secrets
import statistics
import threading
from collections import deque
from typing import TYPE_CHECKING

from edge_runtime.store.lock import try_lock

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from edge_runtime.store.state import Limits

_FEWEST_FOR_LATENCY = 20  # examples before a median says anything
_MOST_LATENCIES = 1000  # calls that it looks back on: a canary may run for weeks
_BOOT_ID = "/proc/sys/kernel/random/boot_id"


class Trial:
    """Counts of one handle's calls of a version on trial. Thread-safe."""

    def __init__(self, limits: Limits, mark: CrashMark | None = None) -> None:
        self.limits, self._mark = limits, mark
        self.inside: AbstractContextManager[None] = mark or contextlib.nullcontext()
        self.calls = self.errors = 0
        self._latencies_ms: deque[float] = deque(maxlen=_MOST_LATENCIES)
        self._lock = threading.Lock()

    def answered(self, examples: int, latency_ms: float) -> str | None:
        """Note a good call. Returns None while the trial goes on, "" once it is passed, else why it failed."""
        with self._lock:
            before, self.calls = self.calls, self.calls + examples
            self._latencies_ms.append(latency_ms / max(examples, 1))
            limit, ended = self.limits.latency_ms, self.calls >= self.limits.calls
            ends = ended and before < self.limits.calls
            if limit is not None and (ends or self.calls // _FEWEST_FOR_LATENCY > before // _FEWEST_FOR_LATENCY):
                median = statistics.median(self._latencies_ms)
                if median > limit:
                    return f"median latency {median:.2f} ms after {self.calls} calls, the limit is {limit:g} ms"
            return "" if ended else None

    def failed(self, error: Exception) -> str | None:
        """Note a failure of the engine. Returns None if it is tolerated, else why the trial failed."""
        with self._lock:
            self.errors += 1
            if self.errors <= self.limits.errors:
                return None
        text = (str(getattr(error, "what", "")) or repr(error))[:200]
        return f"error {self.errors} after {self.calls} good calls (tolerated: {self.limits.errors}): {text}"

    def close(self) -> None:
        """The process leaves this version in good order."""
        if self._mark is not None:
            self._mark.close()


class CrashMark(contextlib.AbstractContextManager["None"]):
    """A file that says "inside a call" while one runs, and that is locked while its process lives.

    A mark that says so and is not locked any more is a process that died inside a call: by a fault of the engine, or
    out of memory. A power cut is no crash: the mark names the start of the machine that it is of, where that has a name
    (Linux).
    """

    def __init__(self, folder: Path, version: str) -> None:
        """Raises OSError where the store cannot be written."""
        self._path = folder / f"{version}.{os.getpid()}.{secrets.token_hex(4)}"
        self._lock, self._inside = threading.Lock(), 0
        hidden = folder / f".{self._path.name}"  # until it is whole and locked: `crashes` takes others away
        self._handle = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            try_lock(self._handle)
            os.pwrite(self._handle, b"0" + _boot(), 0)
            os.rename(hidden, self._path)
        except OSError:
            os.close(self._handle)
            hidden.unlink(missing_ok=True)
            raise

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._say(b"1")

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._say(b"0")

    def _say(self, text: bytes) -> None:
        with contextlib.suppress(OSError):  # closed meanwhile, or no room: a trial must not break the call
            os.pwrite(self._handle, text, 0)

    def close(self) -> None:
        """Remove the mark."""
        with self._lock:
            self._path.unlink(missing_ok=True)
            if self._handle >= 0:
                os.close(self._handle)
                self._handle = -1


def crashes(folder: Path, version: str) -> int:
    """How many processes died inside a call of this version since the machine started; other dead marks are removed."""
    count = 0
    for path in folder.glob(f"{version}.*"):
        try:
            handle = os.open(path, os.O_RDWR)
        except OSError:
            continue
        try:
            if try_lock(handle):
                if os.pread(handle, 100, 0) == b"1" + _boot():
                    count += 1
                else:
                    path.unlink(missing_ok=True)
        finally:
            os.close(handle)
    return count


def clear_crashes(folder: Path, version: str) -> None:
    """Forget the dead processes of a version."""
    for path in [*folder.glob(f"{version}.*"), *folder.glob(f".{version}.*")]:
        path.unlink(missing_ok=True)


def _boot() -> bytes:
    """This start of the machine, or nothing where the system does not say."""
    try:
        with open(_BOOT_ID, "rb") as file:
            return file.read(64).strip()
    except OSError:
        return b""
