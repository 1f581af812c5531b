"""The middle of the page: parity ledger, per-layer treatment, timings, training."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from compress.report import words
from compress.report.charts.plots import Strip, bar, both, curve, strips
from compress.report.facts.rows import Row
from compress.report.facts.run import Facts
from compress.report.html.markup import Markup, join, tag
from compress.report.html.parts import icon, minor, plain, readable, section, table
from compress.result import Hop, Latency, LayerRow, StepRow


def ledger(facts: Facts) -> Markup | None:
    """One row a hop, with how much of its tolerance it used."""
    hops = facts.result.ledger
    if not hops:
        return None
    broken = len(facts.breaches)
    checked = sum(h.kind == "conversion" for h in hops)
    say = (
        f"{broken} of {words.plural(checked, 'conversion')} broke the tolerance."
        if broken
        else f"All conversions held ({checked})."
    )
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
    name, path = words.one_line(h.name), f"{words.one_line(h.source)} → {words.one_line(h.target)}"
    top1 = f"{words.percent(h.source_top1)} → {words.percent(h.target_top1)} right"
    if h.kind == "training":
        state = tag("span", "on purpose", minor(words.prose(h.reason)), class_="state")
    else:  # the bars say why a hop held
        grade, reason = ("good", None) if h.ok else ("bad", minor(words.prose(h.reason)))
        state = tag("span", icon(grade), tag("span", "held" if h.ok else "broken", reason), class_=f"state {grade}")
    rail = tag("span", class_="rail", aria_hidden="true")
    named = name not in (path, path.replace("→", "to"))
    return [
        join(rail, tag("b", name), minor(path)) if named else join(rail, tag("b", path)),
        join(words.percent(h.agreement), minor(f"of {h.count:,}; {top1}")),
        words.significant(h.largest_difference, 2),
        tag("div", [_used(k, v, h) for k, v in h.tolerance.items()], class_="used") if h.tolerance else "none set",
        state,
    ]


def _used(name: str, limit: float, h: Hop) -> Markup:
    """How much of one tolerance was used; the mark stands at all of it."""
    if not math.isfinite(limit):
        return tag("p", f"{readable(name)}: the tolerance is not finite")
    flips = math.ceil((1 - limit) * h.count - 1e-6) / max(h.count, 1)  # allowed in whole examples, as the ledger does
    known = {
        "agreement": (f"at least {words.percent(limit)}", 1 - h.agreement, flips),
        "accuracy_points": (f"within {limit:g}", 100 * abs(h.target_top1 - h.source_top1), limit),
        "largest_difference": (f"at most {limit:g}", h.largest_difference, limit),
    }.get(name)
    if known is None:
        return tag("p", f"{readable(name)} {words.significant(limit)}")
    said, value, allowed = known
    share = value / allowed if allowed > 1e-12 else 0.0 if value < 1e-12 else math.inf
    share = math.inf if math.isnan(share) else share
    much = f"{100 * share:.0f} % used" if share <= 2 else f"{share:,.1f} times that" if share < math.inf else "exceeded"
    if h.ok and share > 1:  # the ledger does not count ties, and says so in its reason
        share, much = 1.0, "held, ties aside"
    text = f"{readable(name)} {said}: {much}"
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
        words.prose(x.reason) or "–",
        words.number(x.parameters),
        words.percent(x.macs / total, 0),
    ]


def series(metrics: Mapping[str, Any]) -> dict[str, list[float]]:
    """The numbers by epoch among a stage's metrics: lists of numbers, and lists of mappings by key.

    A list is read up to its first value that is no finite number.
    """
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
    """Curves by epoch and the stages' other facts."""
    blocks = [b for b in map(_step, facts.result.steps) if b is not None]
    return section("training", "Training", blocks, lead="What each stage recorded while it ran.") if blocks else None


def _step(step: StepRow) -> Markup | None:
    found = series(step.metrics)
    others = [
        f"{readable(k)} {plain(k, v)}"
        for k, v in step.metrics.items()
        if k not in found and (isinstance(v, str | int | float) or (isinstance(v, list | tuple) and v and k == "notes"))
    ]
    if not (found or others or step.kept):
        return None
    cost = "taken from the cache" if step.cached else f"took {words.duration(step.seconds)}"
    kept = [tag("li", f"{words.one_line(k)}: {words.prose(v)}") for k, v in step.kept.items()]
    return tag(
        "div",
        tag("h3", words.one_line(step.name), tag("small", f"{words.one_line(step.kind)}, {cost}")),
        tag("div", [_curve(k, v) for k, v in found.items()], class_="curves") if found else None,
        tag("p", "; ".join(others), class_="fine") if others else None,
        join(tag("p", "Left alone:", class_="fine"), tag("ul", kept, class_="fine")) if kept else None,
        class_="step",
    )


def _curve(name: str, values: list[float]) -> Markup:
    ends = f"from {words.significant(values[0])} to {words.significant(values[-1])}"
    return curve(values, title=readable(name), about=f"{readable(name)} over {len(values)} epochs, {ends}")


def timings(facts: Facts) -> Markup | None:
    """Raw block medians, and every latency measurement with its circumstances."""
    timed = [r for r in facts.rows if r.latency]
    if not timed:
        return None
    bands = [Strip(r.role, r.latency.processes_ms, r.latency.p50_ms, r.is_shipped) for r in timed if r.latency]
    about = f"Block medians in milliseconds for {words.plural(len(bands), 'file')}; p50 is in the table below."
    heads = ("File", "Where", "How", "p50", "p90", "Against teacher", "Load", "First call", "Peak memory")
    every = [t for r in facts.rows for t in r.artefact.latency]
    common = [w for w in every[0].warnings if len(every) > 1 and all(w in t.warnings for t in every)]
    rows = [(None, _timing(r, t, common)) for r in facts.rows for t in r.artefact.latency]
    return section(
        "timings",
        "Latency, block by block",
        tag("figure", both(strips(bands, width=1040, about=about), strips(bands, width=344, about=about))),
        [tag("p", f"Holds for all of them: {words.prose(w)}", class_="fine warn") for w in common],
        table("Every latency measurement", heads, rows, kind="timings", figures=6),
        lead=f"One example at a time on {words.one_line(facts.device or '')}. Each dot is the median of a block of "
        "calls, each line of dots a fresh process, the upright bar p50. Blocks of all files were interleaved with the "
        "teacher's.",
    )


def _timing(r: Row, t: Latency, common: Sequence[str]) -> list[object]:
    own = [words.prose(w) for w in t.warnings if w not in common]
    ratio = "–"
    if t.ratio is not None:
        ratio = words.times(t.ratio)
    ci = f"{words.significant(t.ratio_ci95[0])} to {words.significant(t.ratio_ci95[1])}" if t.ratio_ci95 else None
    return [
        join(tag("b", r.role), [tag("small", w, class_="warn") for w in own]),
        join(words.one_line(t.device), minor(words.one_line(t.engine))),
        join(t.label, minor(f"{words.plural(t.threads, 'thread')}, batch {t.batch}")),
        words.milliseconds(t.p50_ms),
        words.milliseconds(t.p90_ms),
        join(ratio, minor(ci)),
        "–" if t.load_ms is None else words.milliseconds(t.load_ms),
        "–" if t.first_ms is None else words.milliseconds(t.first_ms),
        "–" if t.peak_memory_bytes is None else words.size(t.peak_memory_bytes),
    ]
