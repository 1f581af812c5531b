"""Sensitive groups side by side: rates before and after compression, and where the gaps between groups grew."""

from itertools import groupby

from compress.comparison import Comparison, Gap, GroupRow
from compress.report import words
from compress.report.charts.plots import dumbbell
from compress.report.html.markup import Markup, join, tag
from compress.report.html.parts import icon, minor, section, table

SHOWN = 12  # gaps a table


def groups(c: Comparison, prefix: str = "") -> Markup | None:
    """Every group, then the gaps, widened ones first; None where the recipe names no sensitive column."""
    if not c.groups:
        return None
    wider = [g for g in c.gaps if g.wider]
    say = (
        f"{len(wider)} of {words.plural(len(c.gaps), 'gap')} between groups grew beyond chance."
        if wider
        else f"None of {words.plural(len(c.gaps), 'gap')} between groups grew beyond chance."
    )
    parts = [_column(name, list(rows), c) for name, rows in groupby(c.groups, key=lambda r: r.column)]
    return section(
        prefix + "groups",
        "As fair to each group?",
        parts,
        _gaps(c),
        lead=f"{say} Groups of the recipe's sensitive columns on the test examples, before and after compression; "
        "groups of fewer than 10 examples are left out.",
    )


def _column(name: str, rows: list[GroupRow], c: Comparison) -> Markup:
    low = min(min(r.before_top1, r.after_top1) for r in rows)
    low = max(0.0, low - 0.3 * (1 - low) - 0.02)
    positive = any(r.positive for r in rows)
    heads = ["Group", "Examples", "Accuracy", "", "Points"]
    heads += ["Selected", "True positives", "False positives"] if positive else []
    told = minor(f"rates of {words.one_line(c.classes[1])}") if positive else None
    return join(
        tag("h3", words.one_line(name), told),
        table(f"Groups of {words.one_line(name)}", heads, [(None, _row(r, low, positive)) for r in rows],
              kind="groups", figures=len(heads) - 4 if positive else 1),
    )  # fmt: skip


def _row(r: GroupRow, low: float, positive: bool) -> list[object]:
    cells: list[object] = [
        tag("b", words.one_line(r.name)),
        f"{r.count:,}",
        f"{words.percent(r.before_top1, 1)} → {words.percent(r.after_top1, 1)}",
        dumbbell(r.before_top1, r.after_top1, low),
        words.points(100 * (r.after_top1 - r.before_top1), 1),
    ]
    if positive:
        for rate in ("selection", "tpr", "fpr"):
            pair = [getattr(r.positive, f"{when}_{rate}") if r.positive else None for when in ("before", "after")]
            cells.append(" → ".join("–" if v is None else words.percent(v, 1) for v in pair))
    return cells


def _gaps(c: Comparison) -> Markup | None:
    if not c.gaps:
        return tag("p", "No two groups hold enough examples to compare.", class_="fine")
    heads = ("Gap between groups", "Widest between", "Before", "After", "Change", "q")
    more = len(c.gaps) - SHOWN
    rest = f" {more} more are in the JSON." if more > 0 else ""
    return join(
        tag("h3", "Gaps between groups"),
        table("Gaps between groups before and after", heads, [("hurt" if g.wider else None, _gap(g)) for g in
              c.gaps[:SHOWN]], kind="gaps", figures=4),
        tag(
            "p",
            "In percentage points, between the two groups furthest apart after compression; 95 % interval of the "
            "change by bootstrap within both. q: p-value that the change has nothing to do with the group (flips dealt "
            f"at random), corrected over all gaps (Benjamini-Hochberg).{rest}",
            class_="fine",
        ),
    )  # fmt: skip


def _gap(g: Gap) -> list[object]:
    name = words.sentence(g.metric) + (f" of {words.one_line(g.of_class)}" if g.of_class else "")
    return [
        join(icon("bad") if g.wider else None, tag("b", name), minor(words.one_line(g.column))),
        f"{words.one_line(g.low)} (low), {words.one_line(g.high)} (high)",
        f"{g.before:.1f}",
        f"{g.after:.1f}",
        join(words.points(g.after - g.before, 1), minor(words.interval(*g.ci95_change))),
        words.significant(g.q_value, 2),
    ]
