"""The HTML page of `compress compare`: one file, no script, no request."""

from collections.abc import Sequence

from compress.comparison import Comparison
from compress.report import words
from compress.report.charts.plots import both
from compress.report.charts.scatter import Point, scatter
from compress.report.facts.versus import Line, headline, lines
from compress.report.html.document import document
from compress.report.html.markup import Markup, join, tag
from compress.report.html.parts import icon, minor, section, table
from compress.report.sections import depth, flips, groups
from compress.versus import Side, Versus, energy_unlike, no_energy

_PARTS = (
    depth.scores,
    depth.slices,
    groups.groups,
    depth.invariance,
    depth.calibration,
    flips.flips,
)


def render(v: Versus, price_per_hour: float | None = None) -> str:
    """The whole page as text. The same comparison gives the same bytes."""
    found = lines(v, price_per_hour)
    parts = [
        _header(v, found),
        _charts(found),
        _table(found, price_per_hour),
        _notes(v),
        [_pair(c, i, many=len(v.comparisons) > 1) for i, c in enumerate(v.comparisons)],
    ]
    title = f"{words.shorten(words.one_line(v.sides[0].name), 48)} compared"
    return document(title, parts, f"Drawn from compare.json alone. Test data: {words.one_line(v.data)}.")


def _header(v: Versus, found: Sequence[Line]) -> Markup:
    others = [f for f in found if f.comparison]
    first = words.one_line(v.sides[0].name)
    title = headline(others[0]) if len(others) == 1 else f"{len(others)} files against {first}"
    rows = []
    for f in others:
        c = f.comparison
        assert c is not None
        hurt = sum(s.hurt for s in c.slices)
        grade = "bad" if c.paired.p_value < 0.05 and c.paired.difference_points < 0 else "good"
        say = [words.sentence(c.paired.verdict)]
        say.append(f"{words.plural(hurt, 'slice')} hurt beyond chance" if hurt else "no slice hurt beyond chance")
        text = "; ".join(say) + "."
        name = words.one_line(f.side.name)
        rows.append(tag("div", tag("dt", icon(grade), words.shorten(name, 30)), tag("dd", text), class_=grade))
    kicker = tag("p", tag("span", "Comparison", class_="kicker"), tag("span", f"against {first}"), class_="name-line")
    return tag("header", kicker, tag("h1", title), tag("dl", rows, class_="verdict sides"))


def _charts(found: Sequence[Line]) -> Markup:
    def figure(title: str, x_title: str, points: list[Point], text: object) -> Markup:
        about = f"Scatter chart: {title}. The numbers are in the table below."

        def draw(width: int, height: int) -> Markup:
            return scatter(points, x_title=x_title, x_text=text, about=about, width=width, height=height)  # type: ignore[arg-type]

        return tag("figure", tag("h3", title), both(draw(520, 370), draw(344, 330)))

    def point(line: Line, x: float) -> Point:
        art, top1 = line.side.artefact, line.side.top1 or 0.0
        ci = next((a.ci95 for a in art.accuracy if a.split == "test"), None)
        return Point(
            x=x,
            y=top1,
            label=words.one_line(line.side.name),
            note=f"{words.one_line(line.side.name)}: {words.percent(top1)}, {words.size(art.size_bytes)}",
            tflite=art.format == "tflite",
            solid=art.precision in ("int8", "dynamic-int8"),
            ring=False,
            named=not line.beaten_by or line.comparison is None,
            y_range=ci,
        )

    drawn = [figure("Accuracy against file size", "size of the model file",
                    [point(f, float(f.side.artefact.size_bytes)) for f in found], words.size)]  # fmt: skip
    timed = [f for f in found if f.speed and f.side.latency]
    if len(timed) > 1:
        points = [point(f, f.side.latency.p50_ms) for f in timed if f.side.latency]
        drawn.append(figure("Accuracy against latency", "p50, ms", points, words.significant))
    metered = [f for f in found if not energy_unlike(found[0].side, f.side)]
    if len(metered) > 1:
        points = [point(f, f.side.energy.total_mj) for f in metered if f.side.energy and f.side.energy.total_mj]
        drawn.append(figure("Accuracy against energy", "mJ an inference", points, words.significant))
    lead = "Up and to the left is better; on the dashed line stand those that no other file beats on both axes."
    return section("charts", "All files", tag("div", drawn, class_="pair"), lead=lead)


def _table(found: Sequence[Line], price: float | None) -> Markup:
    metered = any(f.side.energy for f in found)
    heads = ["File", "Accuracy", "Points", "Agreement", "Size", "Latency, p50", "Training", "Beaten by"]
    if metered:
        heads.insert(-2, "Energy an inference")
    if price is not None:
        heads.insert(-1, f"A million inferences at {price:g} an hour")
    rows: list[tuple[str | None, list[object]]] = []
    for f in found:
        art, c, latency = f.side.artefact, f.comparison, f.side.latency
        cells: list[object] = [
            join(tag("b", words.one_line(f.side.name)), minor(f"{art.role}, {art.precision}, seed {f.side.seed}")),
            words.percent(f.side.top1) if f.side.top1 is not None else "–",
            join(words.points(c.paired.difference_points), minor(words.interval(*c.paired.ci95_points))) if c else "–",
            words.percent(c.paired.agreement) if c else "–",
            join(words.size(art.size_bytes), minor(words.times(f.size_ratio))),
            join(words.milliseconds(latency.p50_ms), minor(_speed(f))) if latency else "–",
            *([energy_text(f.side)] if metered else []),
            words.duration(f.side.training_seconds),
        ]
        if price is not None:
            cells.append(words.significant(f.million) if f.million is not None else "–")
        cells.append(", ".join(map(words.one_line, f.beaten_by)) or "none")
        rows.append((None, cells))
    lead = "A file is beaten by one that is at least as good in accuracy, size and (where comparable) latency and " \
        "measured energy, and better in one of them. Training: all steps that led to it, the teacher's included. " \
        f"{no_energy(f.side for f in found)}"  # fmt: skip
    figures = len(heads) - 1
    return section("files", "Side by side", table("All files", heads, rows, kind="versus", figures=figures), lead=lead)


def energy_text(side: Side) -> object:
    """`0.42 mJ` with its interval and what the meter saw."""
    e = side.energy
    if e is None or e.total_mj is None:
        return "–"
    low, high = e.total_ci95 or (e.total_mj, e.total_mj)
    told = f"{words.significant(low)} to {words.significant(high)}, {words.one_line(e.meter)}"
    return join(f"{words.significant(e.total_mj)} mJ", minor(told))


def _speed(f: Line) -> str:
    if f.speed is None:
        return "not comparable"
    return "the reference" if f.comparison is None else words.factor(f.speed, "faster", "slower")


def _notes(v: Versus) -> Markup | None:
    if not v.notes:
        return None
    items = tag("ul", [tag("li", words.prose(n)) for n in v.notes])
    return tag("div", tag("h2", "Not compared, or different"), items, class_="flags", role="note")


def _pair(c: Comparison, index: int, *, many: bool) -> Markup:
    prefix = f"c{index}-" if many else ""
    title = tag("h2", f"{words.one_line(c.after)} against {words.one_line(c.before)}", class_="pair-title")
    return join(title if many else None, [part(c, prefix) for part in _PARTS])
