"""The examples whose answer changed: picture, trace or text, and where it was asked for, what spoke for each answer."""

from collections.abc import Sequence

from compress.comparison import Attribution, Comparison, Flip
from compress.report import words
from compress.report.charts.axes import Axis
from compress.report.html.markup import Markup, chart, number, tag
from compress.report.html.parts import minor, section

KINDS = {"lost": "Lost: right before, wrong after", "changed": "Wrong both times, in another way", "gained": "Gained"}


def flips(c: Comparison, prefix: str = "") -> Markup:
    """The examples themselves."""
    groups = []
    for kind, title in KINDS.items():
        found = [f for f in c.flips if f.kind == kind]
        if found:
            groups.append(tag("h3", title, minor(f"{len(found)} shown")))
            wide = " texts" if any(not f.picture and not f.trace for f in found) else ""
            groups.append(tag("div", [_flip(f) for f in found], class_=f"gallery{wide}"))
    lost, gained = c.paired.lost, c.paired.gained
    lead = f"{lost:,} answers were lost and {gained:,} gained. Worst first: by how much the true class fell or rose."
    if not groups:
        lead = "No answer changed."
    if any(f.attribution for f in c.flips):
        lead += (
            " Coloured: what spoke for the answer before (blue) and what for the answer after (amber), part by part, "
            f"by {words.one_line(c.before)} on the left and {words.one_line(c.after)} on the right; the stronger, the "
            "more it moved the balance of the two (Shapley values by Captum, through the exported files)."
        )
    return section(prefix + "flips", "The examples that changed", *groups, lead=lead)


def _flip(f: Flip) -> Markup:
    shown: Markup
    if f.attribution:
        shown = _explained(f, f.attribution)
    elif f.picture:
        shown = tag("img", src=f.picture, alt=f"test example {f.index}", width=72, height=72)
    elif f.trace:
        shown = _trace(f)
    else:
        shown = tag("blockquote", words.one_line(f.text) if f.text else "(empty)")
    answer = f"taken for {words.one_line(f.before)} ({words.percent(f.before_confidence, 0)}), "
    answer += f"now for {words.one_line(f.after)} ({words.percent(f.after_confidence, 0)})"
    return tag(
        "figure",
        shown,
        tag(
            "figcaption",
            tag("b", f"True class: {words.one_line(f.truth)}"),
            minor(answer),
            minor(f"test example {f.index:,}"),
        ),
        class_=" ".join(["flip", *["text"] * (not f.picture and not f.trace), *["explained"] * bool(f.attribution)]),
    )


def _trace(f: Flip) -> Markup:
    values = [v for channel in f.trace for v in channel]
    low, high = min(values), max(values)
    y = Axis(low, high if high > low else low + 1, 68, 4)
    lines = []
    for i, channel in enumerate(f.trace):
        x = Axis(0, max(len(channel) - 1, 1), 2, 158)
        path = " ".join(f"{number(x(t))},{number(y(v))}" for t, v in enumerate(channel))
        lines.append(tag("polyline", points=path, class_=f"trace c{i % 6}"))
    about = f"Test example {f.index}: {words.plural(len(f.trace), 'channel')} of samples."
    return chart(lines, width=160, height=72, about=about, small=True)


def _explained(f: Flip, a: Attribution) -> Markup:
    """The example twice, coloured by what moved each file; one scale for both."""
    largest = max((abs(v) for v in (*a.before, *a.after)), default=0.0) or 1.0
    sides = []
    for name, values in (("before", a.before), ("after", a.after)):
        shares = [v / largest for v in values]
        if a.kind == "words":
            shown = tag("blockquote", [(_word(w, s), " ") for w, s in zip(a.words, shares, strict=True)])
        elif f.picture:
            image = tag("img", src=f.picture, alt=f"test example {f.index}", width=112, height=112)
            shown = tag("span", image, _heat(a, shares, f), class_="heat")
        else:
            shown = tag("span", _trace(f) if f.trace else None, _heat(a, shares, f), class_="heat lanes")
        sides.append(tag("div", shown, minor(name)))
    return tag("div", sides, class_="explained-pair")


def _word(word: str, share: float) -> Markup:
    return tag("mark", words.one_line(word), class_="against" if share < 0 else "for",
               style=f"--w:{100 * abs(share):.0f}%")  # fmt: skip


def _heat(a: Attribution, shares: Sequence[float], f: Flip) -> Markup:
    cells = [
        tag("rect", x=float(i % a.columns), y=float(i // a.columns), width=1, height=1,
            class_="against" if s < 0 else "for", style=f"--w:{100 * abs(s):.0f}%")
        for i, s in enumerate(shares)
    ]  # fmt: skip
    about = f"What moved the answer to test example {f.index}, {words.plural(len(shares), 'part')}."
    return tag("svg", cells, viewbox=f"0 0 {a.columns} {a.rows}", preserveaspectratio="none", role="img",
               aria_label=about)  # fmt: skip
