"""The HTML page of `compress compare`: one file, no script, no request."""

from collections.abc import Callable, Iterable, Sequence

from compress.comparison import Comparison
from compress.report import words
from compress.report.charts.scatter import Point
from compress.report.facts.energy import not_measured, told
from compress.report.facts.versus import Line, best, gains, headline, lines, metered
from compress.report.html.document import document
from compress.report.html.markup import Markup, join, tag
from compress.report.html.parts import answer, masthead, minor, section, table
from compress.report.sections import depth, flips, groups, pareto, terms
from compress.versus import Side, Versus

_PARTS = (
    depth.scores,
    depth.slices,
    groups.groups,
    depth.invariance,
    depth.calibration,
    flips.flips,
)


_TERMS = ("points", "95 % interval", "no difference shown", "lost, gained", "agreement", "median, p50, p90",
          "slice", "q", "float32, int8")  # fmt: skip


def render(v: Versus, price_per_hour: float | None = None) -> str:
    """The whole page as text. The same comparison gives the same bytes."""
    found = lines(v, price_per_hour)
    parts = [
        _header(v, found),
        _charts(found),
        _table(found, price_per_hour),
        _notes(v),
        [_pair(c, i, many=len(v.comparisons) > 1) for i, c in enumerate(v.comparisons)],
        terms.terms(*_TERMS),
    ]
    title = f"{words.shorten(words.one_line(v.sides[0].name), 48)} compared"
    return document(title, parts, f"Drawn from compare.json alone. Test data: {words.one_line(v.data)}.")


def _header(v: Versus, found: Sequence[Line]) -> Markup:
    others = [f for f in found if f.comparison]
    first = words.one_line(v.sides[0].name)
    title = headline(others[0]) if len(others) == 1 else f"{len(others)} files against {first}"
    answers = [_answer(f, f.comparison) for f in others if f.comparison]
    return masthead(
        "Comparison", f"against {first}", title, [*answers, answer("Best", words.sentence(best(found)))], sides=True
    )


def _answer(f: Line, c: Comparison) -> Markup:
    hurt = sum(s.hurt for s in c.slices)
    grade = "bad" if c.paired.p_value < 0.05 and c.paired.difference_points < 0 else "good"
    say = f"{words.plural(hurt, 'slice')} hurt beyond chance" if hurt else "no slice hurt beyond chance"
    text = f"{words.sentence(gains(f))}. {words.sentence(c.paired.verdict)}; {say}."
    return answer(words.shorten(words.one_line(f.side.name), 30), text, grade)


def _charts(found: Sequence[Line]) -> Markup:
    def points(files: Iterable[Line], x: Callable[[Line], float | None]) -> list[Point]:
        return [_point(f, v) for f in files if (v := x(f))]

    size, p50 = points(found, lambda f: float(f.side.artefact.size_bytes)), [f for f in found if f.speed]
    drawn = [pareto.figure("file size", "size of the model file", words.size, size)]
    if len(p50) > 1:
        timed = points(p50, lambda f: f.side.latency.p50_ms if f.side.latency else None)
        drawn.append(pareto.figure("latency", "median latency, ms", words.significant, timed))
    energies = metered(found)
    if len(energies) > 1 and (timing := energies[0][0].side.metered):
        title = f"energy an inference on {words.one_line(timing.device)}, mJ"
        drawn.append(pareto.figure("energy", title, words.significant, [_point(f, mj) for f, mj in energies]))
    lead = "Up and to the left is better; on the dashed line stand those that no other file beats on both axes; bars " \
        "are 95 % intervals."  # fmt: skip
    return section("charts", "All files", pareto.keys(size), tag("div", drawn, class_="pair"), lead=lead)


def _point(f: Line, x: float) -> Point:
    name = words.one_line(f.side.name)
    return pareto.point(f.side.artefact, x, label=name, name=name, named=f.comparison is None,
                        latency_ms=f.side.latency.p50_ms if f.side.latency else None)  # fmt: skip


def _table(found: Sequence[Line], price: float | None) -> Markup:
    energies = any(f.side.energy for f in found)
    heads = ["File", "Accuracy", "Points", "Agreement", "Size", "Latency, median", "Training", "Beaten by"]
    if energies:
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
            *([_energy(f.side)] if energies else []),
            words.duration(f.side.training_seconds),
        ]
        if price is not None:
            cells.append(words.significant(f.million) if f.million is not None else "–")
        cells.append(", ".join(map(words.one_line, f.beaten_by)) or "none")
        rows.append((None, cells))
    lead = "A file is beaten by one that is at least as good in accuracy, size and (where comparable) latency and " \
        "measured energy, and better in one of them. Training: all steps that led to it, the teacher's included. " \
        f"{not_measured(t for f in found for t in f.side.artefact.latency)}"  # fmt: skip
    figures = len(heads) - 1
    return section("files", "Side by side", table("All files", heads, rows, kind="versus", figures=figures), lead=lead)


def _energy(side: Side) -> object:
    if side.energy is None:
        return "–"
    total, more = told(side.energy)
    return join(total, minor(more))


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
