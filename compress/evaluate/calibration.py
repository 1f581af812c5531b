"""Can a file's confidence be believed? Pure functions of logits and labels."""

import numpy as np
from numpy.typing import NDArray

from compress.comparison import Bin, Calibration
from compress.evaluate.metrics import Labels, Logits, predictions

BINS = 15  # as Guo et al. 2017


def calibration(logits: Logits, y: Labels, bins: int = BINS) -> Calibration:
    """Expected calibration error, Brier score, negative log-likelihood and the reliability diagram's bins.

    Shapes: logits (n, classes), y (n,). Bins have equal width and are open on the left: a confidence on an edge counts
    to the lower one. Sources: Guo et al. 2017, arXiv:1706.04599; Brier 1950, Mon. Weather Rev. 78(1), 1-3.

    Raises:
        ShapeError, DataError: as metrics.predictions.
    """
    answer = predictions(logits, y, where="calibration")
    p = softmax(logits)
    rows = np.arange(len(y))
    confidence, right = p[rows, answer], answer == y
    which = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    found = []
    for i in range(bins):
        inside = which == i
        if count := int(inside.sum()):
            share = Bin(
                count=count, confidence=_share(confidence[inside].mean()), accuracy=_share(right[inside].mean())
            )
            found.append(share)
    ece = sum(b.count * abs(b.accuracy - b.confidence) for b in found) / len(y)
    brier = float((p**2).sum(axis=1).mean() + 1 - 2 * p[rows, y].mean())
    return Calibration(ece=_share(ece), brier=brier, nll=float(-log_softmax(logits)[rows, y].mean()), bins=tuple(found))


def softmax(logits: Logits) -> NDArray[np.float64]:
    """Probabilities (n, classes) that sum to 1 in each row."""
    return np.exp(log_softmax(logits))


def log_softmax(logits: Logits) -> NDArray[np.float64]:
    """Their logarithms, without overflow for any finite logits."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def _share(value: float) -> float:
    """Kept inside 0..1, where rounding would leave 1.0000000000000002."""
    return min(1.0, max(0.0, float(value)))
