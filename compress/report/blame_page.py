"""The HTML page of `compress blame`: one file, no script, no request."""

from compress.blamed import Blame, LayerBlame, Mixed
from compress.report import words
from compress.report.blame_text import ranked, summary
from compress.report.markup import Markup, tag
from compress.report.page import document
from compress.report.page_parts import icon, minor, section, table
from compress.report.plots import bar


def render(b: Blame) -> str:
    """The whole page as text. The same blame gives the same bytes."""
    return document(
        f"Blame: {words.one_line(b.artefact)}",
        [_header(b), _layers(b), _plans(b)],
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
        if b.plan
        else "The loss is spread over the layers"
    )
    rows = [tag("div", tag("dt", icon(grade), "Verdict"), tag("dd", f"{summary(b)}."), class_=grade)]
    rows += [tag("div", tag("dt", "To do" if i == 0 else ""), tag("dd", line)) for i, line in enumerate(b.advice)]
    kicker = tag("p", tag("span", "Blame", class_="kicker"), tag("span", words.one_line(b.name)), class_="name-line")
    return tag("header", kicker, tag("h1", title), tag("dl", rows, class_="verdict"))


def _layers(b: Blame) -> Markup:
    most = max((r.alone_kl for r in b.layers), default=0.0) or 1.0
    timed = any(r.share is not None for r in b.layers)
    heads = ["Layer", "Cost of this layer alone", "", "All but this one", "Output", "Weights", "Clipped"]
    heads += ["Time"] if timed else []
    rows = [("hurt" if r.findings else None, _layer(r, most, b.kl, timed)) for r in ranked(b)]
    return section(
        "layers",
        "Layer by layer",
        table("Every integer layer of the file", heads, rows, kind="blame", figures=len(heads) - 2),
        lead="Cost: mean divergence (KL, nats) of the answers from those in float, with this layer alone in int8, and "
        "with all of them but this one. Output and weights: signal over rounding error, in decibels, along the whole "
        "int8 file; 6 dB are one bit. Clipped: share of the float outputs beyond the grid. Validation examples.",
    )


def _layer(r: LayerBlame, most: float, kl: float, timed: bool) -> list[object]:
    back = kl - r.without_kl
    cells: list[object] = [
        tag("span", tag("b", words.one_line(r.name)), minor(r.op), [minor(f) for f in r.findings]),
        bar(r.alone_kl / most, kind="over" if r.findings else ""),
        words.significant(r.alone_kl, 2),
        tag("span", words.significant(r.without_kl, 2), minor(f"{words.significant(back, 2)} comes back")),
        f"{r.output_sqnr_db:.0f} dB",
        f"{r.weight_sqnr_db:.0f} dB",
        words.percent(r.clipped, 1),
    ]
    if timed:
        share = minor(words.percent(r.share, 0)) if r.share is not None else None
        cells.append(tag("span", words.milliseconds(r.milliseconds), share) if r.milliseconds is not None else "–")
    return cells


def _plans(b: Blame) -> Markup | None:
    if not b.tried:
        return None
    heads = ("In float", "Predicted KL", "Measured KL", "Accuracy", "Came back", "Size")
    rows = [("shipped" if m == b.plan else None, _plan(m)) for m in b.tried]
    return section(
        "plans",
        "What was tried",
        table("Files with some layers in float", heads, rows, kind="plans", figures=5),
        lead="The worst layers back in float, one after the other: predicted from single layers, then exported, run "
        f"and measured. All in int8: {words.size(b.size_bytes)}; all in float: {words.size(b.float_size_bytes)}.",
    )


def _plan(m: Mixed) -> list[object]:
    return [
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
