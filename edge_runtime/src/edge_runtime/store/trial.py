"""A version on trial: is it in good health over its first calls, and did it kill the process that tried it?"""

from __future__ import annotations

import contextlib
import os
import secrets
import statistics
import threading
from typing import TYPE_CHECKING

from edge_runtime.store.lock import try_lock

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from edge_runtime.store.state import Limits

_FEWEST_FOR_LATENCY = 20  # examples before a median says anything


class Trial:
    """Counts of one handle's calls of a version on trial. Thread-safe."""

    def __init__(self, limits: Limits, mark: CrashMark | None = None) -> None:
        self.limits, self._mark = limits, mark
        self.inside: AbstractContextManager[None] = mark or contextlib.nullcontext()
        self.calls = self.errors = 0
        self._latencies_ms: list[float] = []
        self._lock = threading.Lock()

    def answered(self, examples: int, latency_ms: float) -> str | None:
        """Note a good call. Returns None while the trial goes on, "" once it is passed, else why it failed."""
        with self._lock:
            before, self.calls = self.calls, self.calls + examples
            self._latencies_ms.append(latency_ms / max(examples, 1))
            ended = self.calls >= self.limits.calls
            if ended or self.calls // _FEWEST_FOR_LATENCY > before // _FEWEST_FOR_LATENCY:
                limit, median = self.limits.latency_ms, statistics.median(self._latencies_ms)
                if limit is not None and median > limit:
                    return f"median latency {median:.2f} ms over {self.calls} calls, the limit is {limit:g} ms"
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
    out of memory. The mark is written through the page cache without a sync, so that a power cut is no crash.
    """

    def __init__(self, folder: Path, version: str) -> None:
        """Raises OSError where the store cannot be written."""
        self._path = folder / f"{version}.{os.getpid()}.{secrets.token_hex(4)}"
        self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        self._lock, self._inside = threading.Lock(), 0
        try_lock(self._handle)
        os.pwrite(self._handle, b"0", 0)

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
    """How many processes died inside a call of this version. Marks of processes that just ended are removed."""
    count = 0
    for path in folder.glob(f"{version}.*"):
        try:
            handle = os.open(path, os.O_RDWR)
        except OSError:
            continue
        try:
            if try_lock(handle):
                if os.pread(handle, 1, 0) == b"1":
                    count += 1
                else:
                    path.unlink(missing_ok=True)
        finally:
            os.close(handle)
    return count


def clear_crashes(folder: Path, version: str) -> None:
    """Forget the dead processes of a version."""
    for path in folder.glob(f"{version}.*"):
        path.unlink(missing_ok=True)
