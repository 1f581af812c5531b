"""The part that runs on the device: its sources are sent over stdin with every call, nothing is installed there.

A session begins with `begin`: a supervisor process detaches itself, takes the device's lock and makes a job folder.
It then runs the one command it is given, and it alone removes the folder: when told to (`end`), or when nobody has
renewed the lease for the grace time. The kernel drops the lock with the process, so a crash or reboot leaves none
behind. Times are monotonic: a clock that jumps changes nothing.

Standard library and Python 3.9 only; of compress it imports the modules beside it, which are sent along.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

from compress.devices.agent.look import probe
from compress.devices.agent.place import (
    FULL,
    Place,
    boot_id,
    free_bytes,
    inside,
    is_held,
    sha256_file,
    take_lock,
    uptime,
    write_whole,
)
from compress.devices.agent.supervisor import POLL_S, Supervisor
from compress.devices.agent.wire import CHUNK, MAGIC, Gone, Refused, Wire

HEARTBEAT_S = 1.0
MOST_STORE_BYTES = 512 << 20
RESERVE_BYTES = 1 << 16  # given back before the end is written down, so that a full disk can be told of
IDLE_LIMIT_S = 60.0  # of a call whose client says nothing any more


def main() -> None:
    """Answer the one request on stdin."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    wire = Wire(0, 1)
    os.write(1, MAGIC)
    try:
        request = json.loads(wire.line())
        CALLS[request["do"]](wire, request)
    except Refused as refused:
        wire.send(b"X", refused.facts)
    except Gone:
        pass
    except OSError as error:
        if error.errno in FULL:
            where = os.path.expanduser(request.get("workdir", "~"))
            wire.send(b"X", {"error": "disk full", "path": where, "free_bytes": free_bytes(where)})
        elif (
            isinstance(error, (PermissionError, NotADirectoryError, FileExistsError, FileNotFoundError))
            or error.errno == errno.EROFS
        ):
            wire.send(b"X", {"error": "not writable", "path": str(error.filename), "reason": error.strerror})
        else:
            raise


def begin(wire: Wire, request: dict[str, Any]) -> None:
    """Take the device and make the session's folder; a supervisor process keeps both."""
    place = Place(request)
    if place.job.exists() and is_held():  # the answer to an earlier try was lost on its way
        place.lease()
        wire.send(b"J", {"boot_id": boot_id(), "wall_s": time.time()})
        return
    lock = take_lock()
    place.store.mkdir(parents=True, exist_ok=True, mode=0o700)
    for old in place.root.glob("job-*"):  # of a session that a crash or a reboot ended: we have the lock
        shutil.rmtree(old, ignore_errors=True)
    _trim(place.store)
    place.job.mkdir(mode=0o700)
    (place.job / "reserve").write_bytes(bytes(RESERVE_BYTES))
    place.lease()
    holder = {"who": request["who"], "what": request["what"], "since": uptime(), "job": request["job"]}
    os.ftruncate(lock, 0)
    os.pwrite(lock, json.dumps(holder).encode(), 0)
    if os.fork() == 0:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        if os.fork() == 0:
            try:
                Supervisor(place, request).run()
            finally:
                os._exit(0)
        os._exit(0)
    os.wait()
    os.close(lock)
    wire.send(b"J", {"boot_id": boot_id(), "wall_s": time.time()})


def _trim(store: Path) -> None:
    """Forget the files longest unused where the store has grown too large."""
    files = sorted(((p.stat().st_mtime, p.stat().st_size, p) for p in store.iterdir()), key=lambda f: f[0])
    total = sum(size for _, size, _ in files)
    for _, size, path in files:
        if total <= MOST_STORE_BYTES:
            break
        path.unlink()
        total -= size


def put(wire: Wire, request: dict[str, Any]) -> None:
    """Take files into the store by their sums, each from where an earlier call was cut; then start the job, if any."""
    place = Place(request)
    place.lease()
    have = []
    for entry in request["files"]:
        name = entry["sha256"]
        whole, part = place.store / name, place.store / (name + ".part")
        if whole.exists() and whole.stat().st_size == entry["size"] and sha256_file(whole) == name:
            os.utime(whole)
            have.append(entry["size"])
            continue
        if part.exists() and part.stat().st_size > entry["size"]:
            part.unlink()
        have.append(part.stat().st_size if part.exists() else 0)
    wire.send(b"J", {"have": have})
    damaged, beat = [], time.monotonic()
    for i, entry in enumerate(request["files"]):
        offset = have[i]
        name, left = entry["sha256"], entry["size"] - offset
        part = place.store / (name + ".part")
        if (place.store / name).exists() and left == 0:
            continue
        try:
            with open(part, "ab", buffering=0) as f:
                while left:
                    data = wire.chunk(min(left, CHUNK))
                    written = f.write(data)
                    if written != len(data):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    left -= len(data)
                    if time.monotonic() - beat > HEARTBEAT_S:
                        place.lease()
                        wire.send(b"H")
                        beat = time.monotonic()
        except OSError as error:
            if error.errno in FULL:
                part.unlink()  # make room again: this device will not hold it
            raise
        if sha256_file(part) == name:
            os.replace(part, place.store / name)
        else:
            part.unlink()
            damaged.append(name)
    if not damaged and "start" in request:
        _lay_out(place, request["start"])
    wire.send(b"J", {"damaged": damaged})


