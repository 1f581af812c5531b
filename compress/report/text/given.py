"""`compress quantize` in words: its headline, its table, its notes, and report.md; from its result.json alone."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from compress.quantize_result import FileRow, QuantizeResult
from compress.report import words
from compress.report.text.markdown import escape

_HEADS = ("File", "Integer / float", "Accuracy", "Kept of the float file", "Size", "Smaller", "p50", "Faster")
FLOAT = "float"


def headline(result: QuantizeResult) -> str:
    """What came of it, in one line, with the name in front."""
    return f"{words.one_line(result.name)}: {verdict(result)}"


def verdict(result: QuantizeResult) -> str:
    """What came of it."""
    kept = "the float file is kept" if result.shipped == FLOAT else f"int8 ({result.shipped}) ships"
    return f"{kept}. {words.sentence(result.shipped_reason)}."


def cells(row: FileRow, result: QuantizeResult) -> list[str]:
    """One line of the table of files."""
    first = result.files[0]
    integer = row.kernels["integer"] + row.kernels["dynamic-integer"]
    top1 = next((a for a in row.accuracy if a.split == "test"), None)
    ratio = row.latency.ratio if row.latency else None
    interval = row.latency.ratio_ci95 if row.latency else None
    spread = f" ({' to '.join(map(words.significant, interval))})" if interval else ""
    return [
        f"{row.id} (ships)" if row.id == result.shipped else row.id,
        f"{integer} / {row.kernels['float']}",
        words.percent(top1.top1) if top1 else "–",
        kept_in_words(row, result.judge),
        words.size(row.size_bytes),
        words.times(first.size_bytes / row.size_bytes),
        words.milliseconds(row.latency.p50_ms) if row.latency else "–",
        f"{words.times(ratio)}{spread}" if ratio else "–",
    ]


def kept_in_words(row: FileRow, judge: str) -> str:
    """The worst output on the test part: share of equal classes, or cosine of vectors; and signal to noise."""
    said = []
    values = judge == "values"  # the argmax of an embedding says nothing
    agreements = [f.agreement for f in row.test if f.agreement is not None and not (values and f.sqnr_db is not None)]
    if agreements:
        said.append(f"{words.percent(min(agreements))} equal")
    cosines = [f.vector_cosine for f in row.test if f.vector_cosine is not None]
    if values and cosines:
        said.append(words.minus(f"cosine {min(cosines):.4f}"))
    noise = [f.sqnr_db for f in row.test if f.sqnr_db is not None]
    if noise:
        said.append(words.decibels(min(noise), 1))
    return ", ".join(said) or "–"


def notes(result: QuantizeResult) -> list[str]:
    """What a reader must not miss: refusals, failures, layers kept in float, warnings of the timing."""
    out = [f"{row.id} does not ship: {words.prose(row.verdict)}" for row in result.files if not row.ok]
    out += [f"{name} could not be made: {why}" for name, why in result.failed.items()]
    for row in result.files[1:]:
        if kept := sum(x.kernel == "float" for x in row.layers):
            out.append(f"{row.id}: {words.plural(kept, 'layer')} {'stays' if kept == 1 else 'stay'} in float")
    warned: dict[str, list[str]] = {}
    for row in result.files:
        for warning in row.latency.warnings if row.latency else ():
            warned.setdefault(warning, []).append(row.id)
    return [*out, *(f"timing of {', '.join(ids)}: {warning}" for warning, ids in warned.items())]


def table(result: QuantizeResult) -> Group:
    """For the terminal."""
    drawn = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for i, head in enumerate(_HEADS):
        drawn.add_column(head, justify="left" if i == 0 else "right")
    for row in result.files:
        drawn.add_row(*map(Text, cells(row, result)), style="bold" if row.id == result.shipped else "")
    lines = [Text(note, style="yellow") for note in notes(result)]
    return Group(Text(headline(result), style="bold"), Text(), drawn, Text(), *lines)


def markdown(result: QuantizeResult) -> str:
    """GitHub-flavoured Markdown."""
    rule = ["---"] + ["---:"] * (len(_HEADS) - 1)
    rows = [[escape(c) for c in cells(row, result)] for row in result.files]
    lines = [f"| {' | '.join(r)} |" for r in (list(_HEADS), rule, *rows)]
    parts = [f"## {escape(result.name)}", f"**{escape(headline(result))}**", "\n".join(lines)]
    if said := notes(result):
        parts.append("\n".join(f"- {escape(note)}" for note in said))
    parts.append("\n".join(f"- {escape(f'{term}: {text}')}." for term, text in circumstances(result).items()))
    return "\n\n".join(parts) + "\n"


def circumstances(result: QuantizeResult) -> dict[str, str]:
    """What a reader needs to judge it, by term."""
    source, counts = result.source, result.examples.counts
    changed = "; ".join(map(words.one_line, source.notes)) or "used as it is"
    used = f"{counts['calibration']} calibrated, {counts['selection']} chose, {counts['test']} judged"
    shares = ", ".join(f"{k} {v:.0%}" for k, v in list(source.time_share.items())[:6])
    about = {"Judged as": f"{result.judge}, as {words.one_line(result.judge_reason)}"} if result.judge else {}
    return {
        "Source": f"{words.one_line(source.path)}, {words.size(source.size_bytes)}, opset {source.opset}, "
        f"{source.kind}; {changed}",
        "The float file's time": shares,
        "Examples": used,
        **about,
        "Wanted": "; ".join(_limit(k, v) for k, v in result.limits.items()),
        "Machine": f"{result.host.get('cpu')}, {', '.join(f'{k} {v}' for k, v in result.versions.items())}",
    }


def _limit(name: str, value: float) -> str:
    said = {
        "max_drop_points": "at most {:g} points of accuracy lost",
        "min_agreement": "equal answers for {:.4g} %",
        "min_cosine": "a mean cosine similarity of {:g} or more",
        "min_sqnr_db": "{:g} dB of signal to noise or more",
    }
    return said[name].format(100 * value if name == "min_agreement" else value)
