"""Bundles measured as they are, without a run around them: what `compress measure` does here and on devices."""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edge_runtime import edge_protocol
from edge_runtime.edge_bench import BusyError, held, subjects_of
from edge_runtime.edge_protocol import PROFILES, Job, Subject
from edge_runtime.errors import EdgeError, InputError
from edge_runtime.manifest import read_manifest

from compress.benchmark.latency import Document
from compress.benchmark.measurement import read_document
from compress.devices.connection import Connection, files_under
from compress.devices.fleet import on_each
from compress.devices.schema import Device
from compress.devices.wheelhouse import require_engine
from compress.errors import CompressError, MeasureError, UsageError

Say = Callable[[str, float, str], None]  # device, share of the work done, what is under way
RESULT = "device_result.json"
LAST_LINES = 6


class HeldError(MeasureError):
    """The device is being measured by somebody else."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class Measured:
    """documents and failures by device, in the devices' order; a device is in one of them."""

    documents: Mapping[str, Document]
    failures: Mapping[str, CompressError]


def job_for(
    bundle: Path,
    other: Path | None = None,
    engine: str | None = None,
    profile: str = "default",
    profile_operators: bool = False,
    **more: Any,
) -> Job:
    """A job for one bundle, for two to compare, or for a checkpoint on a GPU. more: other fields of edge_protocol.Job.

    Raises:
        UsageError: the bundles do not fit together.
        MeasureError: one of them is damaged.
    """
    if other is None and (bundle / "model.json").is_file():
        return Job((Subject("torch", str(bundle), "torch"),), (), PROFILES[profile], **more)
    try:
        subjects, pairs = subjects_of(str(bundle), str(other) if other else None, engine)
    except EdgeError as error:
        raise in_our_words(error) from error
    return Job(subjects, pairs, PROFILES[profile], operators=profile_operators, **more)


def measure_on(devices: Sequence[Device], job: Job, say: Say, logs: Path | None = None) -> Measured:
    """The job on every device; one that fails does not spoil the others. logs: folder for NAME.log.

    Devices behind ssh are measured at once. This machine comes after them: following them would disturb it.
    """

    def task(connection: Connection, write: Callable[[str], None]) -> Document:
        device = connection.device
        mine = replace(job, threads=device.threads or job.threads,
                       energy=device.energy if job.energy == "auto" else job.energy)  # fmt: skip
        if device.kind == "gpu":
            from compress.benchmark.gpu import measure_gpu

            return measure_gpu(mine, lambda done, note: say(device.name, done, note))
        if any(s.engine == "torch" for s in job.subjects):
            raise UsageError("a checkpoint is timed on a GPU alone", f"device {device.name}", "give its bundle")
        if device.kind == "ssh":
            return measure_there(connection, mine, say, write)
        return measure_here(mine, lambda done, total, note: say(device.name, done / total, note))

    outcomes = {o.device.name: o for o in on_each([d for d in devices if d.kind == "ssh"], task, logs=logs)}
    for device in (d for d in devices if d.kind != "ssh"):
        outcomes |= {o.device.name: o for o in on_each([device], task, logs=logs)}
    ordered = [outcomes[d.name] for d in devices]
    return Measured(
        {o.device.name: o.value for o in ordered if o.value is not None},
        {o.device.name: o.error for o in ordered if o.error is not None},
    )


def measure_here(job: Job, progress: Callable[[float, float, str], None]) -> Document:
    """Measure on this machine.

    Raises:
        HeldError: somebody else measures here.
        UsageError, MeasureError: a bundle was refused, or a process failed.
    """
    try:
        with held(f"compress measure {job.subjects[0].bundle}"):
            return edge_protocol.measure(job, progress)
    except EdgeError as error:
        raise in_our_words(error) from error


def measure_there(connection: Connection, job: Job, say: Say, write: Callable[[str], None]) -> Document:
    """Send the bundles and the job, follow the run, bring the document back.

    Raises:
        DeviceError: as Connection.run_job; or it has no engine for any of the models.
        HeldError: somebody else measures there.
        MeasureError: the measurement failed there; its last words.
        UsageError: its result cannot be read.
    """
    name, said = connection.device.name, []

    def listen(text: str) -> None:
        write(text)
        for line in text.splitlines():
            kind, _, rest = line.partition(" ")
            share, _, note = rest.partition(" ")
            if kind == "progress":
                say(name, float(share), note)
            elif line.strip():
                said.append(line)

    require_engine(connection.probe(), sorted({f for s in job.subjects for f in formats_of(s)}))
    with tempfile.TemporaryDirectory(prefix="compress-measure-") as scratch:
        results = Path(scratch) / "results"
        files = packed(replace(job, emulated=job.emulated or connection.probe().emulated), Path(scratch))
        command = ["{python}", "-m", "edge_runtime.edge_bench", "--job", "job.json", "--out", f"out/{RESULT}"]
        done = connection.run_job(files, command, results=results, on_output=listen)
        if not (results / RESULT).exists():
            last = "\n    ".join(["its last words:", *said[-LAST_LINES:]]) if said else "it said nothing"
            what = f"the measurement ended with code {done.code}; {last}"
            kind = HeldError if done.code == BusyError.exit_code else MeasureError
            raise kind(what, f"device {name}", f"`compress devices --device {name}` says what it has and lacks")
        document = read_document(results / RESULT)
    document["events"] += [{"kind": "transport", "text": text, "void": False} for text in done.events]
    return document


def formats_of(subject: Subject) -> list[str]:
    """The formats that would do for it.

    Raises:
        MeasureError: its bundle is damaged.
    """
    try:
        return [subject.engine] if subject.engine else [m.format for m in read_manifest(Path(subject.bundle)).models]
    except EdgeError as error:
        raise in_our_words(error) from error


def packed(job: Job, scratch: Path) -> dict[str, Path]:
    """The job's files by their path on a device; each bundle once."""
    places: dict[str, str] = {}
    files: dict[str, Path] = {"job.json": scratch / "job.json"}
    for subject in job.subjects:
        if subject.bundle not in places:
            places[subject.bundle] = f"bundles/{len(places)}"
            files |= files_under(Path(subject.bundle), f"{places[subject.bundle]}/")
    there = replace(job, subjects=tuple(replace(s, bundle=places[s.bundle]) for s in job.subjects))
    files["job.json"].write_text(json.dumps(asdict(there)))
    return files


def in_our_words(error: EdgeError) -> CompressError:
    """edge_runtime's error as ours: the same text, and the exit code that its kind deserves."""
    kind = HeldError if isinstance(error, BusyError) else UsageError if isinstance(error, InputError) else MeasureError
    return kind(error.what, error.where, error.fix)
