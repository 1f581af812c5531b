"""One job's stay on a device. Every step may be repeated, so a broken link costs a retry and nothing else."""

import codecs
import getpass
import hashlib
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from compress.devices.call import SILENCE_S, Call, LinkLostError, RefusedError, Transport, printable, told
from compress.devices.schema import Device
from compress.devices.ssh import UnreachableError
from compress.errors import DeviceError

Output = Callable[[str], None]
T = TypeVar("T")
CLOCK_JUMP_S = 2.0
FIRST_CONTACT_S = 40.0
MOST_RESULT_BYTES = 1 << 30
_NO_TRUST = "do not trust this device"
_PUT_SILENCE_S = 60.0  # the device may be checking the sum of a large file


class Session:
    """One job's stay on the device. Every step may be repeated, so a broken link costs a retry and nothing else."""

    def __init__(
        self, device: Device, transport: Transport, note: Output, stop: threading.Event | None, what: str
    ) -> None:
        self.device, self.transport, self.note, self.stop, self.what = device, transport, note, stop, what
        self.id = uuid.uuid4().hex[:12]
        self.events: list[str] = []
        self._boot_id = ""
        self._where = f"device {device.name}"
        self._contact, self._met = time.monotonic(), False

    def begin(self) -> None:
        """Take the device."""
        request = {"do": "begin", "who": _who(), "what": self.what, "grace_s": self.device.grace_s}
        self._boot_id = self._retry(lambda: self._call(request))["boot_id"]

    def run(self, files: Mapping[str, Path], command: Sequence[str], timeout_s: float) -> None:
        """Copy the files (path in the job -> file here) and start the command."""
        self._put(files, {"command": list(command), "timeout_s": timeout_s})

    def unpack(self, wheels: Mapping[str, Path], site: str) -> None:
        """Copy wheels and unpack them."""
        sums = self._put(wheels)
        self._retry(lambda: self._call({"do": "unpack", "wheels": sums, "site": site}, silence_s=300))

    def follow(self, on_output: Output) -> dict[str, Any]:
        """The job's output until it ends; how it ended."""
        offset, decoder = 0, _Lines(on_output)

        def once() -> dict[str, Any]:
            nonlocal offset
            with self._open({"do": "follow", "offset": offset}) as call:
                for kind, data in call.frames(beat=True):
                    self._contact = time.monotonic()
                    if kind == "J":
                        return told(data)
                    offset += len(data)
                    decoder.feed(data)
            raise LinkLostError("the stream ended")

        done = self._retry(once)
        decoder.finish()
        if abs(jump := done["clock_jump_s"]) > CLOCK_JUMP_S:
            self._event(f"the device's clock jumped by {jump:+.1f} s; durations are from a clock that does not")
        return done

    def fetch(self, entries: Sequence[Mapping[str, Any]], folder: Path) -> None:
        """Every result whole and checked, or none: they get their names only when all have arrived."""
        if not all(_is_described(entry) for entry in entries):
            raise DeviceError("the device describes its results in no way of ours", self._where, _NO_TRUST)
        if sum(e["size"] for e in entries) > MOST_RESULT_BYTES:
            raise DeviceError("more than 1 GB of results", self._where, "let the job write less into out/")
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder.with_name(folder.name + ".partial")
        try:
            for entry in entries:
                path = partial / _safe(entry["path"], self._where)
                path.parent.mkdir(parents=True, exist_ok=True)
                self._fetch_one(entry, path)
            for entry in entries:
                path = folder / entry["path"]
                path.parent.mkdir(parents=True, exist_ok=True)
                os.replace(partial / entry["path"], path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def end(self) -> None:
        """Give the device back; its folder goes. A lost link is no failure here: the grace time ends it too."""
        try:
            answer = self._retry(lambda: self._call({"do": "end"}, silence_s=30))
            if answer["left"]:
                self._event(f"the job's folder stayed on the device: {self.device.workdir}/job-{self.id}")
        except DeviceError as error:
            self._event(f"could not clean up ({error.what}); the device does so by itself")

    def abandon(self) -> None:
        """As end, after a failure or Ctrl-C: stop the job first, one short try, and keep silent about its failing."""
        self.stop = None
        for request in ({"do": "stop"}, {"do": "end"}):
            try:
                self._call(request, silence_s=20)
            except (DeviceError, LinkLostError, RefusedError):
                continue

    def _put(self, files: Mapping[str, Path], start: dict[str, Any] | None = None) -> dict[str, str]:
        """Copy files into the device's store, and start a job with them; path -> sha256."""
        contents = {path: file.read_bytes() for path, file in files.items()}
        sums = {path: hashlib.sha256(data).hexdigest() for path, data in contents.items()}
        by_sum = {sums[path]: data for path, data in contents.items()}
        more = {} if start is None else {"start": {**start, "files": sums}}
        damaged: list[str] = []
        for _ in range(2):
            damaged = self._retry(lambda: self._put_once(by_sum, more))
            if not damaged:
                return sums
            self._event(f"{len(damaged)} file(s) arrived damaged; sending them again")
        names = ", ".join(path for path, name in sums.items() if name in damaged)
        fix = f"its disk or memory may be failing: {self.device.workdir} on another disk (workdir:), or another device"
        raise DeviceError(f"damaged in transit, twice: {names}", self._where, fix)

    def _put_once(self, by_sum: Mapping[str, bytes], more: Mapping[str, Any]) -> list[str]:
        entries = [{"sha256": name, "size": len(data)} for name, data in by_sum.items()]
        with self._open({"do": "put", "files": entries, **more}) as call:
            have = call.answer(_PUT_SILENCE_S)["have"]
            for data, offset in zip(by_sum.values(), have, strict=True):
                call.send(data[offset:])
            return list(call.answer(_PUT_SILENCE_S)["damaged"])

    def _fetch_one(self, entry: Mapping[str, Any], path: Path) -> None:
        def once() -> bool:
            offset = path.stat().st_size if path.exists() else 0
            with self._open({"do": "fetch", "path": entry["path"], "offset": offset}) as call, path.open("ab") as f:
                for kind, data in call.frames():
                    if kind == "J" or f.tell() + len(data) > entry["size"]:  # it lies, and a disk is soon full
                        break
                    f.write(data)
            good = path.stat().st_size == entry["size"] and _sha256(path) == entry["sha256"]
            if not good:
                path.unlink()
            return good

        if not (self._retry(once) or self._retry(once)):
            fix = "run it again; if it comes back, the device's disk or memory is failing"
            raise DeviceError(f"the result {entry['path']} arrived cut short or damaged, twice", self._where, fix)

    def _open(self, request: Mapping[str, Any]) -> Call:
        return Call(self.transport, {**request, "workdir": self.device.workdir, "job": self.id}, self.stop)

    def _call(self, request: Mapping[str, Any], silence_s: float = SILENCE_S) -> dict[str, Any]:
        with self._open(request) as call:
            return call.answer(silence_s)

    def _retry(self, step: Callable[[], T]) -> T:
        """The step's answer, tried again while the device would still wait for us.

        Before the first answer only a connection that broke is worth another try: one that cannot be made, or is
        refused, will be so in a minute too.
        """
        pause_s = 0.5
        while True:
            try:
                found = step()
            except RefusedError as error:
                raise self._refusal(error) from error
            except (LinkLostError, UnreachableError) as error:
                if isinstance(error, UnreachableError) and not self._met:
                    raise
                why = error.what if isinstance(error, UnreachableError) else str(error)
                self._give_up_in_time(why, error)
                self._event(f"lost the connection ({why}); trying again")
                if self.stop is not None and self.stop.wait(pause_s):
                    raise KeyboardInterrupt from error
                if self.stop is None:
                    time.sleep(pause_s)
                pause_s = min(pause_s * 2, 5.0)
                continue
            self._contact, self._met = time.monotonic(), True
            return found

    def _give_up_in_time(self, why: str, error: Exception) -> None:
        """Raise once the device has not been heard for too long."""
        silent_s = time.monotonic() - self._contact
        if not self._met and silent_s > FIRST_CONTACT_S:
            what = f"the connection breaks before anything is said: {why}"
            raise DeviceError(what, self._where, "look at the network between here and there") from error
        if silent_s > self.device.grace_s:
            what = f"no contact for {silent_s:.0f} s: {why}"
            fix = f"the device ends the job by itself after {self.device.grace_s:g} s (grace_s); run it again"
            raise DeviceError(what, self._where, fix) from error

    def _refusal(self, error: RefusedError) -> DeviceError:
        facts = error.facts
        if facts["error"] == "gone" and self._boot_id and facts.get("boot_id") not in ("", self._boot_id):
            fix = "look at its power supply and its log (journalctl -b -1); then run it again"
            return DeviceError("the device rebooted in the middle", self._where, fix)
        return explain_refusal(facts, self._where)

    def _event(self, text: str) -> None:
        self.events.append(text)
        self.note(text)


def explain_refusal(facts: Mapping[str, Any], where: str) -> DeviceError:
    """What the agent refused, in words."""
    error = facts["error"]
    if error == "busy":
        holder = facts.get("holder") or {}
        who, what, for_s = holder.get("who", "somebody"), holder.get("what", ""), holder.get("for_s", 0)
        text = f"{who} is measuring there, for {for_s:.0f} s now" + (f": {what}" if what else "")
        return DeviceError(text, where, "wait for it to end: two measurements at once would spoil both")
    if error == "disk full":
        free = facts.get("free_bytes")
        room = f" ({free / 1e6:.1f} MB free)" if isinstance(free, int) else ""
        fix = "make room there, or name a folder on another disk: workdir: DIR"
        return DeviceError(f"the device's disk is full{room}: {facts['path']}", where, fix)
    if error == "not writable":
        what = f"{facts['path']} cannot be written: {facts['reason']}"
        return DeviceError(what, where, "name another folder: workdir: DIR")
    if error == "gone":
        what = "the job is gone from the device: its keeper was ended there, or we were away for too long"
        fix = "run it again; a system that ends all of a user's processes at logout needs `loginctl enable-linger`"
        return DeviceError(what, where, fix)
    if error == "damaged":
        return DeviceError(f"{facts['path']} is damaged on the device", where, "its disk may be failing")
    if error == "bad path":
        return DeviceError(f"the device refused: bad path: {facts['path']}", where, "give paths inside their folder")
    return DeviceError(f"the device refused: {error}", where, "this is a bug in compress")


class _Lines:
    """Bytes in, text out, with characters that were cut in two put together again."""

    def __init__(self, out: Output) -> None:
        self._out, self._decoder = out, codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> None:
        if text := self._decoder.decode(data):
            self._out(printable(text))

    def finish(self) -> None:
        if text := self._decoder.decode(b"", True):
            self._out(printable(text))


def _is_described(entry: Any) -> bool:
    kinds = {"path": str, "size": int, "sha256": str}
    return isinstance(entry, dict) and all(type(entry.get(k)) is t for k, t in kinds.items()) and entry["size"] >= 0


def _safe(path: str, where: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or any(p in ("..", ".") for p in parts):
        raise DeviceError(f"the device names a result {path!r}", where, _NO_TRUST)
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()} (pid {os.getpid()})"
