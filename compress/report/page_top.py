"""The first part of the page: verdict, key numbers, charts, what each step cost, every file."""

from collections.abc import Callable, Iterable

from compress.report import words
from compress.report.facts import Facts, Row, StepChange, factor, margin
from compress.report.markup import Markup, join, tag
from compress.report.plots import bar, both, diverging
from compress.report.scatter import Point, frontier, scatter

LABELLED = 8  # with more artefacts than this only the noteworthy ones carry a name in the charts
_ICONS = {
    "good": "M3.5 8.5l3 3 6-7",
    "care": "M8 3.5v5.5M8 12v.4",
    "bad": "M4.5 4.5l7 7m0-7l-7 7",
}


def icon(grade: str) -> Markup:
    """A tick, an exclamation mark or a cross; the words beside it say the same."""
    path = tag("path", d=_ICONS[grade])
    return tag("svg", path, viewbox="0 0 16 16", class_=f"icon {grade}", aria_hidden="true", width=18, height=18)


def section(identity: str, title: str, *body: object, lead: str | None = None) -> Markup:
    """A part of the page with its heading."""
    head = f"{identity}-title"
    return tag(
        "section",
        tag("h2", title, id=head),
        tag("p", lead, class_="lead") if lead else None,
        *body,
        id=identity,
        aria_labelledby=head,
    )


def table(
    caption: str, heads: Iterable[str], rows: Iterable[tuple[str | None, list[object]]], *, kind: str = "", figures: int = 0
) -> Markup:  # fmt: skip
    """A table whose rows become cards on a narrow screen; roles keep it a table for screen readers there.

    The first cell of a row is its header; `figures`: that many of the last columns hold numbers. A row is (class, cells).
    """
    names = list(heads)
    first_figure = len(names) - figures

    def cell(i: int, body: object) -> Markup:
        mark = " ".join(c for c, on in (("figure", i >= first_figure), ("absent", body == "–")) if on) or None
        if i == 0:
            return tag("th", body, scope="row", role="rowheader", class_=mark)
        return tag("td", tag("div", body), role="cell", data_label=names[i], class_=mark)

    head = [tag("th", n, scope="col", role="columnheader", class_="figure" if i >= first_figure else None) for i, n in enumerate(names)]  # fmt: skip
    return tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", head, role="row"), role="rowgroup"),
        tag("tbody", [tag("tr", [cell(i, c) for i, c in enumerate(cells)], role="row", class_=css) for css, cells in rows], role="rowgroup"),
        class_=f"stack {kind}".strip(),
        role="table",
    )  # fmt: skip


def minor(text: str | None) -> Markup | None:
    """A second, paler line in a cell."""
    return tag("small", text) if text else None


def header(facts: Facts) -> Markup:
    """Name, verdict and cards."""
    r, v = facts.result, facts.verdict
    about = [
        words.one_line(r.data.name),
        words.one_line(str(r.recipe.get("target", ""))),
        f"seed {r.seed}",
        words.moment(r.started),
        f"took {words.duration(r.seconds)}",
    ]
    return tag(
        "header",
        tag("p", tag("span", "Compression report", class_="kicker"), tag("span", words.one_line(r.name)), class_="name-line"),
        tag("h1", v.headline),
        tag(
            "dl",
            _line("Budget", v.budget_grade, v.budget),
            _line("Trust", v.trust_grade, v.trust),
            _line("Ships", None, join(tag("code", v.ships.rpartition(", ")[0]), f", {v.ships.rpartition(', ')[2]}: {words.one_line(r.shipped_reason)}.")),
            class_="verdict",
        ),
        flags(facts),
        tag("div", _cards(facts), class_="cards"),
        tag("p", " · ".join(a for a in about if a), class_="about"),
    )  # fmt: skip


def _line(term: str, grade: str | None, text: str) -> Markup:
    return tag("div", tag("dt", icon(grade) if grade else None, term), tag("dd", text), class_=grade)


def flags(facts: Facts) -> Markup | None:
    """Sentences a reader must not miss."""
    found = [words.one_line(f) for f in facts.result.flags]
    if not found:
        return None
    items = tag("ul", [tag("li", f) for f in found])
    return tag("div", tag("h2", "Flagged in this run"), items, class_="flags", role="note")


