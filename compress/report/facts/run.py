"""What the three reports say, worked out once from a Result: rows, what each step changed, verdict, trust."""

from collections.abc import Sequence
from dataclasses import dataclass

from compress.errors import UsageError
from compress.report import words
from compress.report.facts.advice import advice
from compress.report.facts.rows import Row, row_of
from compress.report.facts.verdict import Verdict, breaches, verdict_of
from compress.result import Hop, Result, StepRow


@dataclass(frozen=True, slots=True)
class StepChange:
    """A step against the one before it, both as exported files; factors are before / after. Derived numbers."""

    step: StepRow | None
    name: str
    row: Row
    accuracy_points: float | None
    size_factor: float | None
    speed_factor: float | None
    energy_factor: float | None

    @property
    def told(self) -> str:
        """`−0.20 points, 1.56× smaller, 1.45× faster`; empty for the first step."""
        changes = (
            ("size", words.factor(self.size_factor, "smaller", "larger")),
            ("speed", words.factor(self.speed_factor, "faster", "slower")),
            ("energy", words.factor(self.energy_factor, "less energy", "more energy")),
        )
        said = [] if self.accuracy_points is None else [f"{words.points(self.accuracy_points)} points"]
        return ", ".join(said + [f"{c} in {what}" if c == "unchanged" else c for what, c in changes if c != "–"])


@dataclass(frozen=True, slots=True)
class Facts:
    """A Result seen by a reader. device: the one that latencies are of; metered: the one that energies are of."""

    result: Result
    rows: tuple[Row, ...]
    steps: tuple[StepChange, ...]
    verdict: Verdict
    device: str | None
    metered: str | None
    next: tuple[str, ...]

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


def facts(result: Result, folder: str = ".") -> Facts:
    """Work out everything that the reports share. folder: of the run, as its reader has to type it.

    Raises:
        UsageError: the result holds no artefact, or names a shipped one that it does not hold.
    """
    if not result.artefacts:
        raise UsageError("the result holds no artefact", f"result {result.name!r}", "run the recipe again")
    if result.shipped not in {a.id for a in result.artefacts}:
        what = f"it says that {result.shipped!r} was shipped, but holds no such artefact"
        raise UsageError(what, f"result {result.name!r}", "run the recipe again")
    device = next((found.device for a in result.artefacts for found in a.latency), None)
    metered = next((found.device for a in result.artefacts for found in a.latency if found.metered), None)
    rows = tuple(row_of(result, a, device, metered) for a in result.artefacts)
    shipped = next(r for r in rows if r.is_shipped)
    verdict = verdict_of(result, rows[0], shipped)
    return Facts(result, rows, _steps(result, rows, shipped), verdict, device, metered, advice(result, shipped, folder))


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
                size_factor=row.size_ratio / before.size_ratio if before and before.size_ratio else None,
                speed_factor=row.speed / before.speed if before and row.speed and before.speed else None,
                energy_factor=before.energy_mj / row.energy_mj
                if before and row.energy_mj and before.energy_mj
                else None,
            )
        )
    return tuple(out)


def _accuracy_change(before: Row | None, row: Row) -> float | None:
    if before is None or before.accuracy is None or row.accuracy is None or before.accuracy.split != row.accuracy.split:
        return None
    return 100 * (row.accuracy.top1 - before.accuracy.top1)
