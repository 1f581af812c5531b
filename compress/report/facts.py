"""What the three reports say, worked out once from a Result: rows, what each step changed, verdict, trust."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from compress.errors import UsageError
from compress.report import words
from compress.result import Accuracy, Artefact, BudgetRow, Hop, Latency, Result, StepRow

SIGNIFICANT = 0.05  # of the exact McNemar test, as in compress.evaluate.paired
Grade = Literal["good", "care", "bad"]


@dataclass(frozen=True, slots=True)
class Row:
    """One artefact as the tables show it. Ratios are teacher / this: above 1 is smaller or faster.

    speed_ci: None where the run gave none. `changed`: against the step before, in words.
    """

    artefact: Artefact
    accuracy: Accuracy | None
    latency: Latency | None
    size_ratio: float
    changed: str
    is_teacher: bool
    is_shipped: bool

    @property
    def role(self) -> str:
        """What tables call it, on one line."""
        return words.one_line(self.artefact.role)

    @property
    def id(self) -> str:
        """Its id, on one line."""
        return words.one_line(self.artefact.id)

    @property
    def speed(self) -> float | None:
        """Teacher's latency over this one's; None where it was not measured."""
        return 1.0 if self.is_teacher and self.latency else self.latency.ratio if self.latency else None

    @property
    def integer(self) -> int:
        """Operators that run in integer arithmetic."""
        return sum(v for k, v in self.artefact.kernels.items() if k in ("integer", "dynamic-integer"))

    @property
    def float(self) -> int:
        """All other operators."""
        return sum(self.artefact.kernels.values()) - self.integer


@dataclass(frozen=True, slots=True)
class StepChange:
    """A step against the one before it, both as exported files; factors are before / after. Derived numbers."""

    step: StepRow | None
    name: str
    row: Row
    accuracy_points: float | None
    size_factor: float | None
    speed_factor: float | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the first lines say. `headline` needs no other line to be understood; `accuracy` is empty without a pair."""

    headline: str
    budget: str
    budget_grade: Grade
    trust: str
    trust_grade: Grade
    ships: str
    accuracy: str


@dataclass(frozen=True, slots=True)
class Facts:
    """A Result seen by a reader."""

    result: Result
    rows: tuple[Row, ...]
    steps: tuple[StepChange, ...]
    verdict: Verdict
    device: str | None

    @property
    def teacher(self) -> Row:
        """The reference: the first artefact."""
        return self.rows[0]

    @property
    def shipped(self) -> Row:
        """What went into the bundle."""
        return next(r for r in self.rows if r.is_shipped)

    @property
    def breaches(self) -> tuple[Hop, ...]:
        """Conversions over their tolerance."""
        return breaches(self.result)


def facts(result: Result) -> Facts:
    """Work out everything that the reports share.

    Raises:
        UsageError: the result holds no artefact, or names a shipped one that it does not hold.
    """
    if not result.artefacts:
        raise UsageError("the result holds no artefact", f"result {result.name!r}", "run the recipe again")
    if result.shipped not in {a.id for a in result.artefacts}:
        what = f"it says that {result.shipped!r} was shipped, but holds no such artefact"
        raise UsageError(what, f"result {result.name!r}", "run the recipe again")
    device = next((found.device for a in result.artefacts for found in a.latency), None)
    rows = tuple(_row(result, a, device) for a in result.artefacts)
    shipped = next(r for r in rows if r.is_shipped)
    return Facts(result, rows, _steps(result, rows, shipped), _verdict(result, rows[0], shipped), device)


def breaches(result: Result) -> tuple[Hop, ...]:
    """Conversion hops over their tolerance; training hops only inform."""
    return tuple(h for h in result.ledger if h.kind == "conversion" and not h.ok)


def margin(row: BudgetRow) -> str:
    """By how much a promise was kept or missed."""
    if row.ok:
        if row.limit == row.value:
            return "met, exactly on the limit"
        return (
            f"met, {words.times(row.limit / row.value)} below the limit"
            if _is_factor(row)
            else f"met with {_away(row)} to spare"
        )
    if row.value <= row.limit:
        return f"missed: {_unclear(row)}"
    return f"missed {_over(row)}"


def _is_factor(row: BudgetRow) -> bool:
    return row.unit == "x" and row.value > 0


