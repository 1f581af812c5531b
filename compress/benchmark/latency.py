"""Latency of bundles on this machine, through edge_runtime's protocol, as rows of result.json.

The protocol and its reasons: docs/measuring.md. The same code runs on every device: edge_runtime.edge_protocol.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edge_runtime import edge_protocol
from edge_runtime.edge_bench import held
from edge_runtime.edge_events import told
from edge_runtime.edge_protocol import PROFILES, Job, Subject
from edge_runtime.errors import EdgeError

from compress.errors import MeasureError, UsageError
from compress.result import DeviceRow, Energy, Latency

SPREAD_LIMIT = 0.10
FEW_RUNS = 100
PATIENCE_S = 3600.0  # for another measurement on this machine to end; hours of training may lie behind us

Progress = Callable[[float, float, str], None]
Document = dict[str, Any]  # what edge_protocol.measure returns


def measure(
    bundles: Mapping[str, str | Path],
    reference: str,
    *,
    threads: int = 1,
    profile: str = "quick",
    energy: str = "none",
    progress: Progress = lambda done, total, note: None,
    seed: int = 0,
) -> Document:
    """Time every bundle (id -> folder) against bundles[reference] and return edge_runtime's document of raw samples.

    energy: which meter, as edge_runtime.edge_meters.open_meter wants it.

    Waits while somebody else measures on this machine; a smoke profile, whose figures mean nothing, does not.

    Raises:
        UsageError: an unknown reference or profile.
        MeasureError: more threads than cores, a process that failed or hung, or a void measurement.
    """
    job = job_of(bundles, reference, threads=threads, profile=profile, energy=energy, seed=seed)
    try:
        if profile == "smoke":
            return sound(edge_protocol.measure(job, progress))
        with held("compress run", PATIENCE_S, lambda holder: progress(0.0, 1.0, f"waiting for {holder}")):
            return sound(edge_protocol.measure(job, progress))
    except EdgeError as error:
        raise MeasureError(error.what, error.where, error.fix) from error


def job_of(bundles: Mapping[str, str | Path], reference: str, *, profile: str, **more: Any) -> Job:
    """Every bundle against the reference. more: other fields of edge_protocol.Job.

    Raises:
        UsageError: an unknown reference or profile.
    """
    if profile not in PROFILES:
        raise UsageError(f"{profile!r} is no profile", "measure.profile", f"one of {', '.join(PROFILES)}")
    if reference not in bundles:
        what = f"the reference {reference!r} is not among the bundles"
        raise UsageError(what, "measure", f"one of {sorted(bundles)}")
    subjects = tuple(Subject(name, str(Path(folder).resolve())) for name, folder in bundles.items())
    return Job(subjects, tuple((reference, name) for name in bundles if name != reference), PROFILES[profile], **more)


def sound(document: Document) -> Document:
    """The document, if its figures may be used.

    Raises:
        MeasureError: it is void.
    """
    if document["void"]:
        why = "; ".join(told([e for e in document["events"] if e["void"]]))
        raise MeasureError(f"the measurement is void: {why}", "measure", "run it again; finished steps are kept")
    return document


def check_threads(threads: int) -> None:
    """Whether this machine can time so many; worth asking before hours of training.

    Raises:
        MeasureError: more threads than cores.
    """
    try:
        edge_protocol.check_threads(threads)
    except EdgeError as error:
        raise MeasureError(error.what, error.where, error.fix) from error


def rows(document: Document, device: str) -> dict[str, Latency]:
    """A sound document's models as rows for result.json; none from an emulator, whose clock says nothing."""
    if document["label"] != "measured":
        return {}
    pairs = {p["this"]: p for p in document["pairs"]}
    events = told([e for e in document["events"] if e["kind"] != "not-measured"])
    out = {}
    for name, model in document["models"].items():
        found, pair = model["summary"], pairs.get(name)
        out[name] = Latency(
            device=device,
            engine=model["engine"],
            threads=model["threads"],
            batch=1,
            label="measured",
            processes_ms=tuple(tuple(p["blocks_ms"]) for p in model["processes"]),
            reference_ms=tuple(map(tuple, pair["reference_blocks_ms"])) if pair else (),
            ratio=pair["ratio"] if pair else None,
            ratio_ci95=pair["ci95"] if pair else None,
            throughput_batch=model["throughput"]["batch"] if model["throughput"] else None,
            energy=energy_row(model["energy"]),
            warnings=(*sample_warnings(model), *events),
            **{k: found[k] for k in _COPIED},
        )
    return out


def energy_row(found: Mapping[str, Any]) -> Energy:
    """A document's energy as result.json has it."""
    if found["label"] == "measured":
        meter, check = found["meter"], found["disturbance"]
        copied = {k: found[k] for k in ("total_mj", "total_ci95", "net_mj", "net_ci95", "idle_w")}
        return Energy(label="measured", meter=meter["kind"], scope=meter["scope"], rate_hz=meter["rate_hz"],
                      windows=len(found["windows"]), disturbance=check and check["ratio"], **copied)  # fmt: skip
    return Energy(label="none", reason=found["why"])


def device_row(document: Document, device: str) -> DeviceRow:
    """What the device is, what its self-tests said and what happened there."""
    emulated = document["label"] == "emulated"
    return DeviceRow(
        name=device,
        label="emulated" if emulated else "measured",
        reason="an emulated CPU's clock says nothing about the CPU; its answers were checked" if emulated else "",
        host=document["host"],
        checks={name: model["check"]["message"] for name, model in document["models"].items()},
        notes=tuple(told(document["events"])),
    )


_COPIED = (
    "p50_ms",
    "p90_ms",
    "p99_ms",
    "spread",
    "single_stream_ms",
    "mlperf_tiny",
    "cpu_ms",
    "load_ms",
    "first_ms",
    "peak_memory_bytes",
    "throughput_per_s",
)


def sample_warnings(model: Mapping[str, Any]) -> list[str]:
    """What the samples themselves say against the number."""
    out = []
    scattered, fewest = model["summary"]["spread"], min(p["runs"] for p in model["processes"])
    if scattered > SPREAD_LIMIT:
        want = f"{100 * SPREAD_LIMIT:.0f} % or less"
        out.append(f"process medians differ by {100 * scattered:.0f} %, want {want}: trust the ratio only")
    if fewest < FEW_RUNS:
        out.append(f"only {fewest} runs in a process, want {FEW_RUNS} or more")
    return out
