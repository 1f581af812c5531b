"""What `compress quantize` leaves: result.json of its own format, with raw timings. Reports are computed from it."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from compress.comparison import Paired
from compress.documents import read_document
from compress.result import Accuracy, Latency

FORMAT, VERSION = "compress.quantize-result", 1


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Fidelity(_Part):
    """One output of the int8 file against the float file's over the same examples.

    agreement: share of equal argmax (floats in two dimensions) or of equal values (whole numbers). cosine and sqnr_db:
    over all values together. vector_cosine: where an example gives one vector, the mean of the examples' cosines;
    length_ratio: its mean length over the float file's. largest_difference and spread (standard deviation, of the float
    file): in its own unit.
    """

    output: str
    values: int
    agreement: float | None = None
    cosine: float | None = None
    sqnr_db: float | None = None
    vector_cosine: float | None = None
    length_ratio: float | None = None
    largest_difference: float | None = None
    spread: float | None = None


class LayerRow(_Part):
    """One layer. kernel: counted in the file as the engine runs it. reason: why it is float, where it is."""

    name: str
    op: str
    parameters: int
    macs: int
    kernel: Literal["integer", "float", "dynamic-integer"]
    reason: str = ""


class FileRow(_Part):
    """One ONNX file. id: "float" or the candidate's name. kernels, operators: counted in the graph as it runs.

    selection, test: against the float file on the part that chose and the part that judges. verdict: why it may not
    ship; empty where it may. keep_float: layers left in float because they were asked for or cost too much.
    """

    id: str
    reason: str
    sha256: str
    size_bytes: int
    gzip_bytes: int
    kernels: dict[str, int]
    operators: dict[str, int]
    layers: tuple[LayerRow, ...]
    keep_float: tuple[str, ...] = ()
    selection: tuple[Fidelity, ...] = ()
    test: tuple[Fidelity, ...] = ()
    accuracy: tuple[Accuracy, ...] = ()
    paired: Paired | None = None
    latency: Latency | None = None
    ok: bool = True
    verdict: str = ""


class Source(_Part):
    """The file as given. time_share: of the float run by operator, measured. fixed: inputs built into the graph."""

    path: str
    sha256: str
    size_bytes: int
    opset: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    kind: str
    notes: tuple[str, ...]
    time_share: dict[str, float]
    fixed: dict[str, str] = {}


class ExampleFacts(_Part):
    """What was read. counts: examples that calibrated, chose and judged."""

    path: str
    fingerprint: str
    labelled: bool
    counts: dict[str, int]


class QuantizeResult(_Part):
    """A whole run. files: the float one first. shipped: id of the file in the bundle; "float" where int8 gains nothing
    or loses too much, with shipped_reason. failed: candidate -> why there is no file of it. judge: what outputs were
    taken for, with judge_reason; empty in older files."""

    format: Literal["compress.quantize-result"] = "compress.quantize-result"
    version: Literal[1] = 1
    name: str
    started: str
    seconds: float
    seed: int
    source: Source
    examples: ExampleFacts
    recipe: dict[str, Any]
    limits: dict[str, float]
    judge: Literal["classes", "values", ""] = ""
    judge_reason: str = ""
    files: tuple[FileRow, ...]
    failed: dict[str, str]
    shipped: str
    shipped_reason: str
    versions: dict[str, str]
    host: dict[str, Any]

    def file(self, identity: str) -> FileRow:
        """The file of that id."""
        return next(f for f in self.files if f.id == identity)


def save(path: Path, result: QuantizeResult) -> None:
    """Write result.json."""
    path.write_text(json.dumps(result.model_dump(mode="json"), indent=1) + "\n")


def load(path: Path) -> QuantizeResult:
    """Read it back.

    Raises:
        UsageError: it is missing, damaged, or something else.
    """
    fix = "give the folder or the result.json that compress quantize wrote"
    return read_document(path, QuantizeResult, format=FORMAT, version=VERSION, called=FORMAT, fix=fix)
