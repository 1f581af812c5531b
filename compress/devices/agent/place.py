"""The folders of a device and the lock on it."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from compress.devices.agent.wire import Refused

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Place:
    """The folders of one device: `store` holds files by their sha256, `job-ID` a session, `site-ID` unpacked wheels."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.root = Path(os.path.expanduser(request["workdir"]))
        self.store = self.root / "store"
        self.job = self.root / ("job-" + request.get("job", "none"))

    def lease(self) -> None:
        """Say that somebody still wants this session. Its time stamp only has to change, so no clock is trusted."""
        try:
            (self.job / "lease").write_bytes(os.urandom(8))
        except FileNotFoundError as error:
            raise Refused("gone", boot_id=boot_id()) from error


def lock_path() -> Path:
    """One for the whole device, whoever measures on it."""
    return Path(tempfile.gettempdir()) / "compress-device.lock"


def open_lock() -> int:
    """The lock file, open; made if absent, and never through a link."""
    path, flags = lock_path(), os.O_NOFOLLOW | os.O_CLOEXEC
    for extra in (os.O_RDWR, os.O_RDONLY):
        try:
            return os.open(path, extra | flags)
        except FileNotFoundError:
            break
        except PermissionError:
            continue
    fd = os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o666)
    os.fchmod(fd, 0o666)
    return fd


def take_lock(wait_s: float = 1.0) -> int:
    """The open lock, taken; Refused with who has it otherwise. The wait is for others who only looked."""
    fd, limit = open_lock(), time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except OSError:
            if time.monotonic() > limit:
                break
            time.sleep(0.05)
    try:
        holder = json.loads(os.pread(fd, 4096, 0))
        holder["for_s"] = round(uptime() - holder.pop("since"), 1)
    except (ValueError, KeyError, TypeError):
        holder = {}
    os.close(fd)
    raise Refused("busy", holder=holder)


def is_held() -> bool:
    """Whether some session has the device."""
    fd = open_lock()
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(fd)


def uptime() -> float:
    """Seconds that only ever grow, the same for all processes."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def boot_id() -> str:
    """Another text after each boot; empty where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def free_bytes(path: str | Path) -> int | None:
    """Room on the disk that holds a path or would hold it; None if unknown."""
    path = os.path.abspath(path)
    while not os.path.exists(path) and path != "/":
        path = os.path.dirname(path)
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def sha256_file(path: Path) -> str:
    """Of a whole file, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while data := f.read(1 << 20):
            digest.update(data)
    return digest.hexdigest()


def inside(folder: Path, path: str) -> Path:
    """folder/path, refused if it would lie elsewhere."""
    parts = path.split("/")
    if not path or any(p in ("", ".", "..") for p in parts):
        raise Refused("bad path", path=path)
    return folder.joinpath(*parts)


def write_whole(path: Path, data: bytes) -> None:
    """Under its name only when it is complete."""
    partial = path.with_name(path.name + ".new")
    partial.write_bytes(data)
    os.replace(partial, path)
