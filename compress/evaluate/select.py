"""Which artefact ships, whether it keeps the budget, and which step is to blame if not. Pure functions of a result."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from compress.comparison import Comparison
from compress.errors import MeasureError
from compress.evaluate.steps import accuracy_of, blame_accuracy, blame_latency, blame_size, latency_on
from compress.result import Artefact, BudgetRow

ASSUMED_DROP_POINTS = 1.0  # for choosing only, where the recipe limits no accuracy
CLEARLY_BETTER = 1.25  # of size gain x speed gain: far above what two measurements of one file differ by


class Budget(Protocol):
    """What a recipe's budget says; compress.recipe.schema.BudgetConfig is one."""

    @property
    def accuracy_drop_points(self) -> float | None:
        """Most that may be lost against the teacher."""

    @property
    def size_bytes(self) -> int | None:
        """Of the shipped file."""

    @property
    def latency_ms(self) -> Mapping[str, float]:
        """Median by device."""

    @property
    def consistency_drop_points(self) -> float | None:
        """Most that consistency may fall below the teacher's, under any one transformation."""
        ...


@dataclass(frozen=True, slots=True)
class Choice:
    """id of the artefact that ships, whether it keeps every limit (accuracy on validation), and why it was chosen."""

    id: str
    meets: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Check:
    """One limit against one value; kept while value <= limit, or < limit where `strict`. excess: 0 when kept.

    worst: the unfavourable end of the value's interval, which is what a strict limit is held against.
    """

    name: str
    limit: float
    value: float
    unit: str
    strict: bool = False
    worst: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the limit is kept."""
        judged = self.value if self.worst is None else self.worst
        return judged < self.limit if self.strict else judged <= self.limit

    @property
    def excess(self) -> float:
        """By how much the limit is missed, as a share of it; of 1 point at least where it is one of accuracy."""
        if self.ok:
            return 0.0
        return max(1e-9, (self.value - self.limit) / (max(1.0, self.limit) if self.unit == "points" else self.limit))

    def __str__(self) -> str:
        limit = f"{'must be under' if self.strict else 'limit'} {_figure(self.limit, self.unit)}"
        return f"{self.name} {_figure(self.value, self.unit)}{self.doubt} ({limit})"

    @property
    def doubt(self) -> str:
        """Says so where only the interval's far end misses the limit."""
        if self.worst is None or self.ok or self.value >= self.limit:
            return ""
        return f", but up to {_figure(self.worst, self.unit)} within its 95 % interval"


def select(artefacts: Sequence[Artefact], budget: Budget, *, allow_slower: bool = False) -> Choice:
    """The artefact to ship: of those that keep every limit, the one with the greatest size gain x speed gain.

    artefacts: in plan order, the teacher's first; the teacher itself ships only where there is nothing else. Accuracy
    is judged on validation, so that the test figures stay untouched by the choice. The smaller file wins unless
    another one's gain is 1.25 times as great: two runs of one recipe must not ship different files because a timing
    wavered. Where the recipe limits no accuracy, those within 1 point of the teacher are preferred. If none keeps
    the budget, the one that misses it by least ships, as a share of the limits.

    Raises:
        MeasureError: a device with a limit was not measured.
    """
    teacher = artefacts[0]
    candidates = [a for a in artefacts if a.step != teacher.step] or list(artefacts[:1])
    if candidates == [teacher]:
        return Choice(teacher.id, not _missed(teacher, teacher, budget, True), "there is nothing but the teacher")
    missed = {a.id: _missed(a, teacher, budget, allow_slower) for a in candidates}
    meeting = [a for a in candidates if not missed[a.id]]
    if not meeting:
        nearest = min(candidates, key=lambda a: (sum(c.excess for c in missed[a.id]), a.size_bytes))
        return Choice(nearest.id, False, f"none keeps the budget; nearest: {'; '.join(map(str, missed[nearest.id]))}")
    note = ""
    if budget.accuracy_drop_points is None:
        near = [a for a in meeting if _drop_points(a, teacher) <= ASSUMED_DROP_POINTS]
        note = "; no accuracy was budgeted, so " + (
            f"those within {ASSUMED_DROP_POINTS:g} point of the teacher were preferred"
            if near
            else "the most accurate was taken"
        )
        meeting = near or [max(meeting, key=lambda a: (accuracy_of(a, "validation").correct, -a.size_bytes))]
    best = _greatest_gain(meeting, teacher)
    count, most = len(meeting), all(_log_gain(a, teacher) <= _log_gain(best, teacher) for a in meeting)
    more = f"a larger one gains more, but not {CLEARLY_BETTER:g} times as much"
    if allow_slower and budget.accuracy_drop_points is budget.size_bytes is None and not budget.latency_ms:
        which = "the recipe sets no budget"
        if count > 1:
            which += f", and of {count} it gains most" if most else f"; of {count} {more}"
    elif count > 1:
        which = f"it keeps the budget and gains most of the {count} that do"
        which = which if most else f"it keeps the budget; of the {count} that do {more}"
    else:
        which = "it keeps the budget" if note else "the only one that keeps the budget"
    return Choice(best.id, True, f"{which}: {_gains(best, teacher)}{note}")


