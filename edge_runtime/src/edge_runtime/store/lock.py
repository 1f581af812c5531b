"""One writer at a time on a store, across processes and threads.

The kernel's own lock on a file (flock): it ends with its process, however that dies, so there are no stale locks to
clear. The file says who holds it, for the message of those who wait.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from edge_runtime.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

_RETRY_S = 0.02


class Lock:
    """Context manager. wait_s: how long to wait for another holder before giving up."""

    def __init__(self, path: Path, wait_s: float) -> None:
        self._path, self._wait_s = path, wait_s
        self._handle: int | None = None

    def __enter__(self) -> Lock:
        """Take the lock.

        Raises:
            StoreError: another process holds it for longer than wait_s, or the store cannot be written.
        """
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            fix = "run it as the user that owns the store"
            raise StoreError(f"cannot be opened for writing: {error.strerror}", str(self._path), fix) from error
        end = time.monotonic() + self._wait_s
        while not try_lock(handle):
            if time.monotonic() >= end:
                holder = os.pread(handle, 500, 0).decode("utf-8", "replace").strip() or "another process"
                os.close(handle)
                what = f"the store is being changed by {holder}"
                raise StoreError(what, str(self._path), "wait for it or stop it; --wait SECONDS waits longer")
            time.sleep(_RETRY_S)
        self._handle = handle
        now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
        try:  # who holds it is a courtesy: a full disk must not stop a rollback
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"process {os.getpid()} ({os.path.basename(sys.argv[0])}) since {now}\n".encode(), 0)
        except OSError:
            pass
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None:
            _unlock(self._handle)  # closing does not while a child forked meanwhile holds it open
            os.close(self._handle)
            self._handle = None


def try_lock(handle: int) -> bool:
    """Lock an open file if nobody else has; False if somebody does.

    Raises:
        StoreError: this system has no such locks.
    """
    try:
        import fcntl
    except ImportError as error:
        what, fix = "model stores need a POSIX system (Linux, macOS)", "load a bundle folder with edge_runtime.load"
        raise StoreError(what, sys.platform, fix) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unlock(handle: int) -> None:
    import fcntl

    fcntl.flock(handle, fcntl.LOCK_UN)