def _cards(facts: Facts) -> Iterable[Markup]:
    teacher, own = facts.teacher, facts.shipped
    paired, acc, base = own.artefact.paired, own.accuracy, teacher.accuracy
    if acc:
        if own.is_teacher:
            note, more = f"the teacher, {acc.split} split", ""
        elif paired:
            note = f"{words.points(paired.difference_points)} points against the teacher"
            more = f"95 % interval {words.interval(*paired.ci95_points)}: {words.one_line(paired.verdict)}"
        else:
            note, more = f"teacher {words.percent(base.top1)}" if base else "", "not compared in pairs"
        yield _card("Accuracy", words.percent(acc.top1), note, more)
    else:
        yield _card("Accuracy", "not measured", "", "")
    art = own.artefact
    size_note = f"{words.times(own.size_ratio)} smaller" if own.size_ratio >= 1 else f"{words.times(1 / own.size_ratio)} larger"
    yield _card(
        "File size",
        words.size(art.size_bytes),
        "the reference" if own.is_teacher else size_note,
        f"teacher {words.size(teacher.artefact.size_bytes)}" if not own.is_teacher else f"{words.size(art.gzip_bytes)} as gzip",
    )  # fmt: skip
    found = own.latency
    if found:
        note = "the reference" if own.is_teacher else speed_text(own)
        ci = f"95 % interval {words.significant(found.ratio_ci95[0])} to {words.times(found.ratio_ci95[1])}; " if found.ratio_ci95 and not own.is_teacher else ""  # fmt: skip
        where = f"{words.one_line(found.device)}, {words.plural(found.threads, 'thread')}, {found.label}"
        yield _card("Latency, p50", words.milliseconds(found.p50_ms), note, ci + where)
    else:
        yield _card("Latency, p50", "not measured", "", "")
    total = own.integer + own.float
    yield _card(
        "Integer arithmetic",
        f"{own.integer} of {total}",
        "operators of the shipped file",
        f"{words.number(art.parameters)} parameters, {words.number(art.macs)} MACs",
    )


def _card(title: str, value: str, note: str, more: str) -> Markup:
    return tag(
        "div",
        tag("h2", title),
        tag("p", value, class_="value" if value != "not measured" else "value absent"),
        tag("p", note, class_="note") if note else None,
        tag("p", more, class_="more") if more else None,
        class_="card",
    )


def speed_text(row: Row) -> str:
    """`14.1x faster`, `1.9x slower`, or that no ratio was measured."""
    if row.speed is None or row.speed <= 0:
        return "no ratio measured"
    return f"{words.times(row.speed)} faster" if row.speed >= 1 else f"{words.times(1 / row.speed)} slower"


def charts(facts: Facts) -> Markup:
    """Accuracy against size, and against latency where it was measured."""
    known = [r for r in facts.rows if r.accuracy and r.artefact.size_bytes]
    if not known:
        return section("charts", "Accuracy against size and speed", tag("p", "No accuracy was measured."))
    figures = [_figure(known, "size", lambda r: float(r.artefact.size_bytes), "size of the model file", words.size)]
    timed = [r for r in known if r.latency and r.latency.p50_ms > 0]
    if timed:
        p50 = {r.artefact.id: r.latency.p50_ms for r in timed if r.latency}
        device = words.one_line(facts.device or "")
        figures.append(
            _figure(timed, "latency", lambda r: p50[r.artefact.id], f"latency on {device}, p50, ms", lambda v: words.significant(v, 1))
        )  # fmt: skip
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
        more = tag("p", "Named: the teacher, the shipped file and files that none beats on both axes, as far as they have room. The others are in the table below.", class_="fine")  # fmt: skip
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
        mark = Markup('<circle cx="8" cy="8" r="7" class="ring"/><circle cx="8" cy="8" r="3.5" class="mark onnx solid"/>')
    else:
        mark = Markup(f'<circle cx="8" cy="8" r="5" class="mark onnx {solid}"/>')
    return tag("span", tag("svg", mark, viewbox="0 0 16 16", width=16, height=16, aria_hidden="true"), text, class_="key")


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
        y_range=row.accuracy.ci95,
    )


