"""Reports of `compress quantize`: terminal table, Markdown and page, from its result.json alone."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from compress.quantize_result import FileRow, QuantizeResult
from compress.report import words
from compress.report.build import write_texts
from compress.report.markdown import escape
from compress.report.markup import Markup, join, tag
from compress.report.page import POLICY
from compress.report.page_parts import minor, plain, readable, section
from compress.report.page_parts import table as page_table
from compress.report.plots import Strip, strips

_HEADS = ("File", "Integer / float", "Accuracy", "Kept of the float file", "Size", "Smaller", "p50", "Faster")
_FLOAT = "float"


def write_reports(result: QuantizeResult, folder: Path) -> tuple[Path, ...]:
    """Write report.html and report.md, each whole or not at all."""
    return write_texts({"report.html": page(result), "report.md": markdown(result)}, folder)


def headline(result: QuantizeResult) -> str:
    """What came of it, in one sentence."""
    if result.shipped == _FLOAT:
        return f"{result.name}: the float file is kept. {words.sentence(result.shipped_reason)}."
    return f"{result.name}: int8 ({result.shipped}) ships. {words.sentence(result.shipped_reason)}."


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
        said.append(f"cosine {min(cosines):.4f}")
    noise = [f.sqnr_db for f in row.test if f.sqnr_db is not None]
    if noise:
        said.append(f"{min(noise):.1f} dB")
    return ", ".join(said) or "–"


def notes(result: QuantizeResult) -> list[str]:
    """What a reader must not miss: refusals, failures, layers kept in float, warnings of the timing."""
    out = [f"{row.id} does not ship: {row.verdict}" for row in result.files if not row.ok]
    out += [f"{name} could not be made: {why}" for name, why in result.failed.items()]
    out += [f"{row.id}: {words.plural(len(kept), 'layer')} stay in float (see Layers)" for row in result.files[1:]
            if (kept := [x for x in row.layers if x.kernel == "float"])]  # fmt: skip
    seen = dict.fromkeys(w for row in result.files if row.latency for w in row.latency.warnings)
    return [*out, *seen]


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
    parts.append("\n".join(f"- {escape(line)}" for line in _circumstances(result)))
    return "\n\n".join(parts) + "\n"


def _circumstances(result: QuantizeResult) -> list[str]:
    source, counts = result.source, result.examples.counts
    changed = "; ".join(source.notes) or "used as it is"
    used = f"{counts['calibration']} calibrated, {counts['selection']} chose, {counts['test']} judged"
    shares = ", ".join(f"{k} {v:.0%}" for k, v in list(source.time_share.items())[:6])
    limit = ", ".join(f"{readable(k)} {v:g}" for k, v in result.limits.items())
    return [
        f"Source: {source.path}, {words.size(source.size_bytes)}, opset {source.opset}, {source.kind}; {changed}.",
        f"The float file's time: {shares}.",
        f"Examples: {used}. Limit: {limit}.",
        *([f"Outputs judged as {result.judge}: {result.judge_reason}."] if result.judge else []),
        f"Machine: {result.host.get('cpu')}, {', '.join(f'{k} {v}' for k, v in result.versions.items())}.",
    ]


def page(result: QuantizeResult) -> str:
    """report.html: one file, no scripts, nothing loaded."""
    style = Markup(files("compress.report").joinpath("page.css").read_text(encoding="utf-8"))
    name = words.one_line(result.name)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{words.shorten(name, 60)}: int8 report"),
        tag("style", style),
    )
    rows = [("shipped" if r.id == result.shipped else None, cells(r, result)) for r in result.files]
    found = page_table("Every file that was made", _HEADS, rows, figures=len(_HEADS) - 1)
    body = tag(
        "main",
        tag("header", tag("h1", name), tag("p", headline(result), class_="lead")),
        section("files", "Files", found, tag("ul", [tag("li", n) for n in notes(result)])),
        _outputs(result),
        _timings(result),
        _layers(result),
        section("record", "Record", tag("ul", [tag("li", line) for line in _circumstances(result)]), _recipe(result)),
        id="content",
    )
    return join(Markup("<!doctype html>\n"), tag("html", head, tag("body", body), lang="en"), Markup("\n"))


def _outputs(result: QuantizeResult) -> Markup:
    rows: list[tuple[str | None, Sequence[object]]] = []
    for row in result.files[1:]:
        for f in row.test:
            numbers = (
                f.agreement,
                f.cosine if f.vector_cosine is None else f.vector_cosine,
                f.sqnr_db,
                f.largest_difference,
                f.spread,
            )
            rows.append(
                (
                    None,
                    [
                        f"{row.id}: {words.one_line(f.output)}",
                        *("–" if v is None else words.significant(v, 4) for v in numbers),
                    ],
                )
            )
    heads = ("Output", "Equal", "Cosine", "SQNR, dB", "Largest difference", "Spread of the float file")
    lead = "Every output of every int8 file against the float file's on the examples that judge."
    return section("outputs", "Outputs", page_table("Int8 against float", heads, rows, figures=5), lead=lead)


def _timings(result: QuantizeResult) -> Markup | None:
    timed = [(r, r.latency) for r in result.files if r.latency]
    if not timed:
        return None
    bands = [Strip(r.id, t.processes_ms, t.p50_ms, r.id == result.shipped) for r, t in timed]
    about = f"Block medians in milliseconds for {words.plural(len(bands), 'file')}."
    drawn = tag("figure", strips(bands, width=1040, about=about))
    lead = "Each dot is the median of a block of calls, each line of dots a fresh process; the float file's alternate."
    return section("timings", "Latency, block by block", drawn, lead=lead)


def _layers(result: QuantizeResult) -> Markup:
    best = result.file(result.shipped) if result.shipped != _FLOAT else result.files[-1]
    rows: list[tuple[str | None, Sequence[object]]] = [
        (None, [join(words.one_line(x.name), minor(words.one_line(x.reason) or None)), x.op, x.kernel,
                words.number(x.parameters), words.number(x.macs)]) for x in best.layers
    ]  # fmt: skip
    heads = ("Layer", "Operator", "Kernel", "Parameters", "MACs")
    lead = "Kernels are counted in the graph as ONNX Runtime runs it, not in what was asked for."
    return section("layers", "Layers", page_table(f"Layers of {best.id}", heads, rows, figures=2), lead=lead)


def _recipe(result: QuantizeResult) -> Markup:
    recipe = result.recipe
    said = [(k, recipe[k]) for k in ("target", "kind", "activations", "weights", "weight_bits", "calibration")]
    rows = [tag("tr", tag("th", readable(k), scope="row"), tag("td", plain(k, v))) for k, v in said]
    tried = [tag("li", f"{c['name']}: {c['reason']}") for c in recipe["candidates"]]
    return tag("div", tag("table", tag("caption", "Recipe"), tag("tbody", rows), class_="facts"), tag("ul", tried))
