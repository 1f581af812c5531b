"""What the reports of `compress compare` say, worked out once: ratios to the first file, who is beaten by whom."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from compress.comparison import Comparison
from compress.report import words
from compress.versus import Side, Versus, energy_unlike, unlike

HOURS_PER_MILLION = 1e6 / 1000 / 3600  # of one core, per millisecond of latency


@dataclass(frozen=True, slots=True)
class Line:
    """One file against the first. Ratios are first / this: above 1 is smaller or faster; speed is None where the two
    were not measured alike. beaten_by: names of files at least as good in accuracy, size, speed and measured energy,
    and better in one.
    million: price of a million inferences on one core, derived from p50 and the price of an hour.
    """

    side: Side
    comparison: Comparison | None
    size_ratio: float
    speed: float | None
    beaten_by: tuple[str, ...]
    million: float | None


def lines(v: Versus, price_per_hour: float | None = None) -> tuple[Line, ...]:
    """Every side, the first one included."""
    first = v.sides[0]
    by_name = {c.after: c for c in v.comparisons}
    out = []
    for side in v.sides:
        speed = None
        if side is first:
            speed = 1.0 if side.latency else None
        elif not unlike(first, side) and first.latency and side.latency:
            speed = first.latency.p50_ms / side.latency.p50_ms
        million = None
        if price_per_hour is not None and side.latency and side.latency.label == "measured":
            million = price_per_hour * side.latency.p50_ms * HOURS_PER_MILLION * side.latency.threads
        beaten = tuple(o.name for o in v.sides if o is not side and _beats(o, side))
        ratio = first.artefact.size_bytes / side.artefact.size_bytes
        out.append(Line(side, by_name.get(side.name), ratio, speed, beaten, million))
    return tuple(out)


def _beats(a: Side, b: Side) -> bool:
    """At least as good in everything known of both, and better in something."""
    pairs = [((a.top1 or 0.0), (b.top1 or 0.0)), (-a.artefact.size_bytes, -b.artefact.size_bytes)]
    if not unlike(a, b) and a.latency and b.latency:
        pairs.append((-a.latency.p50_ms, -b.latency.p50_ms))
    if not energy_unlike(a, b) and a.energy and b.energy:
        pairs.append((-(a.energy.total_mj or 0.0), -(b.energy.total_mj or 0.0)))
    return all(x >= y for x, y in pairs) and any(x > y for x, y in pairs)


def gains(line: Line) -> str:
    """`1.86× smaller and 1.10× faster`, than the first file."""
    said = [words.factor(line.size_ratio, "smaller", "larger")]
    if line.speed is not None and math.isfinite(line.speed):
        said.append(words.factor(line.speed, "faster", "slower"))
    return " and ".join(g for g in said if g not in ("–", "unchanged")) or "as large and as fast"


def metered(found: Sequence[Line]) -> list[tuple[Line, float]]:
    """Files with the mJ of an inference: those measured as the first that has any."""
    first = next((f.side for f in found if f.side.energy), None)
    alike = [f for f in found if first and not energy_unlike(first, f.side)]
    return [(f, f.side.energy.total_mj) for f in alike if f.side.energy and f.side.energy.total_mj]


def best(found: Sequence[Line]) -> str:
    """Which file is ahead in what. Speeds and energies count only where they were measured as the first one's."""
    said = [("most accurate on these examples", max(found, key=lambda f: f.side.top1 or 0.0)),
            ("smallest", min(found, key=lambda f: f.side.artefact.size_bytes))]  # fmt: skip
    if len(timed := [f for f in found if f.speed]) > 1:
        said.append(("fastest", max(timed, key=lambda f: f.speed or 0.0)))
    if len(energies := metered(found)) > 1:
        said.append(("least energy", min(energies, key=lambda e: e[1])[0]))
    return "; ".join(f"{what}: {words.one_line(f.side.name)}" for what, f in said) + "."


def headline(line: Line) -> str:
    """One file against the first, in one sentence."""
    c = line.comparison
    assert c is not None, "only files other than the first have a headline"
    name = words.one_line(line.side.name)
    if c.paired.p_value >= 0.05:
        say = f"no difference in accuracy could be shown ({words.points(c.paired.difference_points)} points)"
    else:
        way = "less" if c.paired.difference_points < 0 else "more"
        say = f"{words.significant(abs(c.paired.difference_points), 2)} points {way} accurate"
    return f"{name}: {gains(line)}, {say}"
