"""What `compress verify` found about one bundle on several CPUs: plain data."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from compress.comparison import Paired

Verdict = Literal["same", "within tolerance", "OUT OF TOLERANCE", "cannot run"]
BAD = ("OUT OF TOLERANCE", "cannot run")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FirstLayer(_Part):
    """The first layer of an ONNX file whose integer output differs from the host's, on a few examples.

    share: of its values that differ; largest_steps: by how many steps of its grid.
    """

    name: str
    operator: str
    share: float
    largest_steps: int
    examples: int


class Row(_Part):
    """One model file on one CPU, against the same file on the host, on the same examples.

    top1, host_top1: None without labels. largest_difference: between any two logits; in_deviations: in standard
    deviations of the host's logits. label: how the answer came about; it is never a latency.
    """

    file: str
    format: str
    precision: str
    cpu: str
    machine: str
    label: Literal["emulated", "none"]
    engine: str | None
    count: int
    host_top1: float | None
    top1: float | None
    agreement: float | None
    largest_difference: float | None
    in_deviations: float | None
    paired: Paired | None
    verdict: Verdict
    reason: str
    first_layer: FirstLayer | None = None
    remedy: str = ""


class VerifyReport(_Part):
    """A whole verification. of: examples there were before a subset was taken."""

    format: Literal["compress.verify"] = "compress.verify"
    version: Literal[1] = 1
    bundle: str
    name: str
    files_sha256: dict[str, str]
    data: str
    count: int
    of: int
    tolerance_points: float
    host_cpu: str
    host_engines: dict[str, str]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether each CPU runs at least one file, and each that it runs is within tolerance."""
        runs = {row.cpu for row in self.rows if row.verdict != "cannot run"}
        return not any(row.verdict == "OUT OF TOLERANCE" or row.cpu not in runs for row in self.rows)
