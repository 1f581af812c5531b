"""The HTML page of `compress blame`: one file, no script, no request."""

from compress.blamed import Blame, LayerBlame, Mixed
from compress.report import words
from compress.report.charts.plots import bar, both
from compress.report.charts.scatter import Point, scatter
from compress.report.html.document import document
from compress.report.html.markup import Markup, tag, with_code
from compress.report.html.parts import answer, masthead, minor, section, table
from compress.report.sections.terms import terms
from compress.report.text.blame import MEASURES, ranked, summary

_COST = {
    "kl": "mean divergence (KL, nats) of the answers from those in float",
    "noise": "energy of the error over the signal's, of the output that strays most from the float file's",
}
_MEASURE = {"kl": "divergence (KL)", "noise": "noise"}
_TERMS = ("decibels", "clipped", "float32, int8", "points", "median, p50, p90", "95 % interval")
FEW = 5  # layers that a loss can be said to sit in
_WIDEST = 1.5  # an interval is cut off at so many times the largest difference
NAMED = 12  # layers with a name in the chart


def render(b: Blame) -> str:
    """The whole page as text. The same blame gives the same bytes."""
    return document(
        f"Blame: {words.one_line(b.artefact)}",
        [_header(b), _plot(b), _layers(b), _plans(b), terms(_MEASURE[b.measure], *_TERMS)],
        f"Drawn from blame.json alone: {words.one_line(b.name)}, {words.one_line(b.artefact)}.",
    )


def _header(b: Blame) -> Markup:
    suspects = [r for r in b.layers if r.findings]
    grade = "bad" if suspects else "good" if b.plan is None and b.kl < 0.005 else "care"
    title = (
        f"{words.plural(len(suspects), 'layer')} with something wrong"
        if suspects
        else "Nothing stands out"
        if grade == "good"
        else "The loss has a place"
        if b.plan and len(b.plan.keep_float) <= FEW
        else "Some layers in float give most of it back"
        if b.plan
        else "The loss is spread over the layers"
    )
    answers = [answer("Verdict", f"{summary(b)}.", grade)]
    answers += [answer("" if i else "Next", with_code(words.prose(line))) for i, line in enumerate(b.advice)]
    return masthead("Blame", words.one_line(b.name), title, answers)


def _plot(b: Blame) -> Markup | None:
    """Every layer by what it costs in accuracy and what it saves in time."""
    timed = [r for r in b.layers if r.saves_ms is not None]
    if not timed or b.kl <= 0:
        return None
    kept = b.plan.keep_float if b.plan else ()
    named = {r.name for r in sorted(timed, key=lambda r: r.without_kl)[:NAMED]} | set(kept)
    points = [_point(r, b, r.name in kept, r.name in named) for r in timed]
    about = f"Scatter chart of {words.plural(len(points), 'layer')}; the numbers are in the table below."

    def draw(width: int, height: int) -> Markup:
        return scatter(points, x_title="slower with it in float, µs", x_text=words.significant, about=about,
                       y_title="of the divergence comes back, %", width=width, height=height)  # fmt: skip

    return section(
        "plot",
        "Cost in accuracy against cost in time",
        tag("figure", both(draw(980, 380), draw(344, 330))),
        lead="Each layer: how much of the divergence comes back if it alone is put back to float, and how much slower "
        "the file then is, timed side by side on this machine. The top left is worth keeping in float; the dashed line "
        "joins those that no other beats in both; bars are 95 % intervals. Filled and ringed: in the advised plan.",
    )


def _point(r: LayerBlame, b: Blame, kept: bool, named: bool) -> Point:
    assert r.saves_ms is not None  # _plot keeps only those
    most = _WIDEST * max(abs(x.saves_ms or 0.0) for x in b.layers)  # a disturbed turn must not squeeze all the others
    low, high = (min(max(end, -most), most) for end in r.saves_ci95 or (r.saves_ms, r.saves_ms))
    back = 1 - r.without_kl / b.kl
    note = f"{words.one_line(r.name)}: {words.percent(back, 0)} comes back, {words.signed(1000 * r.saves_ms, '.1f')} µs"
    return Point(1000 * r.saves_ms, back, words.one_line(r.name), note, b.kind == "tflite", kept, kept, named,
                 x_range=(1000 * low, 1000 * high))  # fmt: skip


