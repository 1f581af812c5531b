"""What `compress verify` found, as a table for the terminal and as Markdown."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from compress.report import words
from compress.report.text import markdown as md
from compress.verified import BAD, Row, VerifyReport

_COLUMNS = ("File", "CPU", "Accuracy", "Here", "Same answer", "Differ by", "Verdict")


def cells(row: Row) -> tuple[str, ...]:
    """One row as text, in the order of the columns."""
    difference = "–" if row.largest_difference is None else words.significant(row.largest_difference)
    return (row.file, row.cpu, _percent(row.top1), _percent(row.host_top1), _percent(row.agreement), difference,
            row.verdict)  # fmt: skip


def headline(report: VerifyReport) -> str:
    """What came of it, and what was compared."""
    failed = sum(r.verdict in BAD for r in report.rows)
    if failed:
        said = f"{failed} of {words.plural(len(report.rows), 'check')} failed"
    else:
        same = all(r.verdict == "same" for r in report.rows)
        said = "the same answers on every CPU" if same else "within tolerance on every CPU"
    some = f"{report.count:,} examples" if report.count == report.of else f"{report.count:,} of {report.of:,} examples"
    compared = f"{words.sentence(some)} ({words.one_line(report.data)}); host {report.host_cpu}"
    return f"{words.one_line(report.name)}: {said}. {compared}; other CPUs emulated, so no times"


def details(report: VerifyReport) -> list[str]:
    """Sentences below the table: what is wrong, where it begins, and what helps."""
    out = []
    for row in report.rows:
        if row.verdict == "same" and not row.remedy:
            continue
        text = f"{row.file} on {row.cpu}: {words.prose(row.reason)}"
        if row.first_layer is not None:
            f = row.first_layer
            where = f"; it begins in layer {f.name} ({f.operator}): {words.percent(f.share, 1)} of its values differ"
            text += f"{where}, by up to {f.largest_steps} steps"
        out.append(text)
        if row.remedy:
            out.append(f"  remedy: {row.remedy}")
    return [*out, *map(words.prose, report.notes)]


def render(report: VerifyReport) -> Group:
    """For the terminal: a rich table and the sentences."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for i, name in enumerate(_COLUMNS):
        wide = max((len(row.verdict) for row in report.rows), default=0) if name == "Verdict" else 0
        table.add_column(
            name.replace(" ", "\n"), justify="right" if 2 <= i <= 5 else "left", overflow="fold", min_width=wide
        )
    for row in report.rows:
        style = "red" if row.verdict in BAD else "green" if row.verdict == "same" else ""
        *plain, verdict = cells(row)
        table.add_row(*map(Text, plain), Text(verdict, style=style))
    return Group(Text(headline(report), style="bold"), Text(), table, Text(), *(Text(line) for line in details(report)))


def markdown(report: VerifyReport) -> str:
    """The same for a page or a pull request."""
    rows = [[md.escape(c) for c in cells(row)] for row in report.rows]
    said = "\n".join(f"* {md.escape(line)}" for line in details(report))
    return "\n\n".join(p for p in (md.escape(headline(report)), md.table(_COLUMNS, rows, 2), said) if p) + "\n"


def _percent(share: float | None) -> str:
    return "–" if share is None else words.percent(share)
