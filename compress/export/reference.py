"""The reference that a device's monitor compares the field with: statistics.json of a bundle."""

from typing import Any

import numpy as np
from edge_runtime.statistics import Statistics
from numpy.typing import NDArray

VERSION = 2  # of what is computed: raise it when the same data give another reference
_MOST_INPUTS = 10_000  # quantiles of more are no better


def reference_statistics(preprocessing: Any, train: Any, logits: NDArray[np.float32] | None) -> bytes | None:
    """Content of statistics.json.

    train: raw training examples, which the inputs' side is taken from: up to 10,000, evenly spread.
    logits: what the shipped file answers to the validation split. Not to the training one: a model is surer of what it
        has learnt by heart than it will ever be in the field.

    Returns None for named tensors without labels, of which nothing is known.
    """
    if preprocessing.kind == "tensors" and logits is None:
        return None
    if preprocessing.kind == "tensors":
        return Statistics.of(np.empty((0, 0)), logits, kind="none").to_bytes()
    rows = np.unique(np.linspace(0, len(train) - 1, min(len(train), _MOST_INPUTS)).astype(np.int64))
    pad_id = getattr(preprocessing, "pad_id", 0)
    return Statistics.of(preprocessing(train[rows]), logits, kind=preprocessing.kind, pad_id=pad_id).to_bytes()
