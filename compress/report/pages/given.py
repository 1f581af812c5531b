"""`compress quantize` as report.html: one file, no scripts, nothing loaded; from its result.json alone."""

from collections.abc import Sequence
from pathlib import Path

from compress.quantize_result import Fidelity, FileRow, QuantizeResult
from compress.report import words
from compress.report.build import write_texts
from compress.report.charts.plots import Strip, both, strips
from compress.report.facts.given import FLOAT, answers, circumstances, kept_in_words, notes, verdict
from compress.report.html.document import document
from compress.report.html.markup import Markup, join, tag, with_code
from compress.report.html.parts import answer, contents, masthead, minor, plain, readable, section, table
from compress.report.sections.terms import terms
from compress.report.text.given import markdown

_TERMS = ("float32, int8", "agreement", "cosine", "decibels", "median, p50, p90", "95 % interval", "points", "MACs")
_Rows = list[tuple[str | None, Sequence[object]]]


def write_reports(result: QuantizeResult, folder: Path) -> tuple[Path, ...]:
    """Write report.html and report.md, each whole or not at all; their paths."""
    return write_texts({"report.html": render(result), "report.md": markdown(result)}, folder)


def render(result: QuantizeResult) -> str:
    """The whole page as text. The same result gives the same bytes."""
    name = words.one_line(result.name)
    drawn = {"files": _files(result), "outputs": _outputs(result), "timings": _timings(result),
             "layers": _layers(result), "terms": terms(*_TERMS), "record": _record(result)}  # fmt: skip
    titles = {"files": "Files", "outputs": "Outputs", "timings": "Latency", "layers": "Layers", "terms": "Words",
              "record": "Record"}  # fmt: skip
    return document(
        f"{words.shorten(name, 60)}: int8 report",
        [_header(result, name), contents(titles, drawn), list(drawn.values())],
        f"Drawn from result.json alone; every number is in that file. Result format {result.version}.",
    )


def _header(result: QuantizeResult, name: str) -> Markup:
    said = [words.prose(n) for n in notes(result)]
    flags = tag("div", tag("h2", "Know before you use it"), tag("ul", [tag("li", n) for n in said]), class_="flags")
    about = (f"target {result.recipe['target']}", f"seed {result.seed}", words.moment(result.started),
             f"took {words.duration(result.seconds)}")  # fmt: skip
    return masthead(
        "Int8 report",
        name,
        words.sentence(verdict(result)),
        [answer(a.term, with_code(a.text), a.grade) for a in answers(result)],
        flags if said else None,
        tag("p", " · ".join(about), class_="about"),
    )


def _files(result: QuantizeResult) -> Markup:
    labelled = any(r.accuracy for r in result.files)
    heads = ("File", *(["Accuracy"] if labelled else []), "Kept of the float file", "Size", "Latency, median",
             "Integer / float layers")  # fmt: skip
    rows: _Rows = [
        ("shipped" if r.id == result.shipped else None, _file(r, result, labelled=labelled)) for r in result.files
    ]
    lead = "In smaller type: why there is such a file, and factors against the float one (above 1 is smaller or faster)"
    return section("files", "Every file", table("Every file that was made", heads, rows, kind="files",
                                                figures=len(heads) - 1), lead=f"{lead}.")  # fmt: skip


def _file(row: FileRow, result: QuantizeResult, *, labelled: bool) -> list[object]:
    badge = tag("span", "shipped", class_="badge") if row.id == result.shipped else None
    integer = row.kernels["integer"] + row.kernels["dynamic-integer"]
    top1 = next((a for a in row.accuracy if a.split == "test"), None)
    return [
        join(tag("b", row.id), badge, minor(words.prose(row.reason))),
        *([words.percent(top1.top1) if top1 else "–"] if labelled else []),
        kept_in_words(row, result.judge),
        join(words.size(row.size_bytes), minor(words.times(result.files[0].size_bytes / row.size_bytes))),
        join(words.milliseconds(row.latency.p50_ms), minor(_faster(row))) if row.latency else "–",
        f"{integer} / {row.kernels['float']}",
    ]


def _faster(row: FileRow) -> str | None:
    found = row.latency
    if found is None or found.ratio is None or row.id == FLOAT:
        return None
    ends = f" ({' to '.join(map(words.significant, found.ratio_ci95))})" if found.ratio_ci95 else ""
    return f"{words.times(found.ratio)}{ends}"


def _outputs(result: QuantizeResult) -> Markup:
    rows: _Rows = [(None, _output(row.id, f)) for row in result.files[1:] for f in row.test]
    heads = ("Output", "Equal", "Cosine", "Signal to noise", "Largest difference", "Spread of the float file")
    lead = "Every output of every int8 file against the float file's on the examples that judge."
    return section("outputs", "Outputs", table("Int8 against float", heads, rows, figures=5), lead=lead)


def _output(file: str, f: Fidelity) -> list[object]:
    cosine = f.cosine if f.vector_cosine is None else f.vector_cosine
    return [
        join(tag("b", words.one_line(f.output)), minor(file)),
        "–" if f.agreement is None else words.percent(f.agreement),
        "–" if cosine is None else words.significant(cosine, 4),
        "–" if f.sqnr_db is None else words.decibels(f.sqnr_db, 1),
        "–" if f.largest_difference is None else words.significant(f.largest_difference),
        "–" if f.spread is None else words.significant(f.spread),
    ]


def _timings(result: QuantizeResult) -> Markup | None:
    timed = [(r, r.latency) for r in result.files if r.latency]
    if not timed:
        return None
    bands = [Strip(r.id, t.processes_ms, t.p50_ms, r.id == result.shipped) for r, t in timed]
    about = f"Block medians in milliseconds for {words.plural(len(bands), 'file')}."
    drawn = tag("figure", both(strips(bands, width=1040, about=about), strips(bands, width=344, about=about)))
    first = timed[0][1]
    lead = (
        f"One example at a time on {words.plural(first.threads, 'thread')}, {first.label}. Each dot is the median of a "
        "block of calls, each line of dots a fresh process, the upright bar p50; the float file's blocks alternate."
    )
    return section("timings", "Latency, block by block", drawn, lead=lead)


def _layers(result: QuantizeResult) -> Markup:
    best = result.file(result.shipped) if result.shipped != FLOAT else result.files[-1]
    rows: _Rows = [
        (None, [join(words.one_line(x.name), minor(words.prose(x.reason) or None)), x.op, x.kernel,
                words.number(x.parameters), words.number(x.macs) if x.macs else "–"]) for x in best.layers
    ]  # fmt: skip
    heads = ("Layer", "Operator", "Kernel", "Parameters", "MACs")
    lead = "Kernels are counted in the graph as ONNX Runtime runs it, not in what was asked for."
    return section("layers", "Layers", table(f"Layers of {best.id}", heads, rows, figures=2), lead=lead)


def _record(result: QuantizeResult) -> Markup:
    recipe = result.recipe
    wanted = ("target", "activations", "weights", "weight_bits", "calibration")
    facts = {**circumstances(result), **{readable(k).capitalize(): plain(k, recipe[k]) for k in wanted}}
    rows = [tag("tr", tag("th", term, scope="row"), tag("td", text)) for term, text in facts.items()]
    body = tag("table", tag("caption", "What was given, wanted and used"), tag("tbody", rows), class_="facts")
    return section("record", "Record", body)
