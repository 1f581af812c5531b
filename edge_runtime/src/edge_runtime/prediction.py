"""From logits to what a caller is told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEW = 64  # classes; so few numbers are scored quicker one by one than as an array
_VANISHING = -80.0  # exp() of it is 2e-35; below, float32 would have to go to its subnormal numbers
_FLOAT32 = np.dtype(np.float32)


@dataclass(frozen=True)
class Prediction:
    """What a model says about one example.

    index: of the highest score; label: its text; score: the highest score.
    scores: (classes,) float32, softmax of the logits, in the order of the manifest's labels.
    latency_ms: how long the call took that gave it, preprocessing included; a batch shares one call.
    id: what Monitor.label wants to know it by; "" if nobody watches.
    """

    label: str
    index: int
    score: float
    scores: NDArray[np.float32]
    latency_ms: float
    id: str = ""


def score_rows(logits: NDArray[np.float32]) -> list[tuple[int, NDArray[np.float32]]]:
    """Of each row of finite logits (n, classes): index of the highest score, and the scores, softmax."""
    if logits.shape[1] <= FEW:
        return [score_few(row) for row in logits.tolist()]
    return [(int(scores.argmax()), scores) for scores in softmax(logits)]


def score_few(row: list[float]) -> tuple[int, NDArray[np.float32]]:
    """As score_rows, of one row of few logits; computed in double precision.

    >>> score_few([0.0, 0.0, -200.0])
    (0, array([0.5, 0.5, 0. ], dtype=float32))
    """
    highest = max(row)
    powers = [math.exp(v - highest) if v - highest > _VANISHING else 0.0 for v in row]
    total = sum(powers)
    return row.index(highest), np.array([p / total for p in powers], _FLOAT32)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of logits (n, classes) as probabilities; float32, stable for large values."""
    with np.errstate(under="ignore"):  # the host may have asked numpy to raise
        out: NDArray[np.float32] = np.exp(logits - logits.max(axis=1, keepdims=True))
        out /= out.sum(axis=1, keepdims=True)
    return out