def _lay_out(place: Place, job: dict[str, Any]) -> None:
    """Give the job its files and let the supervisor start the command. Said twice, it starts once."""
    if (place.job / "go").exists():
        return
    work = place.job / "work"
    shutil.rmtree(work, ignore_errors=True)
    (work / "out").mkdir(parents=True)
    for path, name in job["files"].items():
        target = inside(work, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(place.store / name, target)
        if sha256_file(target) != name:
            raise Refused("damaged", path=path)
    (place.job / "log").write_bytes(b"")
    write_whole(place.job / "go", json.dumps({"command": job["command"], "timeout_s": job["timeout_s"]}).encode())


def follow(wire: Wire, request: dict[str, Any]) -> None:
    """The log from an offset on, until the job has ended. The lease is renewed by what the client says, not by us."""
    place, offset = Place(request), request["offset"]
    place.lease()
    heard = beat = time.monotonic()
    while True:
        over = (place.job / "done").exists()  # looked at before the log: what comes after it is none
        try:
            with open(place.job / "log", "rb") as log:
                log.seek(offset)
                while data := log.read(CHUNK):
                    wire.send(b"D", data)
                    offset += len(data)
        except FileNotFoundError:
            place.lease()  # tells whether the session is gone
        if over:
            wire.send(b"J", json.loads((place.job / "done").read_bytes()))
            return
        if not is_held():
            raise Refused("gone", boot_id=boot_id())
        if wire.renewed(POLL_S):
            heard = time.monotonic()
            place.lease()
        now = time.monotonic()
        if now - beat > HEARTBEAT_S:
            wire.send(b"H")
            beat = now
        if now - heard > IDLE_LIMIT_S:
            return


def stop(wire: Wire, request: dict[str, Any]) -> None:
    """End the job now; answered when no process of it is left."""
    place = Place(request)
    place.lease()
    (place.job / "stop").write_bytes(b"")
    limit = time.monotonic() + 15
    started = (place.job / "go").exists()
    while started and not (place.job / "done").exists() and time.monotonic() < limit:
        if not is_held():
            raise Refused("gone", boot_id=boot_id())
        time.sleep(POLL_S / 2)
    wire.send(b"J", {})


def fetch(wire: Wire, request: dict[str, Any]) -> None:
    """One result file from an offset on."""
    place = Place(request)
    place.lease()
    path, beat = inside(place.job / "work" / "out", request["path"]), time.monotonic()
    with open(path, "rb") as f:
        f.seek(request["offset"])
        while data := f.read(CHUNK):
            wire.send(b"D", data)
            if time.monotonic() - beat > HEARTBEAT_S:
                place.lease()
                beat = time.monotonic()
    wire.send(b"J", {})


def end(wire: Wire, request: dict[str, Any]) -> None:
    """Close the session; answered when its folder is gone and the device free."""
    place = Place(request)
    if place.job.exists():
        (place.job / "end").write_bytes(b"")
    limit = time.monotonic() + 15
    while place.job.exists() and is_held() and time.monotonic() < limit:
        time.sleep(POLL_S / 4)
    if not is_held():
        shutil.rmtree(place.job, ignore_errors=True)
    wire.send(b"J", {"left": place.job.exists()})


def unpack(wire: Wire, request: dict[str, Any]) -> None:
    """Stored wheels into a folder of their own that jobs find on their path."""
    import zipfile

    place = Place(request)
    place.lease()
    site = inside(place.root, request["site"])
    partial = site.with_name(site.name + ".new")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    for name in request["wheels"].values():
        with zipfile.ZipFile(place.store / name) as wheel:
            for info in wheel.infolist():
                inside(partial, info.filename.rstrip("/"))
            wheel.extractall(partial)
        place.lease()
        wire.send(b"H")
    for old in place.root.glob("site-*"):
        if old != partial:
            shutil.rmtree(old)
    os.replace(partial, site)
    for name in request["wheels"].values():  # they would only fill the disk
        (place.store / name).unlink()
    wire.send(b"J", {})


def clean(wire: Wire, request: dict[str, Any]) -> None:
    """Remove everything we ever put here, unless a session is under way; nobody else's files, if `workdir` has some."""
    place = Place(request)
    os.close(take_lock())
    for ours in (place.store, *place.root.glob("job-*"), *place.root.glob("site-*")):
        if ours.exists():
            shutil.rmtree(ours)
    with contextlib.suppress(OSError):  # not empty, or never made
        place.root.rmdir()
    wire.send(b"J", {})


CALLS = {f.__name__: f for f in (probe, begin, put, follow, stop, fetch, end, unpack, clean)}
