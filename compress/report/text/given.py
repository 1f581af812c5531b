"""`compress quantize` in words: its table for the terminal, and report.md; from its result.json alone."""

from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from compress.quantize_result import FileRow, QuantizeResult
from compress.report import words
from compress.report.facts.given import FLOAT, answers, circumstances, headline, kept_in_words, notes
from compress.report.text import markdown as md
from compress.report.text.terminal import folder_text, lines

_HEADS = ("File", "Accuracy", "Kept of the float file", "Size", "Smaller", "Median", "Faster", "Integer / float")
_ACCURACY = 1  # the column that stays out where the examples have no labels


def cells(row: FileRow, result: QuantizeResult) -> list[str]:
    """One line of the table of files."""
    integer = row.kernels["integer"] + row.kernels["dynamic-integer"]
    top1 = next((a for a in row.accuracy if a.split == "test"), None)
    ratio = row.latency.ratio if row.latency and row.id != FLOAT else None
    interval = row.latency.ratio_ci95 if row.latency else None
    spread = f" ({' to '.join(map(words.significant, interval))})" if interval else ""
    return [
        f"{row.id} (ships)" if row.id == result.shipped else row.id,
        words.percent(top1.top1) if top1 else "–",
        kept_in_words(row, result.judge),
        words.size(row.size_bytes),
        words.times(result.files[0].size_bytes / row.size_bytes),
        words.milliseconds(row.latency.p50_ms) if row.latency else "–",
        f"{words.times(ratio)}{spread}" if ratio else "–",
        f"{integer} / {row.kernels['float']}",
    ]


def _columns(result: QuantizeResult) -> list[int]:
    labelled = any(r.accuracy for r in result.files)
    return [i for i in range(len(_HEADS)) if labelled or i != _ACCURACY]


def table(result: QuantizeResult, folder: Path = Path()) -> Group:
    """For the terminal; 80 columns are enough. folder: of the results, for the commands that it advises."""
    drawn = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    kept = _columns(result)
    for i in kept:
        head = _HEADS[i].replace("Kept of the", "Kept of\nthe").replace(" / ", "/\n")
        drawn.add_column(head, justify="right" if i else "left", vertical="top", overflow="fold")
    for row in result.files:
        said = cells(row, result)
        shown = [said[i].replace(", ", "\n").replace(" (", "\n(").replace(" / ", "/") for i in kept]
        drawn.add_row(*map(Text, shown), style="bold" if row.id == result.shipped else "")
    found = [(a.term, a.grade or "", a.text) for a in answers(result, folder_text(folder))]
    found += [("" if i else "Notes", "care", note) for i, note in enumerate(notes(result))]
    return Group(Text(headline(result), style="bold"), Text(), drawn, Text(), lines(*found))


def markdown(result: QuantizeResult) -> str:
    """GitHub-flavoured Markdown."""
    kept = _columns(result)
    rows = [[md.escape(said[i]) for i in kept] for said in (cells(row, result) for row in result.files)]
    parts = [
        f"## {md.escape(result.name)}",
        f"**{md.escape(headline(result))}**",
        "\n".join(f"- **{a.term}**: {md.with_code(a.text)}" for a in answers(result)),
        md.table([_HEADS[i] for i in kept], rows, 1),
    ]
    if said := notes(result):
        parts.append("\n".join(f"- {md.escape(note)}" for note in said))
    parts.append("\n".join(f"- {md.escape(f'{term}: {text}')}." for term, text in circumstances(result).items()))
    return "\n\n".join(parts) + "\n"
