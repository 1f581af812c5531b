"""The charts of the page: accuracy against size and against latency."""

import math
from collections.abc import Callable

from compress.report import words
from compress.report.charts.plots import both
from compress.report.charts.scatter import Point, frontier, scatter
from compress.report.facts.rows import Row
from compress.report.facts.run import Facts
from compress.report.html.markup import Markup, tag
from compress.report.html.parts import section

LABELLED = 8  # with more artefacts than this only the noteworthy ones carry a name in the charts


def charts(facts: Facts) -> Markup:
    """Accuracy against size, and against latency where it was measured."""
    known = [r for r in facts.rows if r.accuracy and r.artefact.size_bytes]
    if not known:
        return section("charts", "Accuracy against size and speed", tag("p", "No accuracy was measured."))
    figures = [_figure(known, "size", lambda r: float(r.artefact.size_bytes), "size of the model file", words.size)]
    timed = [r for r in known if r.latency and 0 < r.latency.p50_ms < math.inf]
    if timed:
        p50 = {r.artefact.id: r.latency.p50_ms for r in timed if r.latency}
        device = words.one_line(facts.device or "")
        figures.append(
            _figure(
                timed,
                "latency",
                lambda r: p50[r.artefact.id],
                f"latency on {device}, p50, ms",
                words.significant,
            )
        )
    key = tag(
        "p",
        _key("onnx", "", "ONNX"),
        _key("tflite", "", "TFLite"),
        _key("onnx", "solid", "filled: int8 weights"),
        _key("ring", "", "shipped"),
        tag("span", tag("i", class_="key-line"), "no file is better on both", class_="key"),
        class_="keys",
    )
    more = None
    if len(facts.rows) > LABELLED:
        more = tag(
            "p",
            "Named: the teacher, the shipped file and some of those that no file beats on both axes. "
            "The others are in the table below.",
            class_="fine",
        )
    untimed = None if timed else tag("p", "Latency was not measured in this run.", class_="fine")
    return section(
        "charts",
        "Accuracy against size and speed",
        key,
        tag("div", figures, class_="pair"),
        more,
        untimed,
        lead="Every exported file of the run. Up and to the left is better; vertical bars are 95 % intervals.",
    )


def _key(shape: str, solid: str, text: str) -> Markup:
    if shape == "tflite":
        mark = Markup(f'<path d="M8 2L14 8L8 14L2 8Z" class="mark tflite {solid}"/>')
    elif shape == "ring":
        mark = Markup(
            '<circle cx="8" cy="8" r="7" class="ring"/><circle cx="8" cy="8" r="3.5" class="mark onnx solid"/>'
        )
    else:
        mark = Markup(f'<circle cx="8" cy="8" r="5" class="mark onnx {solid}"/>')
    return tag(
        "span", tag("svg", mark, viewbox="0 0 16 16", width=16, height=16, aria_hidden="true"), text, class_="key"
    )


def _figure(
    rows: list[Row], what: str, value: Callable[[Row], float], title: str, text: Callable[[float], str]
) -> Markup:
    plain = [_point(r, value(r), True) for r in rows]
    if len(rows) > LABELLED:
        edge = frontier(plain)
        chosen = {id(p) for p in edge[:: max(1, -(-len(edge) // (LABELLED - 2)))]}
        plain = [
            _point(r, value(r), r.is_teacher or r.is_shipped or id(p) in chosen)
            for r, p in zip(rows, plain, strict=True)
        ]
    shipped = next((r for r in rows if r.is_shipped), None)
    about = f"Scatter chart of accuracy against {what} for {words.plural(len(rows), 'file')}."
    if shipped and shipped.accuracy:
        about += f" Shipped: {shipped.id}, {words.percent(shipped.accuracy.top1)}, {text(value(shipped))}."
    about += " The numbers are in the table of every file."

    def draw(width: int, height: int) -> Markup:
        return scatter(plain, x_title=title, x_text=text, about=about, width=width, height=height)

    head = {"size": "Accuracy against file size", "latency": "Accuracy against latency"}[what]
    return tag("figure", tag("h3", head), both(draw(520, 370), draw(344, 330)))


def _point(row: Row, x: float, named: bool) -> Point:
    assert row.accuracy is not None  # charts() keeps only rows that have one
    art = row.artefact
    return Point(
        x=x,
        y=row.accuracy.top1,
        label=row.role,
        note=f"{row.id}: {words.percent(row.accuracy.top1)}, {words.size(art.size_bytes)}"
        + (f", {words.milliseconds(row.latency.p50_ms)}" if row.latency else ""),
        tflite=art.format == "tflite",
        solid=art.precision in ("int8", "dynamic-int8"),
        ring=row.is_shipped,
        named=named,
        y_range=row.accuracy.ci95 if all(map(math.isfinite, row.accuracy.ci95)) else None,
    )
