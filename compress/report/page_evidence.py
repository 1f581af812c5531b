"""The middle of the page: parity ledger, per-layer treatment, classes, training, timings."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from compress.report import words
from compress.report.facts import Facts, Row
from compress.report.markup import Markup, join, tag
from compress.report.page_top import icon, minor, section, table
from compress.report.plots import Strip, bar, both, curve, dumbbell, strips
from compress.result import Accuracy, Hop, LayerRow

CLASSES = 30  # rows of the recall table
MATRIX = 20  # classes up to which a whole confusion matrix is drawn


def ledger(facts: Facts) -> Markup | None:
    """One row a hop, with how much of its tolerance it used."""
    hops = facts.result.ledger
    if not hops:
        return None
    broken = len(facts.breaches)
    checked = sum(h.kind == "conversion" for h in hops)
    say = f"{broken} of {words.plural(checked, 'conversion')} broke the tolerance." if broken else f"All conversions held ({checked})."
    heads = ("Hop", "Same answer", "Largest difference", "Tolerance used", "Outcome")
    rows = [(f"{h.kind}{'' if h.ok or h.kind == 'training' else ' breach'}", _hop(h)) for h in hops]
    return section(
        "ledger",
        "Parity ledger",
        table("Parity from each form of the model to the next", heads, rows, kind="ledger"),
        lead=f"From each form of the model to the next, on the same test inputs. {say} Training changes the model on "
        "purpose, so those hops only inform; a conversion must not change it. Differences of logits are in standard "
        "deviations of the reference. The upright mark is the whole tolerance.",
    )


def _hop(h: Hop) -> list[object]:
    path = f"{words.one_line(h.source)} → {words.one_line(h.target)}"
    top1 = f"{words.percent(h.source_top1)} → {words.percent(h.target_top1)} right"
    if h.kind == "training":
        state = tag("span", "on purpose", minor(words.one_line(h.reason)), class_="state")
    else:
        grade = "good" if h.ok else "bad"
        reason = minor(words.one_line(h.reason))
        state = tag("span", icon(grade), tag("span", "held" if h.ok else "broken", reason), class_=f"state {grade}")
    return [
        join(tag("span", class_="rail", aria_hidden="true"), tag("b", words.one_line(h.name)), minor(path)),
        join(words.percent(h.agreement), minor(f"of {h.count:,}; {top1}")),
        words.significant(h.largest_difference, 2),
        tag("div", [_used(k, v, h) for k, v in h.tolerance.items()], class_="used") if h.tolerance else "none set",
        state,
    ]


def _used(name: str, limit: float, h: Hop) -> Markup:
    """How much of one tolerance was used; the mark stands at all of it."""
    spent = {
        "agreement": (1 - h.agreement, 1 - limit),
        "largest_difference": (h.largest_difference, limit),
    }.get(name)
    readable = words.one_line(name).replace("_", " ")
    if spent is None:
        return tag("p", f"{readable} {words.significant(limit)}")
    value, allowed = spent
    share = value / allowed if allowed > 1e-12 else (0.0 if value < 1e-12 else math.inf)
    much = "none is allowed" if math.isinf(share) else f"{share:,.1f} times what is allowed" if share > 2 else f"{100 * share:.0f} %"
    text = f"{readable}: {much}"
    return tag("p", bar(share / 2, limit=0.5, kind="over" if share > 1 else ""), tag("span", text))


def layers(facts: Facts) -> Markup | None:
    """What happened to each layer of the shipped file, and of its siblings from the same step."""
    own = facts.shipped
    same = [r for r in facts.rows if r.artefact.step == own.artefact.step and r is not own and r.artefact.layers]
    if not own.artefact.layers:
        return None
    return section(
        "layers",
        "Layer by layer",
        _layers(own),
        [tag("details", tag("summary", f"The same for {r.id}"), _layers(r)) for r in same],
        lead=f"Counted in {own.id}: channels before and after, and the arithmetic each layer really runs in.",
    )


def _layers(row: Row) -> Markup:
    found = row.artefact.layers
    most = max((x.channels_before for x in found), default=1) or 1
    total = sum(x.macs for x in found) or 1
    heads = ("Layer", "Channels", "", "Arithmetic", "Why left alone", "Parameters", "Share of MACs")
    rows = [(None, _layer(x, most, total)) for x in found]
    return table(f"Layers of {row.id}", heads, rows, kind="layers", figures=2)


def _layer(x: LayerRow, most: int, total: int) -> list[object]:
    same = x.channels_before == x.channels_after
    said = f"{x.channels_before}" if same else f"{x.channels_before} → {x.channels_after}"
    arithmetic = {"integer": "integer", "float": "float", "dynamic-integer": "integer, dynamic"}[x.kernel]
    return [
        join(tag("b", words.one_line(x.name)), minor(words.one_line(x.op))),
        said,
        bar(x.channels_after / most, behind=x.channels_before / most),
        tag("span", arithmetic, class_=f"chip {'float' if x.kernel == 'float' else 'integer'}"),
        words.one_line(x.reason) or "–",
        words.number(x.parameters),
        words.percent(x.macs / total, 0),
    ]


def classes(facts: Facts) -> Markup | None:
    """Recall of each class and the confusions, teacher against shipped."""
    before, after = facts.teacher.accuracy, facts.shipped.accuracy
    if before is None or after is None or before.split != after.split:
        return None
    names = [words.one_line(c) for c in facts.result.data.classes]
    if not len(names) == len(after.per_class_recall) == len(before.per_class_recall):
        return None
    alone = facts.shipped.is_teacher
    small = len(names) <= MATRIX
    parts: list[object] = [_recall(names, before, after)]
    if small and before.confusion and after.confusion:
        grids = [_matrix(f"Shipped: {facts.shipped.role}", names, after.confusion)]
        if not alone:
            grids.insert(0, _matrix("Teacher", names, before.confusion))
        parts += [tag("h3", "Confusion"), tag("div", grids, class_="pair")]
        parts.append(tag("p", "Rows are the true class, columns the answer; empty cells are zero.", class_="fine"))
    if not alone and before.confusion and after.confusion:
        parts.append(_grown(names, before.confusion, after.confusion))
    lead = f"On {after.count:,} {after.split} examples. Recall: the share of a class that was recognised."
    return section("classes", "Class by class", *parts, lead=lead)


def _recall(names: Sequence[str], before: Accuracy, after: Accuracy) -> Markup:
    known = [
        (n, b, a) for n, b, a in zip(names, before.per_class_recall, after.per_class_recall, strict=True) if b is not None and a is not None
    ]  # fmt: skip
    known.sort(key=lambda t: t[2] - t[1])
    shown = known[:CLASSES]
    low = math.floor(10 * min((min(b, a) for _, b, a in shown), default=0.0) - 1e-9) / 10
    low = min(max(low, 0.0), 0.9)
    rows: list[tuple[str | None, list[object]]] = [
        (None, [n, dumbbell(b, a, low), words.percent(b, 1), words.percent(a, 1), f"{words.points(100 * (a - b), 1)}"])
        for n, b, a in shown
    ]
    absent = len(names) - len(known)
    notes = [f"Hollow: teacher, filled: shipped; the line runs from {100 * low:.0f} % to 100 %. Most harmed first."]
    if len(known) > len(shown):
        notes.append(f"The {len(shown)} most harmed of {len(known):,} classes.")
    if absent:
        notes.append(f"{words.plural(absent, 'class', 'classes')} had no example.")
    heads = ("Class", "Recall", "Teacher", "Shipped", "Points")
    return join(
        tag("h3", "Recall"),
        tag("p", " ".join(notes), class_="fine"),
        table("Recall by class, teacher and shipped file", heads, rows, kind="recall", figures=3),
    )


def _matrix(title: str, names: Sequence[str], confusion: Sequence[Sequence[int]]) -> Markup:
    wrong = max((v for i, row in enumerate(confusion) for j, v in enumerate(row) if i != j), default=0) or 1
    short = [words.shorten(n, 6) for n in names]

    def cell(i: int, j: int, v: int) -> Markup:
        if i == j:
            return tag("td", f"{v:,}", class_="right")
        share = math.sqrt(v / wrong)
        return tag("td", f"{v:,}" if v else "", style=f"--v:{share:.2f}" if v else None)

    head = tag("tr", tag("th", tag("span", "true \\ answer"), scope="col"), [tag("th", s, scope="col", title=n) for s, n in zip(short, names, strict=True)])  # fmt: skip
    body = [
        tag("tr", tag("th", short[i], scope="row", title=names[i]), [cell(i, j, v) for j, v in enumerate(row)])
        for i, row in enumerate(confusion)
    ]
    grid = tag("table", tag("caption", title), tag("thead", head), tag("tbody", body), class_="confusion")
    return tag("div", grid, class_="scroll", tabindex="0", role="region", aria_label=f"Confusion matrix, {title}")


def _grown(names: Sequence[str], before: Sequence[Sequence[int]], after: Sequence[Sequence[int]]) -> Markup | None:
    pairs = [
        (after[i][j] - before[i][j], i, j) for i in range(len(names)) for j in range(len(names)) if i != j and after[i][j] > before[i][j] + 1
    ]  # fmt: skip
    pairs.sort(key=lambda t: (-t[0], t[1], t[2]))
    if not pairs:
        return tag("p", "No confusion grew by more than one example.")
    rows: list[tuple[str | None, list[object]]] = [
        (None, [names[i], names[j], f"{before[i][j]:,}", f"{after[i][j]:,}", f"+{d:,}"]) for d, i, j in pairs[:8]
    ]
    heads = ("True class", "Taken for", "Teacher", "Shipped", "More")
    return join(
        tag("h3", "Confusions that grew most"),
        table("Confusions that grew most, in examples", heads, rows, kind="grown", figures=3),
    )


def series(metrics: Mapping[str, Any]) -> dict[str, list[float]]:
    """The numbers by epoch among a stage's metrics: lists of numbers, and lists of mappings by key. Non-finite end one."""
    out: dict[str, list[float]] = {}
    for key, value in metrics.items():
        if not isinstance(value, list | tuple) or len(value) < 2:
            continue
        if all(isinstance(v, Mapping) for v in value):
            for inner in dict.fromkeys(k for v in value for k in v):
                found = _finite([v.get(inner) for v in value])
                if found and inner not in ("epoch", "step"):
                    out[f"{key}: {inner}"] = found
        elif found := _finite(value):
            out[key] = found
    return out


