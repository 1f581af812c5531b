"""How right the answers were, as soon as labels arrive."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


def classes_right(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Accuracy with its 95 % interval, and macro precision, recall and F1 of (predicted, label) pairs.

    Precision and recall of a class are 0 where they are 0/0; classes that occur on neither side are left out. The
    interval is Wilson's (1927). per_class: class -> precision, recall, f1, labelled.

    >>> found = classes_right([(0, 0), (0, 1), (1, 1), (1, 1)])
    >>> found["accuracy"], round(found["precision"], 3), round(found["recall"], 3), round(found["f1"], 3)
    (0.75, 0.75, 0.833, 0.733)
    """
    n = len(pairs)
    if not n:
        return {"labelled": 0}
    predicted, label = (np.array(column, np.int64) for column in zip(*pairs))
    right = int((predicted == label).sum())
    per_class: dict[str, dict[str, float]] = {}
    for c in sorted({*predicted.tolist(), *label.tolist()}):
        hit = int(((predicted == c) & (label == c)).sum())
        claimed, real = int((predicted == c).sum()), int((label == c).sum())
        precision, recall = hit / max(1, claimed), hit / max(1, real)
        f1 = 2 * hit / max(1, claimed + real)
        per_class[str(c)] = {"precision": precision, "recall": recall, "f1": f1, "labelled": real}
    means = {key: float(np.mean([v[key] for v in per_class.values()])) for key in ("precision", "recall", "f1")}
    low, high = wilson(right, n)
    return {"labelled": n, "accuracy": right / n, "accuracy_low": low, "accuracy_high": high, **means,
            "per_class": per_class}  # fmt: skip


def numbers_right(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Root mean square error, mean absolute error and bias (predicted minus label) of (predicted, label) pairs.

    >>> numbers_right([(1.0, 0.0), (2.0, 5.0)])
    {'labelled': 2, 'rmse': 2.23606797749979, 'mae': 2.0, 'bias': -1.0}
    """
    if not pairs:
        return {"labelled": 0}
    error = np.array([p - y for p, y in pairs], np.float64)
    return {"labelled": len(pairs), "rmse": math.sqrt(float((error**2).mean())), "mae": float(np.abs(error).mean()),
            "bias": float(error.mean())}  # fmt: skip


def wilson(right: int, n: int) -> tuple[float, float]:
    """95 % interval of a share."""
    z = 1.959964
    p, scale = right / n, 1 + z * z / n
    middle = (p + z * z / (2 * n)) / scale
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / scale
    return max(0.0, middle - half), min(1.0, middle + half)
