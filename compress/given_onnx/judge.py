"""May an int8 file stand in for the float file? Limits, and the sentence that says which of them is broken."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compress.comparison import Paired
from compress.evaluate.metrics import accuracy
from compress.evaluate.paired import compare
from compress.given_onnx.compare import Outputs
from compress.quantize_result import Fidelity
from compress.result import Accuracy


@dataclass(frozen=True, slots=True)
class Limits:
    """max_drop_points: of accuracy, where there are labels. min_agreement: share of equal classes, for a classifier
    without labels. min_sqnr_db: of every float output, for anything else."""

    max_drop_points: float = 1.0
    min_agreement: float = 0.98
    min_sqnr_db: float = 20.0

    def which(self, *, labelled: bool, classifier: bool) -> dict[str, float]:
        """The one that applies, by name."""
        if labelled:
            return {"max_drop_points": self.max_drop_points}
        return {"min_agreement": self.min_agreement} if classifier else {"min_sqnr_db": self.min_sqnr_db}


def class_scores(outputs: Outputs) -> NDArray[np.float32] | None:
    """Scores (n, classes) of a plain classifier: one float output, one row of scores an example; else None."""
    if len(outputs) != 1:
        return None
    rows = next(iter(outputs.values()))
    if any(r.dtype != np.float32 or r.ndim != 2 or r.shape[0] != 1 or r.shape[1] < 2 for r in rows):
        return None
    return np.concatenate(rows) if len({r.shape for r in rows}) == 1 else None


def complaint(
    limits: Limits, rows: Sequence[Fidelity], outputs: Outputs, reference: Outputs, labels: NDArray[np.int64] | None
) -> str:
    """Which limit is broken, in words; "" if none. Limits on shares are rounded up to whole examples."""
    before, after = class_scores(reference), class_scores(outputs)
    if before is not None and after is not None:
        same = before.argmax(1) == after.argmax(1)
        if labels is not None:
            lost = int((before.argmax(1) == labels).sum()) - int((after.argmax(1) == labels).sum())
            if lost > math.ceil(limits.max_drop_points / 100 * len(labels) - 1e-6):
                points = 100 * lost / len(labels)
                return f"it loses {points:.2f} points of accuracy (at most {limits.max_drop_points:g})"
            return ""
        if int((~same).sum()) > math.ceil((1 - limits.min_agreement) * len(same) - 1e-6):
            return f"it agrees with the float file on {same.mean():.1%} (want {limits.min_agreement:.1%} or more)"
        return ""
    worst = [(r.sqnr_db, r.output) for r in rows if r.sqnr_db is not None]
    if worst and min(worst)[0] < limits.min_sqnr_db:
        return f"output {min(worst)[1]!r} keeps {min(worst)[0]:.1f} dB of signal to noise (want {limits.min_sqnr_db:g})"
    unequal = [r for r in rows if r.sqnr_db is None and (r.agreement or 0.0) < limits.min_agreement]
    if unequal:
        return f"output {unequal[0].output!r} is equal for {unequal[0].agreement:.1%} (want {limits.min_agreement:.1%})"
    return ""


def against_labels(
    reference: Outputs, outputs: Outputs, labels: NDArray[np.int64] | None, seed: int
) -> tuple[tuple[Accuracy, ...], Paired | None]:
    """Accuracy of the file on the test part, and paired with the float file's; nothing where there are no labels."""
    before, after = class_scores(reference), class_scores(outputs)
    if labels is None or before is None or after is None:
        return (), None
    names = [str(i) for i in range(after.shape[1])]
    found = accuracy(after, labels, names, "test")
    return (found,), None if outputs is reference else compare(before, after, labels, seed)
