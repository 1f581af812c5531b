"""The first lines of every report: what was gained and lost, is it within budget, can it be trusted."""

from dataclasses import dataclass
from typing import Literal

from compress.report import words
from compress.report.facts.rows import Row
from compress.result import BudgetRow, Hop, Result

SIGNIFICANT = 0.05  # of the exact McNemar test, as in compress.evaluate.paired
Grade = Literal["good", "care", "bad"]


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


def verdict_of(result: Result, teacher: Row, shipped: Row) -> Verdict:
    """Judge a run by its shipped file."""
    missed = [b for b in result.budget if not b.ok]
    budget_grade: Grade
    if not result.budget:
        budget, budget_grade = "The recipe sets none.", "care"
    elif missed:
        lines = "; ".join(f"{words.one_line(b.name)} {_over(b) if b.value > b.limit else _unclear(b)}" for b in missed)
        budget, budget_grade = f"Missed: {lines}.", "bad"
    else:
        budget, budget_grade = (
            f"Met: {_every(len(result.budget), 'promise')} {'was' if len(result.budget) == 1 else 'were'} kept.",
            "good",
        )
    trust, trust_grade = _trust(result, shipped)
    ships = f"{shipped.id}, {shipped.artefact.size_bytes:,} bytes"
    paired = shipped.artefact.paired
    accuracy = f"{words.sentence(paired.verdict)}." if paired else ""
    headline = (
        "A smoke run: the chain works, its numbers mean nothing." if result.smoke else _headline(teacher, shipped)
    )
    return Verdict(headline, budget, budget_grade, trust, trust_grade, ships, accuracy)


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
    blame = words.prose(row.blame).lstrip(", ")
    return f": {blame}" if blame else ""


def _away(row: BudgetRow) -> str:
    return words.quantity(abs(row.limit - row.value), row.unit)


def _over(row: BudgetRow) -> str:
    away = f"by {_away(row)}"
    if _is_factor(row):
        away = f"by {words.times(row.value / row.limit)}" if row.limit else away
    return away + _blame(row)


def _headline(teacher: Row, shipped: Row) -> str:
    if shipped.is_teacher:
        return "Nothing smaller was shipped: the teacher itself is in the bundle."
    gains = [words.factor(shipped.size_ratio, "smaller", "larger"), words.factor(shipped.speed, "faster", "slower")]
    gained = " and ".join(
        f"{g} in {what}" if g == "unchanged" else g
        for g, what in zip(gains, ("size", "speed"), strict=True)
        if g != "–"
    )
    if not gained:
        return f"Neither size nor speed can be compared with the teacher{_loss(teacher, shipped)}"
    than = "" if gains[-1] == "unchanged" else " than the teacher"
    return f"{gained[0].upper()}{gained[1:]}{than}{_loss(teacher, shipped)}"


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
        care += [words.prose(w) for w in shipped.latency.warnings]
    if result.flags:
        care.append(words.plural(len(result.flags), "flag") + " raised")
    if bad:
        return f"No: {'; '.join(bad)}.", "bad"
    if care:
        return f"With care: {'; '.join(care)}.", "care"
    return f"Yes: {'; '.join(fine)}.", "good"


def _every(count: int, noun: str) -> str:
    return f"the only {noun}" if count == 1 else f"both {noun}s" if count == 2 else f"all {count:,} {noun}s"
