"""result.json: everything a run measured, as evidence. Reports are computed from this file alone.

Raw samples are kept; summaries stand beside them. A quantity carries its unit in its name. `Label` says how a number
came about.
"""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from compress.comparison import Comparison, Interval, Paired, Part, Share
from compress.errors import UsageError

FORMAT, VERSION = "compress.result", 1
Label = Literal["measured", "derived", "estimated", "emulated", "none"]


class Accuracy(Part):
    """Top-1 of one exported file on one split. ci95: Wilson score interval. Per-class lists follow `classes`.

    confusion: rows are truth, columns predictions; empty beyond 1,000 classes.
    """

    split: Literal["validation", "test"]
    count: int
    correct: int
    top1: Share
    ci95: Interval
    per_class_recall: tuple[float | None, ...]
    confusion: tuple[tuple[int, ...], ...]
    predictions_sha256: str


class Energy(Part):
    """What an inference takes from a meter, or why that is not known.

    label: measured (total_mj: all the meter saw; net_mj: above idling; ci95 by Student's t over windows), estimated
    (total_ci95 is the assumed range, reason the assumption; never ranked) or none (reason: why).
    meter, scope, rate_hz: what was read, how often. disturbance: latency while the meter was read / while it was not.
    """

    label: Label
    total_mj: float | None = None
    total_ci95: Interval | None = None
    net_mj: float | None = None
    net_ci95: Interval | None = None
    idle_w: float | None = None
    meter: str = ""
    scope: str = ""
    rate_hz: float | None = None
    windows: int = 0
    disturbance: float | None = None
    reason: str = ""


