"""Accuracy against size, latency and energy: every file a point, those that no other one beats on a line."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from compress.report import words
from compress.report.charts.plots import both
from compress.report.charts.scatter import Point, frontier, scatter
from compress.report.facts.energy import not_measured
from compress.report.facts.rows import Row, accuracy_of, beaten
from compress.report.facts.run import Facts
from compress.report.html.markup import Markup, tag
from compress.report.html.parts import section
from compress.result import Artefact

LABELLED = 8  # with more files than this only the noteworthy ones carry a name in the charts


def charts(facts: Facts) -> Markup:
    """Accuracy against size, and against latency and energy where they were measured."""
    known = [r for r in facts.rows if r.accuracy and r.artefact.size_bytes]
    if not known:
        return section("charts", "Accuracy against size and speed", tag("p", "No accuracy was measured."))
    figures = [figure("file size", "size of the model file", words.size,
                      [_point(r, float(r.artefact.size_bytes)) for r in known])]  # fmt: skip
    timed = [_point(r, r.latency.p50_ms) for r in known if r.latency and 0 < r.latency.p50_ms < math.inf]
    if timed:
        device = words.one_line(facts.device or "")
        figures.append(figure("latency", f"median latency on {device}, ms", words.significant, timed))
    metered = [_point(r, r.energy_mj, r.energy.total_ci95) for r in known if r.energy and r.energy_mj]
    if metered:
        device = words.one_line(facts.metered or "")
        figures.append(figure("energy", f"energy an inference on {device}, mJ", words.significant, metered))
    more = None
    if len(known) > LABELLED:
        more = "Named: the teacher, the shipped file and some of those that no file beats on both axes. The others " \
            "are in the table below."  # fmt: skip
    absent = not_measured(t for r in facts.rows for t in r.artefact.latency)
    if not metered and not absent:
        absent = "Energy was measured of files without accuracy alone."
    lost = "; ".join(f"{a.role} ({a.id}) by {b.role} ({b.id})" for a, b in beaten(known)[:LABELLED])
    front = (
        f"Beaten in everything that was measured: {lost}." if lost else "No file is beaten by another in everything."
    )
    notes = [
        more,
        front if len(known) > 1 else None,
        None if timed else "Latency was not measured in this run.",
        absent or None,
    ]
    return section(
        "charts",
        "Accuracy against size and speed" if not metered else "Accuracy against size, speed and energy",
        keys(p for r in known for p in [_point(r, 1.0)]),
        tag("div", figures, class_="pair"),
        [tag("p", n, class_="fine") for n in notes if n],
        lead="Every exported file of the run. Up and to the left is better; bars are 95 % intervals.",
    )


def figure(against: str, x_title: str, x_text: Callable[[float], str], points: Sequence[Point]) -> Markup:
    """One chart at both sizes. Of many points only those `named` already and some of the frontier keep a name."""
    shown = [replace(p, named=True) for p in points]
    if len(points) > LABELLED:
        edge = frontier(points)
        chosen = {id(p) for p in edge[:: max(1, -(-len(edge) // (LABELLED - 2)))]}
        shown = [replace(p, named=p.named or id(p) in chosen) for p in points]
    about = f"Scatter chart of accuracy against {against} for {words.plural(len(points), 'file')}. "
    about += "".join(f"Shipped: {p.note}. " for p in points if p.ring) + "The numbers are in the table of every file."

    def draw(width: int, height: int) -> Markup:
        return scatter(shown, x_title=x_title, x_text=x_text, about=about, width=width, height=height)

    return tag("figure", tag("h3", f"Accuracy against {against}"), both(draw(520, 370), draw(344, 330)))


def point(artefact: Artefact, x: float, *, label: str, name: str, latency_ms: float | None = None, ring: bool = False,
          named: bool = False, x_range: tuple[float, float] | None = None) -> Point:  # fmt: skip
    """A file of known accuracy. label: beside it; name: in its tooltip."""
    accuracy = accuracy_of(artefact)
    top1, ci95 = (accuracy.top1, accuracy.ci95) if accuracy else (0.0, (0.0, 0.0))
    note = f"{name}: {words.percent(top1)}, {words.size(artefact.size_bytes)}"
    return Point(
        x=x,
        y=top1,
        label=label,
        note=note + (f", {words.milliseconds(latency_ms)}" if latency_ms is not None else ""),
        tflite=artefact.format == "tflite",
        solid=artefact.precision in ("int8", "dynamic-int8"),
        ring=ring,
        named=named,
        x_range=x_range if x_range and 0 < x_range[0] <= x_range[1] < math.inf else None,
        y_range=ci95 if accuracy and all(map(math.isfinite, ci95)) else None,
    )


def _point(r: Row, x: float, x_range: tuple[float, float] | None = None) -> Point:
    return point(r.artefact, x, label=r.role, name=r.id, latency_ms=r.latency.p50_ms if r.latency else None,
                 ring=r.is_shipped, named=r.is_teacher or r.is_shipped, x_range=x_range)  # fmt: skip


def keys(points: Iterable[Point]) -> Markup:
    """What the marks mean, of those that occur."""
    shown = list(points)
    ringed = Markup(f'<circle cx="8" cy="8" r="7" class="ring"/>{_circle("mark onnx solid", 3.5)}')
    entries = [
        (any(not p.tflite for p in shown), _circle("mark onnx"), "ONNX"),
        (any(p.tflite for p in shown), Markup('<path d="M8 2L14 8L8 14L2 8Z" class="mark tflite"/>'), "TFLite"),
        (any(p.solid for p in shown), _circle("mark onnx solid"), "filled: int8 weights"),
        (any(p.ring for p in shown), ringed, "shipped"),
    ]
    drawn = [tag("span", tag("svg", mark, viewbox="0 0 16 16", width=16, height=16, aria_hidden="true"), text,
                 class_="key") for on, mark, text in entries if on]  # fmt: skip
    line = tag("span", tag("i", class_="key-line"), "no file is better on both", class_="key")
    return tag("p", drawn, line if len(shown) > 1 else None, class_="keys")


def _circle(kind: str, r: float = 5) -> Markup:
    return Markup(f'<circle cx="8" cy="8" r="{r:g}" class="{kind}"/>')
