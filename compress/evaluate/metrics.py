"""How often an exported file is right. Pure functions of logits and labels."""

import hashlib
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from compress.comparison import Interval
from compress.errors import DataError, ShapeError
from compress.result import Accuracy

Logits = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]
MAX_CONFUSION_CLASSES = 1000  # a larger matrix would not fit a result file, nor a reader


def accuracy(logits: Logits, y: Labels, classes: Sequence[str], split: Literal["validation", "test"]) -> Accuracy:
    """Top-1, its Wilson interval, recall by class and the confusion matrix (rows: truth, columns: prediction).

    Shapes: logits (n, len(classes)), y (n,). A class without examples has recall None. Beyond 1,000 classes the
    confusion matrix is left empty.

    Raises:
        ShapeError: logits, y and classes do not fit each other.
        DataError: there are no examples, a label is out of range, or logits are not finite.
    """
    where, k = f"accuracy on {split}", len(classes)
    predicted = predictions(logits, y, where=where)
    if logits.shape[1] != k:
        raise ShapeError(f"{logits.shape[1]} scores for {k} classes", where, "use this data's own model")
    if y.min() < 0 or y.max() >= k:
        what = f"labels reach from {y.min()} to {y.max()}, the classes from 0 to {k - 1}"
        raise DataError(what, where, "correct the labels")
    n, correct = len(y), int((predicted == y).sum())
    per_class, hits = np.bincount(y, minlength=k), np.bincount(y[predicted == y], minlength=k)
    confusion: tuple[tuple[int, ...], ...] = ()
    if k <= MAX_CONFUSION_CLASSES:
        table = np.bincount(y * k + predicted, minlength=k * k).reshape(k, k)
        confusion = tuple(tuple(int(v) for v in row) for row in table)
    return Accuracy(
        split=split,
        count=n,
        correct=correct,
        top1=correct / n,
        ci95=wilson(correct, n),
        per_class_recall=tuple(int(h) / int(c) if c else None for h, c in zip(hits, per_class, strict=True)),
        confusion=confusion,
        predictions_sha256=hashlib.sha256(predicted.astype("<i4").tobytes()).hexdigest(),
    )


def predictions(logits: Logits, y: Labels, *, where: str) -> NDArray[np.int64]:
    """Index of the largest score of each example (the first of equals), after checking that logits and labels fit.

    Raises:
        ShapeError: not (n, classes) against (n,).
        DataError: no examples, or scores that are not finite.
    """
    if logits.ndim != 2 or y.ndim != 1 or len(logits) != len(y):
        what = f"scores of shape {logits.shape} against labels of shape {y.shape}"
        raise ShapeError(what, where, "give (n, classes) and (n,)")
    if not len(y) or not logits.shape[1]:
        raise DataError("there are no examples to judge by", where, "give a split that is not empty")
    if bad := int((~np.isfinite(logits)).any(axis=1).sum()):
        what = f"scores of {bad} of {len(y)} examples are not finite"
        raise DataError(what, where, "look for a layer that overflows")
    return np.asarray(logits.argmax(axis=1), dtype=np.int64)


def wilson(correct: int, count: int, confidence: float = 0.95) -> Interval:
    """Score interval of a share. Source: Wilson 1927, JASA 22(158), 209-212.

    >>> [round(v, 4) for v in wilson(95, 100)]
    [0.8882, 0.9785]
    """
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, z2 = correct / count, z * z
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = z / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    low = 0.0 if correct == 0 else max(0.0, centre - half)  # exact at the ends, where rounding would leave 1e-17
    return low, 1.0 if correct == count else min(1.0, centre + half)
