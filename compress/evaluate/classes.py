"""Class by class, and what answers cost. Pure functions of answers and labels."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from compress.comparison import ClassPair, ClassScores, Costs
from compress.errors import ShapeError
from compress.evaluate.metrics import Labels

RESAMPLES = 2_000


def class_scores(answers: Labels, y: Labels, classes: int) -> tuple[ClassScores, ...]:
    """Precision, recall and F1 of every class; a share of nothing is None, and F1 is None without any true example."""
    hits = np.bincount(y[answers == y], minlength=classes)
    said, there = np.bincount(answers, minlength=classes), np.bincount(y, minlength=classes)
    out = []
    for hit, s, t in zip(hits.tolist(), said.tolist(), there.tolist(), strict=True):
        f1 = 2 * hit / (s + t) if t else None
        out.append(ClassScores(precision=hit / s if s else None, recall=hit / t if t else None, f1=f1))
    return tuple(out)


def class_pairs(before: Labels, after: Labels, y: Labels, names: Sequence[str]) -> tuple[ClassPair, ...]:
    """Every class before and after, in the order of `names`."""
    support = np.bincount(y, minlength=len(names)).tolist()
    both = zip(class_scores(before, y, len(names)), class_scores(after, y, len(names)), strict=True)
    return tuple(
        ClassPair(name=n, support=s, before=b, after=a) for n, s, (b, a) in zip(names, support, both, strict=True)
    )


def macro_f1(scores: Sequence[ClassScores]) -> float | None:
    """Mean F1 over the classes that have examples; None if none has."""
    known = [s.f1 for s in scores if s.f1 is not None]
    return sum(known) / len(known) if known else None


def costs(before: Labels, after: Labels, y: Labels, matrix: NDArray[np.float64], seed: int = 0) -> Costs:
    """Mean cost of an answer before and after, and the 95 % interval of the difference by paired bootstrap.

    matrix: (classes, classes), row: truth, column: answer.

    Raises:
        ShapeError: the matrix does not reach as far as the labels.
    """
    most = int(max(before.max(), after.max(), y.max())) + 1
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < most:
        what = f"a cost matrix of shape {matrix.shape} for {most} classes"
        raise ShapeError(what, "costs", "give one row and one column a class")
    b, a = matrix[y, before], matrix[y, after]
    interval = bootstrap_mean(a - b, seed)
    return Costs(before=float(b.mean()), after=float(a.mean()), difference=float((a - b).mean()), ci95=interval)


def bootstrap_mean(values: NDArray[np.float64], seed: int = 0, resamples: int = RESAMPLES) -> tuple[float, float]:
    """95 % percentile interval of a mean. Values that repeat are drawn as one multinomial: quick for any n."""
    distinct, counts = np.unique(values, return_counts=True)
    n = len(values)
    rng = np.random.default_rng(seed)
    if len(distinct) <= 1000:
        means = rng.multinomial(n, counts / n, size=resamples) @ distinct / n
    else:
        means = np.array([values[rng.integers(0, n, n)].mean() for _ in range(resamples)])
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
