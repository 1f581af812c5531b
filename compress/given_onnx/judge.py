"""May an int8 file stand in for the float file? Limits, and the sentence that says which of them is broken."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from compress.comparison import Paired
from compress.errors import UsageError
from compress.evaluate.metrics import accuracy
from compress.evaluate.paired import compare
from compress.given_onnx.compare import Outputs
from compress.quantize_result import Fidelity
from compress.result import Accuracy

Kind = Literal["classes", "values"]
Asked = Literal["auto", "classes", "values"]
_NAMED = re.compile(r"(?<![a-z])(logits?|prob(s|abilit(y|ies))?|softmax|scores?|class(es)?|labels?)(?![a-z])")
_MOST_LONGER = 0.1  # or shorter, of a vector's mean length


@dataclass(frozen=True, slots=True)
class Limits:
    """max_drop_points: of accuracy, where there are labels. min_agreement: share of equal classes, for a classifier
    without labels, and of equal whole numbers. min_cosine: of a vector to the float file's, mean over the examples.
    min_sqnr_db: of every other float output.

    0.99 is an angle of 8 degrees: noise with 2 % of the vector's energy (17 dB). Spread evenly, it scales the cosine of
    two such vectors by 0.98 and moves it by sqrt(0.04 / d) at random, 0.01 with d = 384 coordinates, so that near ones
    stay near. (The argmax of an embedding means nothing: it jumps between the largest of its coordinates.) A cosine
    does not see length, hence a bound on that too.
    """

    max_drop_points: float = 1.0
    min_agreement: float = 0.98
    min_cosine: float = 0.99
    min_sqnr_db: float = 20.0

    def which(self, judge: "Judge", rows: Sequence[Fidelity], *, labelled: bool) -> dict[str, float]:
        """Those that apply, by name."""
        if judge.kind == "classes":
            return {"max_drop_points": self.max_drop_points} if labelled else {"min_agreement": self.min_agreement}
        out = {}
        if any(r.vector_cosine is not None for r in rows):
            out["min_cosine"] = self.min_cosine
        if any(r.sqnr_db is not None and r.vector_cosine is None for r in rows):
            out["min_sqnr_db"] = self.min_sqnr_db
        if any(r.sqnr_db is None for r in rows):
            out["min_agreement"] = self.min_agreement
        return out


@dataclass(frozen=True, slots=True)
class Judge:
    """What the outputs are taken for, and why."""

    kind: Kind
    why: str


def choose_judge(asked: Asked, reference: Outputs, *, labelled: bool) -> Judge:
    """Classes only where something says that they are: labels, the user, probabilities, or the output's name.

    Raises:
        UsageError: classes were asked for, and there is no single row of scores an example.
    """
    scores = class_scores(reference)
    if asked == "values":
        return Judge("values", "asked for with --judge")
    if scores is None:
        if asked == "classes":
            what = f"the outputs {', '.join(reference)} are no single row of class scores an example"
            raise UsageError(what, "--judge classes", "leave --judge out, or write --judge values")
        return Judge("values", "they are no single row of scores an example")
    name = next(iter(reference))
    if asked == "classes":
        return Judge("classes", "asked for with --judge")
    if labelled:
        return Judge("classes", "labels are given")
    if _sums_to_one(scores) or _sums_to_one(np.exp(np.minimum(scores, 1.0))):
        return Judge("classes", f"the rows of {name!r} are probabilities")
    if _NAMED.search(name.lower()):
        return Judge("classes", f"the output is called {name!r}")
    return Judge("values", f"{name!r} may be an embedding: no labels, no probabilities, and no name that says classes")


def _sums_to_one(rows: NDArray[np.float32]) -> bool:
    return bool((rows >= 0).all() and np.allclose(rows.sum(1), 1.0, atol=1e-3))


def class_scores(outputs: Outputs) -> NDArray[np.float32] | None:
    """Scores (n, classes) of a plain classifier: one float output, one row of scores an example; else None."""
    if len(outputs) != 1:
        return None
    rows = next(iter(outputs.values()))
    if any(r.dtype != np.float32 or r.ndim != 2 or r.shape[0] != 1 or r.shape[1] < 2 for r in rows):
        return None
    return np.concatenate(rows) if len({r.shape for r in rows}) == 1 else None


def complaint(
    limits: Limits, kind: Kind, rows: Sequence[Fidelity], outputs: Outputs, reference: Outputs,
    labels: NDArray[np.int64] | None,
) -> str:  # fmt: skip
    """Which limit is broken, in words; "" if none. Limits on shares are rounded up to whole examples."""
    before, after = class_scores(reference), class_scores(outputs)
    if kind == "classes" and before is not None and after is not None:
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
    for row in rows:
        if row.vector_cosine is not None and row.vector_cosine < limits.min_cosine:
            want = f"(want {limits.min_cosine:g} or more)"
            return f"output {row.output!r} keeps a cosine similarity of {row.vector_cosine:.4f} {want}"
        if row.length_ratio is not None and abs(row.length_ratio - 1) > _MOST_LONGER:
            want = f"(want a difference of {_MOST_LONGER:.0%} at most)"
            return f"output {row.output!r} is {row.length_ratio:.2f} times as long as the float file's {want}"
    worst = [(r.sqnr_db, r.output) for r in rows if r.sqnr_db is not None and r.vector_cosine is None]
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