def _finite(values: Iterable[Any]) -> list[float]:
    out = []
    for v in values:
        if isinstance(v, bool) or not isinstance(v, int | float) or not math.isfinite(v):
            break
        out.append(float(v))
    return out if len(out) > 1 else []


def training(facts: Facts) -> Markup | None:
    """Curves by epoch and the stages' other numbers."""
    blocks = []
    for step in facts.result.steps:
        found = series(step.metrics)
        scalars = [
            (words.one_line(k).replace("_", " "), words.tick(words.significant(float(v), 4)))
            for k, v in step.metrics.items()
            if isinstance(v, int | float) and not isinstance(v, bool)
        ]
        if not (found or scalars or step.kept):
            continue
        cost = "taken from the cache" if step.cached else f"took {words.duration(step.seconds)}"
        curves = [
            curve(v, title=words.one_line(k).replace("_", " "),
                  about=f"{words.one_line(k)} over {len(v)} epochs, from {words.significant(v[0])} to {words.significant(v[-1])}")
            for k, v in found.items()
        ]  # fmt: skip
        kept = [f"{words.one_line(k)}: {words.one_line(v)}" for k, v in step.kept.items()]
        blocks.append(
            tag(
                "div",
                tag("h3", words.one_line(step.name), tag("small", f"{words.one_line(step.kind)}, {cost}")),
                tag("div", curves, class_="curves") if curves else None,
                tag("p", "; ".join(f"{k} {v}" for k, v in scalars), class_="fine") if scalars else None,
                join(tag("p", "Left alone:", class_="fine"), tag("ul", [tag("li", k) for k in kept], class_="fine")) if kept else None,
                class_="step",
            )
        )  # fmt: skip
    return section("training", "Training", blocks, lead="What each stage recorded while it ran.") if blocks else None


