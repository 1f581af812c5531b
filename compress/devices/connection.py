"""A device one can run a job on: copy, start detached, follow, reconnect, fetch, clean up.

    with open_device(device) as connection:
        folder = connection.run_job(job, ["{python}", "edge_bench.py", "bundle"], results=out, timeout_s=600)

The job's files are copied by checksum, so what the device has already is not sent again and a cut copy goes on where it
stopped. `edge_runtime` itself comes along: the device needs Python, numpy and an engine, not our packages.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import edge_runtime

from compress.devices.call import Call, LinkLostError, Local, RefusedError, Transport
from compress.devices.probe import PROBE_REQUEST, Probe
from compress.devices.schema import DEFAULT_PYTHON, Device
from compress.devices.session import Output, Session, explain_refusal
from compress.devices.ssh import Ssh
from compress.errors import DeviceError

ASK_TRIES = 3
FULL_BYTES = 100_000  # a job that failed with less room than this failed for it


@dataclass(frozen=True, slots=True)
class Finished:
    """How a job ended: its exit code, seconds on the device, and what happened on the way, in words."""

    folder: Path
    code: int
    seconds: float
    events: tuple[str, ...]


def open_device(device: Device, note: Output | None = None, stop: threading.Event | None = None) -> "Connection":
    """A connection to a device; nothing is contacted before its first use.

    note: told in words of retries and other events. stop: once set by another thread, whatever is under way ends as by
    Ctrl-C.
    """
    own = None if device.python == DEFAULT_PYTHON else device.python  # here, that is the Python we run on
    return Connection(device, Ssh(device) if device.kind == "ssh" else Local(device.name, own), note, stop)


class Connection:
    """One device. Not for use by several threads at once; each device has its own."""

    def __init__(
        self, device: Device, transport: Transport, note: Output | None = None, stop: threading.Event | None = None
    ) -> None:
        self.device, self._transport, self._stop = device, transport, stop
        self._note = note or (lambda text: None)
        self._where = f"device {device.name}"
        self._probed: Probe | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing stays open between calls."""

    def probe(self) -> Probe:
        """What the device is and has; asked once.

        Raises:
            DeviceError: it cannot be reached, or has no usable Python.
        """
        if self._probed is None:
            self._probed = Probe.from_facts(self._ask({"do": "probe", **PROBE_REQUEST}), self.device)
        return self._probed

    def clean(self) -> None:
        """Remove everything that was ever put there.

        Raises:
            DeviceError: as probe; or somebody measures there at the moment.
        """
        self._ask({"do": "clean"})

    def run_job(
        self,
        job: Path | Mapping[str, Path],
        command: Sequence[str],
        *,
        results: Path,
        timeout_s: float | None = None,
        on_output: Output | None = None,
    ) -> Finished:
        """Run a command in a copy of a folder on the device and bring back what it leaves in its folder `out`.

        job: the folder, or path there -> file here. command: `{python}` stands for the device's Python.
        results: a new or empty folder here.
        on_output: gets the command's output, stderr included, as it comes.

        Raises:
            DeviceError: with what went wrong; no process and no folder of the job stays on the device.
            KeyboardInterrupt: after the same clean-up.
        """
        limit_s = timeout_s or self.device.timeout_s
        session = Session(self.device, self._transport, self._note, self._stop, what=" ".join(command)[:200])
        try:
            session.begin()
            session.run(_job_files(job), command, limit_s)
            done = session.follow(on_output or (lambda text: None))
            _explain_end(done, self._where, limit_s, self.device)
            session.fetch(done["results"], results)
        except BaseException:
            session.abandon()
            raise
        session.end()
        return Finished(results, int(done["code"]), float(done["seconds"]), tuple(session.events))

    def install(self, wheels: Mapping[str, Path], site: str) -> None:
        """Unpack wheels (name -> file) into the device's folder `site`, which later jobs find on their path.

        Raises:
            DeviceError: as run_job.
        """
        session = Session(self.device, self._transport, self._note, self._stop, what="installing wheels")
        try:
            session.begin()
            session.unpack(wheels, site)
        except BaseException:
            session.abandon()
            raise
        session.end()
        self._probed = None

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """One call that needs no session; a connection that breaks is worth another try."""
        for left in reversed(range(ASK_TRIES)):
            try:
                with Call(self._transport, {**request, "workdir": self.device.workdir}, self._stop) as call:
                    return call.answer(silence_s=60)
            except LinkLostError as error:
                if not left:
                    fix = "look at the network between here and there"
                    raise DeviceError(f"the connection broke: {error}", self._where, fix) from error
                self._note(f"lost the connection ({error}); trying again")
            except RefusedError as error:
                raise explain_refusal(error.facts, self._where) from error
        raise AssertionError("the last try returned or raised")


def _explain_end(done: Mapping[str, Any], where: str, timeout_s: float, device: Device) -> None:
    """Raise for every end but the command's own."""
    reason = done["reason"]
    if reason == "time limit":
        fix = "give it more time: timeout_s in devices.yaml"
        raise DeviceError(f"the job was ended after its limit of {timeout_s:g} s", where, fix)
    if reason == "log too large":
        raise DeviceError("the job was ended: it printed more than 64 MB", where, "let it print less")
    if reason != "ended":
        raise DeviceError(f"the job was ended there: {reason}", where, "run it again")
    free = done.get("free_bytes")
    if done["code"] and isinstance(free, int) and free < FULL_BYTES:
        raise explain_refusal({"error": "disk full", "path": device.workdir, "free_bytes": free}, where)


def _job_files(job: Path | Mapping[str, Path]) -> dict[str, Path]:
    """Path in the job -> file, edge_runtime added under lib/. Links are followed; empty folders are not sent."""
    files = dict(job) if isinstance(job, Mapping) else files_under(job)
    package = Path(edge_runtime.__file__).parent
    ours = {f"lib/edge_runtime/{p.relative_to(package).as_posix()}": p for p in sorted(package.rglob("*.py"))}
    return {**ours, **files}


def files_under(folder: Path, prefix: str = "") -> dict[str, Path]:
    """prefix + path in the folder -> file, for all files of a folder."""
    return {prefix + p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}
