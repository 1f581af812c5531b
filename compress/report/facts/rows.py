"""The rows of the tables: one artefact each, against the teacher and against the step before."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from compress.report import words
from compress.result import Accuracy, Artefact, Energy, Latency, Result


@dataclass(frozen=True, slots=True)
class Row:
    """One artefact as the tables show it. Ratios are teacher / this: above 1 is smaller or faster.

    `changed`: against the step before, in words. energy: where a meter measured it.
    """

    artefact: Artefact
    accuracy: Accuracy | None
    latency: Latency | None
    energy: Energy | None
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
        if self.latency is None:
            return None
        ratio = 1.0 if self.is_teacher else self.latency.ratio
        return ratio if ratio is not None and 0 < ratio < math.inf else None

    @property
    def energy_mj(self) -> float | None:
        """All that the meter saw for an inference; None where it was not measured."""
        found = self.energy.total_mj if self.energy else None
        return found if found is not None and 0 < found < math.inf else None

    @property
    def integer(self) -> int:
        """Operators that run in integer arithmetic."""
        return sum(v for k, v in self.artefact.kernels.items() if k in ("integer", "dynamic-integer"))

    @property
    def float(self) -> int:
        """All other operators."""
        return sum(self.artefact.kernels.values()) - self.integer


def accuracy_of(artefact: Artefact) -> Accuracy | None:
    """Of the test split, else of the validation split."""
    return next((a for split in ("test", "validation") for a in artefact.accuracy if a.split == split), None)


def row_of(result: Result, artefact: Artefact, device: str | None, metered: str | None) -> Row:
    """An artefact as a row; latency is that on the device `device`, energy that on `metered`."""
    teacher = result.artefacts[0]
    return Row(
        artefact=artefact,
        accuracy=accuracy_of(artefact),
        latency=next((found for found in artefact.latency if found.device == device), None),
        energy=next((found.metered for found in artefact.latency if found.device == metered), None),
        size_ratio=teacher.size_bytes / artefact.size_bytes if artefact.size_bytes else 0.0,
        changed=_changed(artefact, _previous(result.artefacts, artefact)),
        is_teacher=artefact is teacher,
        is_shipped=artefact.id == result.shipped,
    )


def beaten(rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Files with the first other one that is as good in accuracy, size, speed and energy and better in one of them.

    Speed and energy count where both have them.
    """
    return [(a, b) for a in rows for b in [next((o for o in rows if o is not a and _beats(o, a)), None)] if b]


def _beats(a: Row, b: Row) -> bool:
    if a.accuracy is None or b.accuracy is None or a.accuracy.split != b.accuracy.split:
        return False
    pairs = [(a.accuracy.top1, b.accuracy.top1), (-a.artefact.size_bytes, -b.artefact.size_bytes)]
    if a.latency and b.latency:
        pairs.append((-a.latency.p50_ms, -b.latency.p50_ms))
    if a.energy_mj and b.energy_mj:
        pairs.append((-a.energy_mj, -b.energy_mj))
    return all(x >= y for x, y in pairs) and any(x > y for x, y in pairs)


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