def _unclear(row: BudgetRow) -> str:
    """A strict promise can fail at or below its limit: equal is not smaller, and an interval may reach across."""
    why = "it has to be below the limit" if row.value == row.limit else "its interval reaches beyond the limit"
    return why + _blame(row)


def _blame(row: BudgetRow) -> str:
    blame = words.one_line(row.blame).lstrip(", ")
    return f" ({blame})" if blame else ""


def _away(row: BudgetRow) -> str:
    return words.quantity(abs(row.limit - row.value), row.unit)


def _over(row: BudgetRow) -> str:
    away = f"by {_away(row)}"
    if _is_factor(row):
        away = f"by {words.times(row.value / row.limit)}" if row.limit else away
    return away + _blame(row)


def factor(value: float | None, more: str, less: str) -> str:
    """1.86 -> `1.86x smaller`; factors that round to 1 are `unchanged`."""
    if not value:
        return "–"
    if abs(value - 1) < 0.005:
        return "unchanged"
    return f"{words.times(value)} {more}" if value > 1 else f"{words.times(1 / value)} {less}"


def _row(result: Result, artefact: Artefact, device: str | None) -> Row:
    teacher = result.artefacts[0]
    accuracy = next((a for split in ("test", "validation") for a in artefact.accuracy if a.split == split), None)
    return Row(
        artefact=artefact,
        accuracy=accuracy,
        latency=next((found for found in artefact.latency if found.device == device), None),
        size_ratio=teacher.size_bytes / artefact.size_bytes if artefact.size_bytes else 0.0,
        changed=_changed(artefact, _previous(result.artefacts, artefact)),
        is_teacher=artefact is teacher,
        is_shipped=artefact.id == result.shipped,
    )


def _previous(artefacts: Sequence[Artefact], artefact: Artefact) -> Artefact | None:
    """The file to compare with: the previous step's, in the same format where there is one."""
    names = list(dict.fromkeys(a.step for a in artefacts))
    if artefact.step == names[0]:
        return artefacts[0] if artefact is not artefacts[0] else None
    before = [a for a in artefacts if a.step == names[names.index(artefact.step) - 1]]
    return min(before, key=lambda a: (a.format != artefact.format, a.precision != artefact.precision))


def _changed(artefact: Artefact, previous: Artefact | None) -> str:
    if previous is None:
        return "the reference"
    said = []
    if artefact.parameters != previous.parameters:
        said.append(f"parameters {words.change(previous.parameters, artefact.parameters)}")
    if artefact.macs != previous.macs:
        said.append(f"MACs {words.change(previous.macs, artefact.macs)}")
    if artefact.precision != previous.precision:
        said.append(f"{previous.precision} → {artefact.precision}")
    if artefact.sparsity - previous.sparsity > 0.005:
        said.append(f"{words.percent(artefact.sparsity, 0)} of weights are zero")
    if not said and artefact.step == previous.step:
        said.append(f"same model as {'TFLite' if artefact.format == 'tflite' else 'ONNX'}")
    return ", ".join(said) or "weights only"


def _steps(result: Result, rows: Sequence[Row], shipped: Row) -> tuple[StepChange, ...]:
    steps = {s.name: s for s in result.steps}
    out: list[StepChange] = []
    for name in dict.fromkeys(r.artefact.step for r in rows):
        own = [r for r in rows if r.artefact.step == name]
        row = min(own, key=lambda r: (not r.is_shipped, r.artefact.format != shipped.artefact.format))
        before = out[-1].row if out else None
        out.append(
            StepChange(
                step=steps.get(name),
                name=words.one_line(name),
                row=row,
                accuracy_points=_accuracy_change(before, row),
                size_factor=before.artefact.size_bytes / row.artefact.size_bytes
                if before and row.artefact.size_bytes
                else None,
                speed_factor=row.speed / before.speed if before and row.speed and before.speed else None,
            )
        )
    return tuple(out)


def _accuracy_change(before: Row | None, row: Row) -> float | None:
    if before is None or before.accuracy is None or row.accuracy is None or before.accuracy.split != row.accuracy.split:
        return None
    return 100 * (row.accuracy.top1 - before.accuracy.top1)