class DeviceRow(Part):
    """One device of the recipe. label: of its figures; none if it gave none, and then reason says why.

    checks: what the self-test of each artefact said there. notes: what happened to the machine meanwhile.
    """

    name: str
    label: Label
    reason: str = ""
    host: dict[str, Any] = Field(default_factory=dict)
    checks: dict[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Latency(Part):
    """Single-example latency on one device. processes_ms: per fresh process, its block medians in ms, raw and in order.

    reference_ms: the teacher's blocks timed beside these, of the same shape; empty for the teacher itself.
    p50_ms: median of all blocks; p90_ms and p99_ms: of single runs, median over processes; p99_ms only where every
    process had 1,000 runs. spread: of process medians, (largest - smallest) / median.
    single_stream_ms: seconds per inference, median over processes, which is MLPerf Tiny's figure where mlperf_tiny says
    that its rule (five runs of 10 s and 10 inferences) was kept. cpu_ms: CPU time of an inference over all threads.
    ratio: teacher's latency / this one's (2.0 = twice as fast), from the paired blocks by
    edge_runtime.edge_stats.paired_ratio; ratio_ci95: Student's t over processes.
    load_ms: edge_runtime.load in a fresh process, the engine's import included; first_ms: first preprocessing and run.
    peak_memory_bytes: of a process with this bundle alone: Python, numpy, engine and model together.
    warnings: why not to trust the number.
    """

    device: str
    engine: str
    threads: int
    batch: int
    label: Label
    processes_ms: tuple[tuple[float, ...], ...]
    reference_ms: tuple[tuple[float, ...], ...] = ()
    p50_ms: float
    p90_ms: float
    p99_ms: float | None = None
    spread: float | None = None
    single_stream_ms: float | None = None
    mlperf_tiny: bool = False
    cpu_ms: float | None = None
    throughput_per_s: float | None = None
    throughput_batch: int | None = None
    ratio: float | None = None
    ratio_ci95: Interval | None = None
    load_ms: float | None = None
    first_ms: float | None = None
    peak_memory_bytes: int | None = None
    energy: Energy | None = None
    warnings: tuple[str, ...] = ()

    @property
    def metered(self) -> Energy | None:
        """Its energy where a meter measured it; an estimate is not ranked or drawn."""
        found = self.energy
        return found if found and found.label == "measured" and found.total_mj is not None else None


class LayerRow(Part):
    """What happened to one layer, counted in the exported file, against the layer as the student began."""

    name: str
    op: str
    parameters: int
    macs: int
    channels_before: int
    channels_after: int
    kernel: Literal["integer", "float", "dynamic-integer"]
    reason: str = Field("", description="Why it was left alone; empty where it was not.")


class Artefact(Part):
    """One exported file.

    id: unique, e.g. `03-quantize.tflite`. step: the plan step whose model it holds. role: what the table calls it.
    kernels: operators of the file by the type of their arithmetic, e.g. {"integer": 10, "float": 1}.
    """

    id: str
    step: str
    role: str
    format: Literal["onnx", "tflite"]
    precision: Literal["float32", "float16", "int8", "dynamic-int8"]
    path: str
    sha256: str
    size_bytes: int
    gzip_bytes: int
    parameters: int
    macs: int
    sparsity: Share = Field(description="Share of zero weights.")
    kernels: dict[str, int]
    operators: dict[str, int]
    layers: tuple[LayerRow, ...]
    accuracy: tuple[Accuracy, ...]
    paired: Paired | None = None
    latency: tuple[Latency, ...] = ()


class Hop(Part):
    """One row of the parity ledger: from one form of the model to the next.

    kind: "training" hops change the function on purpose (their tolerance is the budget, they only inform);
    "conversion" hops must not (a breach fails the run).
    agreement: share of equal argmax on `count` test inputs. largest_difference: of logits, in units of the reference's
    standard deviation.
    """

    name: str
    kind: Literal["training", "conversion"]
    source: str
    target: str
    count: int
    source_top1: Share
    target_top1: Share
    agreement: Share
    largest_difference: float
    tolerance: dict[str, float]
    ok: bool
    reason: str


class BudgetRow(Part):
    """One promise of the recipe against what the shipped file does. blame: the step that cost most, if missed."""

    name: str
    limit: float
    value: float
    unit: str
    ok: bool
    blame: str = ""


class StepRow(Part):
    """One step of the plan as it ran. metrics: the stage's own numbers (loss and validation accuracy by epoch, ...)."""

    name: str
    kind: str
    key: str
    cached: bool
    seconds: float
    metrics: dict[str, Any] = Field(default_factory=dict)
    kept: dict[str, str] = Field(default_factory=dict)


class DataFacts(Part):
    """What was read."""

    name: str
    fingerprint: str
    classes: tuple[str, ...]
    input_shape: tuple[int, ...]
    counts: dict[str, int]


class Result(Part):
    """A whole run. seconds: what its steps took when they were made, also where they came from the cache now.

    flags: sentences a reader must not miss, e.g. a step that made the model slower.

    host: facts of the machine (see edge_runtime.edge_host). shipped: id of the artefact that went into the bundle and
    `shipped_reason` why that one. artefacts stand in plan order, the teacher's first.
    """

    format: Literal["compress.result"] = "compress.result"
    version: Literal[1] = 1
    name: str
    recipe: dict[str, Any]
    recipe_digest: str
    seed: int
    started: str
    seconds: float
    versions: dict[str, str]
    host: dict[str, Any]
    devices: tuple[DeviceRow, ...] = ()
    data: DataFacts
    steps: tuple[StepRow, ...]
    artefacts: tuple[Artefact, ...]
    ledger: tuple[Hop, ...]
    budget: tuple[BudgetRow, ...]
    shipped: str
    shipped_reason: str
    flags: tuple[str, ...] = ()
    smoke: bool = False
    comparison: Comparison | None = Field(None, description="The shipped file against the teacher's, on test data.")

    def artefact(self, identity: str) -> Artefact:
        """The artefact of that id; a result never names one it does not hold."""
        return next(a for a in self.artefacts if a.id == identity)


def save_result(path: Path, result: Result) -> None:
    """Write result.json; keys in a fixed order, so equal results are equal bytes."""
    path.write_text(json.dumps(result.model_dump(mode="json"), indent=1) + "\n")


def load_result(path: Path) -> Result:
    """Read result.json back.

    Raises:
        UsageError: it is missing, damaged, or of another version.
    """
    try:
        doc = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise UsageError("there is no such file", str(path), "give a run folder or its result.json") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"it cannot be read: {error}", str(path), "run the recipe again") from error
    if not isinstance(doc, dict) or doc.get("format") != FORMAT:
        raise UsageError("it is no compress result", str(path), "give a run folder or its result.json")
    if doc.get("version") != VERSION:
        what = f"result version {doc.get('version')!r}, this compress reads {VERSION}"
        raise UsageError(what, str(path), "use the compress that wrote it, or run the recipe again")
    try:
        return Result.model_validate(doc)
    except ValidationError as error:
        first = error.errors()[0]
        where = f"{path}: {'.'.join(map(str, first['loc']))}"
        more = f", and {error.error_count() - 1} more" if error.error_count() > 1 else ""
        raise UsageError(f"{first['msg']}{more}", where, "run the recipe again") from error