def steps(facts: Facts) -> Markup | None:
    """Which step gained and lost what."""
    if len(facts.steps) < 2:
        return None
    largest = max((abs(s.accuracy_points) for s in facts.steps if s.accuracy_points is not None), default=0.0)
    rows = [(None, _step(s, largest)) for s in facts.steps]
    heads = ("Step", "What changed", "Accuracy", "", "Size", "Latency", "Time")
    return section(
        "steps",
        "What each step gained and cost",
        table("Each step against the one before it", heads, rows, kind="steps", figures=3),
        lead="Each step's exported file against the file of the step before it. Derived from the measurements below; "
        "differences of a few tenths of a point between steps are within chance on small test sets.",
    )


def _step(s: StepChange, largest: float) -> list[object]:
    delta = s.accuracy_points
    took = "from cache" if s.step and s.step.cached else words.duration(s.step.seconds) if s.step else "–"
    return [
        join(tag("b", s.name), minor(words.one_line(s.step.kind) if s.step else None)),
        join(s.row.changed, minor(s.row.id)),
        "–" if delta is None else f"{words.points(delta)} points",
        "" if delta is None else diverging(delta, largest, "lost" if delta < 0 else "gained"),
        factor(s.size_factor, "smaller", "larger"),
        factor(s.speed_factor, "faster", "slower"),
        took,
    ]


def files(facts: Facts) -> Markup:
    """Every artefact, one row each."""
    heads = ("File", "Accuracy", "Against teacher, points", "Size", "Latency, p50", "Integer / float", "Parameters", "MACs")
    rows = [("shipped" if r.is_shipped else None, _file(r)) for r in facts.rows]
    device = f" Latency on {words.one_line(facts.device)}." if facts.device else ""
    return section(
        "files",
        "Every file",
        table("Every exported file of the run", heads, rows, kind="files", figures=7),
        lead="Measured on the exported files, not on the models they came from. In smaller type: 95 % intervals, and "
        f"factors against the teacher (above 1 is smaller or faster).{device}",
    )


def _file(r: Row) -> list[object]:
    art, acc, found, paired = r.artefact, r.accuracy, r.latency, r.artefact.paired
    badge = tag("span", "shipped", class_="badge") if r.is_shipped else None
    split = "" if acc is None or acc.split == "test" else f" ({acc.split})"
    ratio = None
    if found and r.speed:
        ratio = words.times(r.speed)
        if found.ratio_ci95 and not r.is_teacher:
            ratio += f" ({words.significant(found.ratio_ci95[0])} to {words.significant(found.ratio_ci95[1])})"
    return [
        join(tag("b", r.role), badge, minor(f"{r.id}, {art.precision}")),
        join(words.percent(acc.top1), minor(f"{100 * acc.ci95[0]:.2f} to {100 * acc.ci95[1]:.2f}{split}")) if acc else "–",
        join(words.points(paired.difference_points), minor(words.interval(*paired.ci95_points))) if paired else "–",
        join(words.size(art.size_bytes), minor(words.times(r.size_ratio))),
        join(words.milliseconds(found.p50_ms), minor(ratio)) if found else "–",
        f"{r.integer} / {r.float}",
        words.number(art.parameters),
        words.number(art.macs),
    ]  # fmt: skip


def budget(facts: Facts) -> Markup | None:
    """Promise against measurement."""
    found = facts.result.budget
    if not found:
        return None
    rows = []
    for b in found:
        top = max(b.limit, b.value) * 1.15 or 1.0
        state = "good" if b.ok else "bad"
        rows.append(
            (
                None,
                [
                    words.promise(b.name),
                    words.quantity(b.limit, b.unit),
                    words.quantity(b.value, b.unit),
                    bar(b.value / top, limit=b.limit / top, kind="" if b.ok else "over"),
                    tag("span", icon(state), margin(b), class_=f"state {state}"),
                ],
            )
        )
    heads = ("Promise", "At most", "Measured", "", "Outcome")
    lead = "The recipe's promises against the shipped file. The upright mark is the limit."
    return section("budget", "Budget", table("Budget", heads, rows, kind="budget"), lead=lead)
