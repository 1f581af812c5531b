"""What was found about one bundle on several CPUs: plain data, and as a table, Markdown and JSON."""

from typing import Any, Literal

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


_COLUMNS = ("file", "CPU", "top-1", "here", "agree", "differ by", "verdict")


def cells(row: Row) -> tuple[str, ...]:
    """One row as text, in the order of the columns."""
    difference = "-" if row.largest_difference is None else f"{row.largest_difference:.3g}"
    return (row.file, row.cpu, _percent(row.top1), _percent(row.host_top1), _percent(row.agreement), difference,
            row.verdict)  # fmt: skip


def headline(report: VerifyReport) -> str:
    """What was compared, in a line."""
    some = f"{report.count:,} examples" if report.count == report.of else f"{report.count:,} of {report.of:,} examples"
    return f"{report.name}: {some} ({report.data}); host {report.host_cpu}; other CPUs emulated, so no times"


def details(report: VerifyReport) -> list[str]:
    """Sentences below the table: what is wrong, where it begins, and what helps."""
    out = []
    for row in report.rows:
        if row.verdict == "same" and not row.remedy:
            continue
        text = f"{row.file} on {row.cpu}: {row.reason}"
        if row.first_layer is not None:
            f = row.first_layer
            where = f"; it begins in layer {f.name} ({f.operator}): {100 * f.share:.2g} % of its values differ"
            text += f"{where}, by up to {f.largest_steps} steps"
        out.append(text)
        if row.remedy:
            out.append(f"  remedy: {row.remedy}")
    return [*out, *report.notes]


def render(report: VerifyReport) -> Any:
    """For the terminal: a rich table and the sentences."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(_COLUMNS):
        table.add_column(name, justify="right" if 2 <= i <= 5 else "left", no_wrap=i != 5)
    for row in report.rows:
        style = "red" if row.verdict in BAD else "green" if row.verdict == "same" else ""
        *plain, verdict = cells(row)
        table.add_row(*map(Text, plain), Text(verdict, style=style))
    return Group(Text(headline(report)), table, *(Text(line) for line in details(report)))


def markdown(report: VerifyReport) -> str:
    """The same for a page or a pull request."""
    lines = [headline(report), "", "| " + " | ".join(_COLUMNS) + " |", "|---|---|--:|--:|--:|--:|---|"]
    lines += ["| " + " | ".join(c.replace("|", "\\|") for c in cells(row)) + " |" for row in report.rows]
    return "\n".join([*lines, "", *(f"* {line.strip()}" for line in details(report))]).rstrip() + "\n"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f} %"