def _layers(b: Blame) -> Markup:
    most = max((r.alone_kl for r in b.layers), default=0.0) or 1.0
    timed = any(r.share is not None for r in b.layers)
    heads = ["Layer", "Cost of this layer alone", "", "All but this one", "Output", "Weights", "Clipped"]
    heads += ["Time"] if timed else []
    saved = any(r.saves_ms is not None for r in b.layers)
    heads += ["In float"] if saved else []
    rows = [("hurt" if r.findings else None, _layer(r, most, b.kl, timed, saved)) for r in ranked(b)]
    time = (
        f" Time: of its operators, by {b.profile}." if timed else f" {words.sentence(b.profile)}." if b.profile else ""
    )
    time += " In float: how much slower the file is with this layer in float." if saved else ""
    return section(
        "layers",
        "Layer by layer",
        table("Every integer layer of the file", heads, rows, kind="blame", figures=len(heads) - 2),
        lead=f"Cost: {_COST[b.measure]}, with this layer alone in int8, and with all of them but this one. Output and "
        "weights: signal over rounding error, in decibels, along the whole "
        f"int8 file; 6 dB are one bit. Clipped: share of the float outputs beyond the grid. Validation examples.{time}",
    )


def _layer(r: LayerBlame, most: float, kl: float, timed: bool, saved: bool) -> list[object]:
    back = kl - r.without_kl
    cells: list[object] = [
        tag("span", tag("b", words.one_line(r.name)), minor(r.op), [minor(words.prose(f)) for f in r.findings]),
        bar(r.alone_kl / most, kind="over" if r.findings else ""),
        words.significant(r.alone_kl, 2),
        tag("span", words.significant(r.without_kl, 2), minor(f"{words.significant(back, 2)} comes back")),
        "–" if r.output_sqnr_db is None else words.decibels(r.output_sqnr_db),
        "–" if r.weight_sqnr_db is None else words.decibels(r.weight_sqnr_db),
        "–" if r.clipped is None else words.percent(r.clipped, 1),
    ]
    if timed:
        share = minor(words.percent(r.share, 0)) if r.share is not None else None
        cells.append(tag("span", f"{1000 * r.milliseconds:.1f} µs", share) if r.milliseconds is not None else "–")
    if saved:
        cells.append(microseconds(r.saves_ms))
    return cells


def _plans(b: Blame) -> Markup | None:
    if not b.tried:
        return None
    unit = MEASURES[b.measure]
    heads = [
        "In float",
        f"Predicted {unit}",
        f"Measured {unit}",
        "Accuracy" if b.right == "label" else "As in float",
        "Came back",
        "Size",
    ]
    timed = any(m.milliseconds is not None for m in b.tried)
    heads += ["Predicted time", "Measured time"] if timed else []
    rows = [("shipped" if m == b.plan else None, _plan(m, b, timed)) for m in b.tried]
    whole = ((b.size_bytes, b.milliseconds), (b.float_size_bytes, b.float_milliseconds))
    int8, real = (words.size(s) + (f", {words.milliseconds(ms)}" if ms is not None else "") for s, ms in whole)
    return section(
        "plans",
        "What was tried",
        table("Files with some layers in float", heads, rows, kind="plans", figures=len(heads) - 1),
        lead="Layers back in float: by what each gives back, by what each costs alone, by what comes back for its "
        "time. Predicted from single layers, then exported, run and measured. "
        f"All in int8: {int8}; all in float: {real}. The advised one is marked.",
    )


def microseconds(value: float | None) -> str:
    """`+3.1 µs`: a difference of times; layers of small nets save that little."""
    if value is None:
        return "–"
    return f"{words.signed(value, '.3g')} ms" if abs(value) >= 1 else f"{words.signed(1000 * value, '.1f')} µs"


def _plan(m: Mixed, b: Blame, timed: bool) -> list[object]:
    cells: list[object] = [
        tag(
            "span",
            ", ".join(map(words.one_line, m.keep_float)) or "none",
            minor("new ranges: " + ", ".join(map(words.one_line, m.regrid))) if m.regrid else None,
        ),
        words.significant(m.predicted_kl, 2),
        words.significant(m.kl, 2),
        words.percent(m.top1),
        "–" if m.recovered is None else words.percent(m.recovered, 0),
        words.size(m.size_bytes),
    ]
    if timed:
        cells.append(microseconds(m.predicted_slower_ms))
        against = (
            None if b.float_milliseconds is None or m.milliseconds is None else b.float_milliseconds / m.milliseconds
        )
        note = minor(f"{words.times(against)} the speed of float") if against else None
        cells.append(tag("span", microseconds(m.slower_ms), note))
    return cells