def timings(facts: Facts) -> Markup | None:
    """Raw block medians, and every latency measurement with its circumstances."""
    timed = [r for r in facts.rows if r.latency]
    if not timed:
        return None
    bands = [
        Strip(r.role, r.latency.processes_ms, r.latency.p50_ms, r.is_shipped) for r in timed if r.latency
    ]
    about = f"Strip plot of block medians in milliseconds for {words.plural(len(bands), 'file')}; p50 values are in the table below."
    heads = ("File", "Where", "How", "p50", "p90", "Against teacher", "Load", "First call", "Peak memory")
    rows = [(None, _timing(r, i)) for r in facts.rows for i in range(len(r.artefact.latency))]
    return section(
        "timings",
        "Latency, block by block",
        tag("figure", both(strips(bands, width=1040, about=about), strips(bands, width=344, about=about))),
        table("Every latency measurement", heads, rows, kind="timings", figures=6),
        lead=f"One example at a time on {words.one_line(facts.device or '')}. Each dot is the median of a block of calls, each line of dots a "
        "fresh process, the upright bar p50. Blocks of all files were interleaved with the teacher's.",
    )  # fmt: skip


def _timing(r: Row, i: int) -> list[object]:
    t = r.artefact.latency[i]
    ratio = "–"
    if t.ratio is not None:
        ratio = words.times(t.ratio)
    ci = f"{words.significant(t.ratio_ci95[0])} to {words.significant(t.ratio_ci95[1])}" if t.ratio_ci95 else None
    return [
        join(tag("b", r.role), [tag("small", f"Do not trust: {words.one_line(w)}", class_="warn") for w in t.warnings]),
        join(words.one_line(t.device), minor(words.one_line(t.engine))),
        join(t.label, minor(f"{words.plural(t.threads, 'thread')}, batch {t.batch}")),
        words.milliseconds(t.p50_ms),
        words.milliseconds(t.p90_ms),
        join(ratio, minor(ci)),
        "–" if t.load_ms is None else words.milliseconds(t.load_ms),
        "–" if t.first_ms is None else words.milliseconds(t.first_ms),
        "–" if t.peak_memory_bytes is None else words.size(t.peak_memory_bytes),
    ]
