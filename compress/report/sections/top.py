"""The first part of the page: verdict, key numbers, what each step cost, every file, budget."""

from collections.abc import Iterable

from compress.report import words
from compress.report.charts.plots import bar, diverging
from compress.report.facts.energy import told
from compress.report.facts.rows import Row
from compress.report.facts.run import Facts, StepChange
from compress.report.facts.verdict import margin
from compress.report.html.markup import Markup, join, tag, with_code
from compress.report.html.parts import answer, icon, masthead, minor, section, table


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
    code, size = v.ships.rpartition(", ")[::2]
    answers = (
        answer("Budget", v.budget, v.budget_grade),
        answer("Accuracy", v.accuracy) if v.accuracy else None,
        answer("Steps", _costs(facts)) if len(facts.steps) > 1 else None,
        answer("Trust", v.trust, v.trust_grade),
        answer("Ships", join(tag("code", code), f", {size}: {words.prose(r.shipped_reason)}.")),
        answer("Next", with_code(" ".join(facts.next))),
    )
    return masthead(
        "Compression report",
        words.one_line(r.name),
        v.headline,
        answers,
        flags(facts),
        tag("div", _cards(facts), class_="cards"),
        tag("p", " · ".join(a for a in about if a), class_="about"),
    )


def _costs(facts: Facts) -> Markup:
    """What each step cost, in a line."""
    return join([(tag("b", s.name), f" {s.told or 'not compared'}", "" if s is facts.steps[-1] else "; ")
                 for s in facts.steps[1:]], ".")  # fmt: skip


def flags(facts: Facts) -> Markup | None:
    """Sentences a reader must not miss."""
    found = [words.prose(f) for f in facts.result.flags]
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
            more = f"95 % interval {words.interval(*paired.ci95_points)}; {paired.lost} lost, {paired.gained} gained"
        else:
            note, more = f"teacher {words.percent(base.top1)}" if base else "", "not compared in pairs"
        yield _card("Accuracy", words.percent(acc.top1), note, more)
    else:
        yield _card("Accuracy", "not measured", "", "")
    art = own.artefact
    size_note = words.factor(own.size_ratio, "smaller", "larger")
    yield _card(
        "File size",
        words.size(art.size_bytes),
        "the reference" if own.is_teacher else size_note,
        f"teacher {words.size(teacher.artefact.size_bytes)}"
        if not own.is_teacher
        else f"{words.size(art.gzip_bytes)} as gzip",
    )
    found = own.latency
    if found:
        note = "the reference" if own.is_teacher else speed_text(own)
        ci = (
            f"95 % interval {words.significant(found.ratio_ci95[0])} to {words.times(found.ratio_ci95[1])}; "
            if found.ratio_ci95 and not own.is_teacher
            else ""
        )
        where = f"{words.one_line(found.device)}, {words.plural(found.threads, 'thread')}, {found.label}"
        yield _card("Latency, median", words.milliseconds(found.p50_ms), note, ci + where)
    else:
        yield _card("Latency, median", "not measured", "", "")
    if own.energy:
        joules, meter = told(own.energy)
        note = "the reference"
        if not own.is_teacher:
            ratio = teacher.energy_mj / own.energy_mj if teacher.energy_mj and own.energy_mj else None
            note = words.factor(ratio, "less", "more")
        yield _card("Energy an inference", joules, note, f"{words.one_line(facts.metered or '')}; {meter}")
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
    return words.factor(row.speed, "faster", "slower") if row.speed else "no ratio measured"


def steps(facts: Facts) -> Markup | None:
    """Which step gained and lost what."""
    if len(facts.steps) < 2:
        return None
    largest = max((abs(s.accuracy_points) for s in facts.steps if s.accuracy_points is not None), default=0.0)
    metered = any(s.energy_factor for s in facts.steps)
    rows = [(None, _step(s, largest, metered)) for s in facts.steps]
    heads = ["Step", "What changed", "Accuracy", "", "Size", "Latency", *(["Energy"] if metered else []), "Time"]
    return section(
        "steps",
        "What each step gained and cost",
        table("Each step against the one before it", heads, rows, kind="steps", figures=len(heads) - 4),
        lead="Each step's exported file against the file of the step before it. Derived from the measurements below; "
        "differences of a few tenths of a point between steps are within chance on small test sets.",
    )


def _step(s: StepChange, largest: float, metered: bool) -> list[object]:
    delta = s.accuracy_points
    took = join(words.duration(s.step.seconds), minor("from cache" if s.step.cached else None)) if s.step else "–"
    return [
        join(tag("b", s.name), minor(words.one_line(s.step.kind) if s.step else None)),
        join(s.row.changed, minor(s.row.id)),
        "–" if delta is None else f"{words.points(delta)} points",
        "" if delta is None else diverging(delta, largest, "lost" if delta < 0 else "gained"),
        words.factor(s.size_factor, "smaller", "larger"),
        words.factor(s.speed_factor, "faster", "slower"),
        *([words.factor(s.energy_factor, "less", "more")] if metered else []),
        took,
    ]


def files(facts: Facts) -> Markup:
    """Every artefact, one row each."""
    heads = ["File", "Accuracy", "Against teacher, points", "Size", "Latency, median"]
    heads += [*(["Energy"] if facts.metered else []), "Integer / float", "Parameters", "MACs"]
    rows = [("shipped" if r.is_shipped else None, _file(r, metered=bool(facts.metered))) for r in facts.rows]
    device = f" Latency on {words.one_line(facts.device)}." if facts.device else ""
    device += f" Energy of an inference on {words.one_line(facts.metered)}." if facts.metered else ""
    return section(
        "files",
        "Every file",
        table("Every exported file of the run", heads, rows, kind="files", figures=len(heads) - 1),
        lead="Measured on the exported files, not on the models they came from. In smaller type: 95 % intervals, and "
        f"factors against the teacher (above 1 is smaller or faster).{device}",
    )


def _file(r: Row, *, metered: bool) -> list[object]:
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
        join(words.percent(acc.top1), minor(f"{100 * acc.ci95[0]:.2f} to {100 * acc.ci95[1]:.2f}{split}"))
        if acc
        else "–",
        join(words.points(paired.difference_points), minor(words.interval(*paired.ci95_points))) if paired else "–",
        join(words.size(art.size_bytes), minor(words.times(r.size_ratio))),
        join(words.milliseconds(found.p50_ms), minor(ratio)) if found else "–",
        *([_energy(r)] if metered else []),
        f"{r.integer} / {r.float}",
        words.number(art.parameters),
        words.number(art.macs),
    ]


def _energy(r: Row) -> object:
    if r.energy is None:
        return "–"
    total, more = told(r.energy)
    return join(total, minor(more.rpartition("; ")[0]))


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
                    words.sentence(b.name),
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
