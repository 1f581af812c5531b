"""What `compress blame` prints, and the same as Markdown."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from compress.blamed import Blame, LayerBlame
from compress.report import words
from compress.report.text.markdown import escape, table

MEASURES = {"kl": "KL", "noise": "noise"}
RIGHT = {
    "label": "{share} right on {count} validation examples",
    "answer": "{share} of {count} validation examples answered as in float",
    "signal": "{share} of {count} validation examples with an error of at most 1 % of the signal",
}


def summary(b: Blame) -> str:
    """One sentence on the whole file."""
    text = f"{words.one_line(b.artefact)}: " + RIGHT[b.right].format(share=words.percent(b.top1), count=f"{b.count:,}")
    if b.right == "label":
        points = words.points(100 * (b.top1 - b.float_top1))
        text += f", in float {words.percent(b.float_top1)} ({points} points)"
    far = f"divergence {words.significant(b.kl, 2)} nats" if b.measure == "kl" else (
        f"error {words.percent(b.kl, 2)} of the signal's energy")  # fmt: skip
    return f"{text}; {far}"


def heads(b: Blame) -> tuple[str, ...]:
    """Of the table of layers."""
    unit = MEASURES[b.measure]
    return ("Layer", f"Alone, {unit}", f"Without it, {unit}", "Output", "Weights", "Clipped", "Time", "In float")


def terminal(b: Blame) -> Group:
    """Something that `rich` can print: the worst layers first."""
    grid = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for i, head in enumerate(heads(b)):
        wide = 0 if i else min(max((len(r.name) for r in b.layers), default=0), 24)
        grid.add_column(head.replace(", ", ",\n"), justify="right" if i else "left", overflow="fold", min_width=wide)
    for row in ranked(b):
        grid.add_row(*map(Text, cells(row)), style="red" if row.findings else "")
    parts: list[Text | Table] = [Text(summary(b), style="bold"), Text(), grid, Text()]
    parts += [Text(words.prose(line)) for line in (*b.advice, *timing(b))]
    return Group(*parts)


def markdown(b: Blame) -> str:
    """GitHub-flavoured Markdown, ending in one newline."""
    rows = [[escape(c) for c in cells(r)] for r in ranked(b)]
    advice = "\n".join(f"- {escape(words.prose(line))}" for line in (*b.advice, *timing(b)))
    return f"## Blame\n\n{escape(summary(b))}.\n\n{table(heads(b), rows, 1)}\n\n{advice}\n"


def timing(b: Blame) -> tuple[str, ...]:
    """What the whole takes, and why single layers have no time where they have none."""
    if b.milliseconds is None or b.float_milliseconds is None:
        return ()
    whole = f"Time: {words.milliseconds(b.milliseconds)} in int8, {words.milliseconds(b.float_milliseconds)} in float"
    return (f"{whole}; one example, one thread, this machine. In float: slower by so much with this layer in float.",
            *(() if any(r.milliseconds is not None for r in b.layers) else (f"{b.profile}.",)))  # fmt: skip


def ranked(b: Blame) -> list[LayerBlame]:
    """Those with something wrong first, then by what comes back without the layer."""
    return sorted(b.layers, key=lambda r: (not r.findings, -(b.kl - r.without_kl), -r.alone_kl))


def cells(row: LayerBlame) -> list[str]:
    """One line of the table."""
    time = "–" if row.milliseconds is None else f"{1000 * row.milliseconds:.1f} µs"
    return [
        words.one_line(row.name),
        words.significant(row.alone_kl, 2),
        words.significant(row.without_kl, 2),
        "–" if row.output_sqnr_db is None else words.decibels(row.output_sqnr_db),
        "–" if row.weight_sqnr_db is None else words.decibels(row.weight_sqnr_db),
        "–" if row.clipped is None else words.percent(row.clipped, 1),
        time,
        "–" if row.saves_ms is None else words.signed(1000 * row.saves_ms, ".1f") + "\u00a0µs",
    ]
