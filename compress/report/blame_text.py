"""What `compress blame` prints, and the same as Markdown."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from compress.blamed import Blame, LayerBlame
from compress.report import words
from compress.report.markdown import escape, table

HEADS = ("Layer", "Alone, KL", "Without it, KL", "Output", "Weights", "Clipped", "Time")


def summary(b: Blame) -> str:
    """One sentence on the whole file."""
    points = words.points(100 * (b.top1 - b.float_top1))
    return (
        f"{words.one_line(b.artefact)}: {words.percent(b.top1)} on {b.count:,} validation examples, in float "
        f"{words.percent(b.float_top1)} ({points} points); divergence {words.significant(b.kl, 2)} nats"
    )


def terminal(b: Blame) -> Group:
    """Something that `rich` can print: the worst layers first."""
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for i, head in enumerate(HEADS):
        grid.add_column(head, justify="left" if i == 0 else "right")
    for row in ranked(b):
        grid.add_row(*map(Text, cells(row)), style="red" if row.findings else "")
    parts: list[Text | Table] = [Text(summary(b), style="bold"), Text(), grid, Text()]
    parts += [Text(words.one_line(line)) for line in b.advice]
    return Group(*parts)


def markdown(b: Blame) -> str:
    """GitHub-flavoured Markdown, ending in one newline."""
    rows = [[escape(c) for c in cells(r)] for r in ranked(b)]
    advice = "\n".join(f"- {escape(line)}" for line in b.advice)
    return f"## Blame\n\n{escape(summary(b))}.\n\n{table(HEADS, rows, 1)}\n\n{advice}\n"


def ranked(b: Blame) -> list[LayerBlame]:
    """Those with something wrong first, then by what comes back without the layer."""
    return sorted(b.layers, key=lambda r: (not r.findings, -(b.kl - r.without_kl), -r.alone_kl))


def cells(row: LayerBlame) -> list[str]:
    """One line of the table."""
    time = "–" if row.milliseconds is None else words.milliseconds(row.milliseconds)
    return [
        words.one_line(row.name),
        words.significant(row.alone_kl, 2),
        words.significant(row.without_kl, 2),
        f"{row.output_sqnr_db:.0f} dB",
        f"{row.weight_sqnr_db:.0f} dB",
        words.percent(row.clipped, 1),
        time,
    ]
