"""The comparison as a terminal table and as Markdown for a pull request."""

from collections.abc import Sequence

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from compress.comparison import Gap, Slice
from compress.report import words
from compress.report.facts.energy import not_measured, told
from compress.report.facts.versus import Line, best, headline, lines
from compress.report.text.markdown import escape, table
from compress.versus import Versus


def terminal(v: Versus, price_per_hour: float | None = None) -> Group:
    """Something that `rich` can print."""
    found = lines(v, price_per_hour)
    grid = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for i, name in enumerate(("File", "Accuracy", "Points", "Size", "Smaller", "Median,\nms", "Faster")):
        grid.add_column(name, justify="left" if i == 0 else "right", overflow="fold")
    for f in found:
        grid.add_row(*(Text(cell) for i, cell in enumerate(_cells(f)) if i != 3))
    parts: list[Text | Table | Padding] = [grid, Text()]
    if any(f.side.energy for f in found):
        parts += [Text(words.prose(_energy(found))), Text()]
    for f in found:
        if (c := f.comparison) is None:
            continue
        parts.append(Text(headline(f), style="bold"))
        below = [Text(f"{words.sentence(c.paired.verdict)}.")]
        below += [Text(f"hurt: {_slice(s)}", style="red") for s in c.slices if s.hurt][:5]
        below += [Text(f"wider: {_gap(g)}", style="red") for g in c.gaps if g.wider][:5]
        parts += [Padding(text, (0, 0, 0, 2)) for text in below]
    parts.append(Text(f"Best: {best(found)}"))
    parts += [Text(f"note: {words.prose(n)}", style="yellow") for n in v.notes]
    return Group(*parts)


def markdown(v: Versus, price_per_hour: float | None = None) -> str:
    """GitHub-flavoured Markdown, ending in one newline."""
    found = lines(v, price_per_hour)
    heads = ["File", "Accuracy", "Points", "Agreement", "Size", "Smaller", "Median latency, ms", "Faster", "Beaten by"]
    rows = [[escape(f.side.name), *map(escape, _cells(f)[1:]), escape(", ".join(f.beaten_by) or "none")] for f in found]
    parts = [f"## Compared with {escape(v.sides[0].name)}", table(heads, rows, 1)]
    parts.append(escape(f"Best: {best(found)} {_energy(found)}"))
    for f in found:
        if (c := f.comparison) is None:
            continue
        told = [f"**{escape(headline(f))}**", "", f"- {escape(words.sentence(c.paired.verdict))}."]
        told += [f"- hurt: {escape(_slice(s))}" for s in c.slices if s.hurt][:10]
        told += [f"- wider: {escape(_gap(g))}" for g in c.gaps if g.wider][:10]
        ece = (c.before_calibration.ece, c.after_calibration.ece)
        told.append(f"- expected calibration error {words.percent(ece[0])} before, {words.percent(ece[1])} after")
        parts.append("\n".join(told))
    if v.notes:
        parts.append("\n".join(["### Not compared, or different", "", *(f"- {escape(n)}" for n in v.notes)]))
    return "\n\n".join(parts) + "\n"


def _cells(f: Line) -> list[str]:
    art, c, latency = f.side.artefact, f.comparison, f.side.latency
    return [
        words.shorten(words.one_line(f.side.name), 28),
        words.percent(f.side.top1) if f.side.top1 is not None else "–",
        words.points(c.paired.difference_points) if c else "–",
        words.percent(c.paired.agreement) if c else "–",
        words.size(art.size_bytes),
        words.times(f.size_ratio),
        words.significant(latency.p50_ms) if latency else "–",
        words.times(f.speed) if f.speed is not None else "–",
    ]


def _energy(found: Sequence[Line]) -> str:
    energies = [f"{f.side.name}: {told(f.side.energy)[0]}" for f in found if f.side.energy]
    said = not_measured(t for f in found for t in f.side.artefact.latency)
    return said or f"Energy an inference, measured: {'; '.join(energies)}."


def _gap(g: Gap) -> str:
    of = f" of {words.one_line(g.of_class)}" if g.of_class else ""
    groups = f"{words.one_line(g.low)} and {words.one_line(g.high)}"
    return f"{g.metric}{of} between {groups} ({words.one_line(g.column)}): {g.before:.1f} to {g.after:.1f} points apart"


def _slice(s: Slice) -> str:
    points = words.points(100 * (s.after_top1 - s.before_top1), 1)
    return f"{words.one_line(s.family)} {words.one_line(s.name)}: {points} points on {s.count:,} (q {s.q_value:.2g})"