def budget_rows(
    artefacts: Sequence[Artefact], shipped: str, budget: Budget, *, allow_slower: bool = False
) -> tuple[BudgetRow, ...]:
    """Every promise against the shipped artefact: accuracy on test, and the step to blame for each that is missed.

    Unless allow_slower, the last rows say that it is smaller and faster than the teacher: value and limit are shares
    of the teacher's size and latency, and "faster" must hold for the whole 95 % interval.

    Raises:
        MeasureError: a device with a limit was not measured.
    """
    teacher = artefacts[0]
    this = next(a for a in artefacts if a.id == shipped)
    rows = []
    for check in checks(this, teacher, budget, "test", allow_slower):
        blame = ""
        if not check.ok and check.unit == "points":
            blame = blame_accuracy(artefacts, this)
        elif not check.ok and check.name.startswith("size"):
            blame = blame_size(artefacts, this)
        elif not check.ok:
            doubt = f"{_figure(check.value, check.unit)}{check.doubt}; " if check.doubt else ""
            blame = doubt + blame_latency(artefacts, this, check.name.rsplit(" ", 1)[-1])
        rows.append(
            BudgetRow(name=check.name, limit=check.limit, value=check.value, unit=check.unit, ok=check.ok, blame=blame)
        )
    return tuple(rows)


def consistency_row(comparison: Comparison, budget: Budget) -> BudgetRow | None:
    """The promise on invariance against the worst transformation of the table; None where nothing is promised.

    It is judged on test examples and plays no part in choosing what ships.
    """
    limit = budget.consistency_drop_points
    if limit is None or not comparison.invariance:
        return None
    worst = min(comparison.invariance, key=lambda r: r.difference_points)
    drop = max(0.0, -worst.difference_points)
    name = f"{worst.transformation.replace('_', ' ')} {worst.strength:g} {worst.unit}".rstrip()
    blame = "" if drop <= limit else f"{name} is the worst of {len(comparison.invariance)}"
    return BudgetRow(name="consistency drop", limit=limit, value=drop, unit="points", ok=drop <= limit, blame=blame)


def checks(
    this: Artefact, teacher: Artefact, budget: Budget, split: Literal["validation", "test"], allow_slower: bool
) -> list[Check]:
    """Every limit on one artefact, the recipe's own first."""
    out = []
    if budget.accuracy_drop_points is not None:
        out.append(Check("accuracy drop", budget.accuracy_drop_points, _drop_points(this, teacher, split), "points"))
    if budget.size_bytes is not None:
        out.append(Check("size", budget.size_bytes, this.size_bytes, "bytes"))
    for device, limit in budget.latency_ms.items():
        found = latency_on(this, device)
        if found is None:
            have = ", ".join(x.device for x in this.latency) or "none"
            fix = f"add {device} to measure.devices, or drop the limit"
            raise MeasureError(
                f"{this.id} was not timed on {device}; measured: {have}", f"budget.latency_ms.{device}", fix
            )
        out.append(Check(f"latency on {device}", limit, found.p50_ms, "ms"))
    if not allow_slower:
        out.append(Check("size against the teacher", 1.0, this.size_bytes / teacher.size_bytes, "x", strict=True))
        for found in this.latency:
            if found.ratio and found.ratio_ci95:
                name = f"latency against the teacher on {found.device}"
                out.append(Check(name, 1.0, 1 / found.ratio, "x", strict=True, worst=1 / found.ratio_ci95[0]))
    return out


def _missed(this: Artefact, teacher: Artefact, budget: Budget, allow_slower: bool) -> list[Check]:
    return [c for c in checks(this, teacher, budget, "validation", allow_slower) if not c.ok]


def _drop_points(this: Artefact, teacher: Artefact, split: Literal["validation", "test"] = "validation") -> float:
    """Teacher minus this in percentage points, from the counts: 10 of 1,000 is 1.0 and not 1.0000000000000009."""
    mine, theirs = accuracy_of(this, split), accuracy_of(teacher, split)
    return 100 * (theirs.correct - mine.correct) / mine.count


def _greatest_gain(meeting: Sequence[Artefact], teacher: Artefact) -> Artefact:
    best, *others = sorted(meeting, key=lambda a: a.size_bytes)
    for other in others:
        if _log_gain(other, teacher) > _log_gain(best, teacher) + math.log(CLEARLY_BETTER):
            best = other
    return best


def _log_gain(this: Artefact, teacher: Artefact) -> float:
    """Of size and of speed on the device where it gains least; speed counts nothing where it was not measured."""
    speed = min((x.ratio for x in this.latency if x.ratio), default=1.0)
    return math.log(teacher.size_bytes / this.size_bytes) + math.log(speed)


def _gains(this: Artefact, teacher: Artefact) -> str:
    drop = _drop_points(this, teacher)
    accuracy = f"{abs(drop):.2f} points {'below' if drop > 0 else 'above'} the teacher on validation"
    if drop == 0:
        accuracy = "as accurate as the teacher on validation"
    size = f"{teacher.size_bytes / this.size_bytes:.1f}x smaller"
    return ", ".join([accuracy, size, *(f"{x.ratio:.1f}x faster on {x.device}" for x in this.latency if x.ratio)])


def _figure(value: float, unit: str) -> str:
    """A value with its unit for a sentence: 120,000 bytes, 1.30 points, 0.532 ms, 1.04x."""
    if unit == "bytes":
        return f"{value:,.0f} bytes"
    if unit == "x":
        return f"{value:.2f}x"
    return f"{value:.2f} points" if unit == "points" else f"{value:.3g} {unit}"