def _verdict(result: Result, teacher: Row, shipped: Row) -> Verdict:
    missed = [b for b in result.budget if not b.ok]
    budget_grade: Grade
    if not result.budget:
        budget, budget_grade = "The recipe sets none.", "care"
    elif missed:
        lines = "; ".join(f"{words.one_line(b.name)} {_over(b) if b.value > b.limit else _unclear(b)}" for b in missed)
        budget, budget_grade = f"Missed: {lines}.", "bad"
    else:
        budget, budget_grade = f"Met: {_every(len(result.budget), 'promise')} kept.", "good"
    trust, trust_grade = _trust(result, shipped)
    ships = f"{shipped.id}, {shipped.artefact.size_bytes:,} bytes"
    paired = shipped.artefact.paired
    accuracy = f"{words.sentence(paired.verdict)}." if paired else ""
    headline = (
        "A smoke run: the chain works, its numbers mean nothing." if result.smoke else _headline(teacher, shipped)
    )
    return Verdict(headline, budget, budget_grade, trust, trust_grade, ships, accuracy)


def _headline(teacher: Row, shipped: Row) -> str:
    if shipped.is_teacher:
        return "Nothing smaller was shipped: the teacher itself is in the bundle."
    ratio = shipped.size_ratio
    gains = [f"{words.times(ratio)} smaller" if ratio >= 1 else f"{words.times(1 / ratio)} larger" if ratio else ""]
    speed = shipped.speed
    if speed:
        gains.append(f"{words.times(speed)} faster" if speed >= 1 else f"{words.times(1 / speed)} slower")
    gained = " and ".join(g for g in gains if g)
    return f"{gained[0].upper()}{gained[1:]} than the teacher{_loss(teacher, shipped)}"


def _loss(teacher: Row, shipped: Row) -> str:
    paired = shipped.artefact.paired
    if paired is None:
        if teacher.accuracy is None or shipped.accuracy is None or teacher.accuracy.split != shipped.accuracy.split:
            return "; what it lost in accuracy was not measured."
        drop = 100 * (shipped.accuracy.top1 - teacher.accuracy.top1)
        return f", accuracy {words.points(drop)} points (not compared in pairs)."
    amount = f"{words.significant(abs(paired.difference_points), 2)} points"
    if paired.p_value >= SIGNIFICANT:
        return f", and no difference in accuracy could be shown ({words.points(paired.difference_points)} points)."
    return f", for {amount} of accuracy." if paired.difference_points < 0 else f", and {amount} more accurate."


def _trust(result: Result, shipped: Row) -> tuple[str, Grade]:
    """Everything that speaks against the numbers; the worst of it sets the grade."""
    bad, care, fine = [], [], []
    if result.smoke:
        bad.append("this was a smoke run on a sliver of the data, so no number here means anything")
    checked = [h for h in result.ledger if h.kind == "conversion"]
    broken = breaches(result)
    if broken:
        names = ", ".join(words.one_line(h.name) for h in broken[:3]) + (", …" if len(broken) > 3 else "")
        bad.append(f"{len(broken)} of {words.plural(len(checked), 'conversion')} changed what the model does ({names})")
    elif checked:
        fine.append(f"parity held at {_every(len(checked), 'conversion')}")
    else:
        care.append("no conversion was checked for parity")
    if shipped.accuracy is None:
        bad.append("the shipped file's accuracy was not measured")
    elif shipped.accuracy.split != "test":
        care.append("accuracy is of the validation split, which also chose the model")
    else:
        fine.append(f"accuracy is of the exported file on {shipped.accuracy.count:,} test examples")
    if shipped.latency is None:
        care.append("latency was not measured")
    else:
        if shipped.latency.label == "measured":
            count = words.plural(len(shipped.latency.processes_ms), "fresh process", "fresh processes")
            fine.append(f"latency is measured in {count}")
        else:
            care.append(f"latency is {shipped.latency.label}, not measured")
        care += [words.one_line(w) for w in shipped.latency.warnings]
    if result.flags:
        care.append(words.plural(len(result.flags), "flag") + " raised")
    if bad:
        return f"No: {'; '.join(bad)}.", "bad"
    if care:
        return f"With care: {'; '.join(care)}.", "care"
    return f"Yes: {'; '.join(fine)}.", "good"


def _every(count: int, noun: str) -> str:
    return f"the only {noun}" if count == 1 else f"both {noun}s" if count == 2 else f"all {count:,} {noun}s"
