"""One call of a model as a store sees it: results and latency, and whether two versions' results agree."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from edge_runtime.model import Model

_TENSOR_TOLERANCE = 1e-2  # relative, and absolute, where results are arrays instead of labels


def run_model(model: Model, examples: Any) -> tuple[list[Any], float]:
    """Predictions (for a bundle of the task tensors: dicts of outputs) and milliseconds of the whole call.

    Raises:
        InputError: an example cannot be the model's input.
        EngineError: the engine failed, or the model is closed.
    """
    start = time.perf_counter()
    if model.manifest.labels:
        found: list[Any] = model.predict_batch(examples)
    else:
        found = [model.outputs(example) for example in examples]
    return found, (time.perf_counter() - start) * 1e3


def summary(result: Any) -> tuple[str, float]:
    """Label and score of a result; of arrays their names and largest absolute value."""
    if isinstance(result, dict):
        return ", ".join(sorted(result))[:200], max(float(np.abs(a).max()) for a in result.values())
    return result.label, result.score


def agree(one: Any, other: Any) -> bool:
    """Whether two versions say the same: the same label, or arrays of the same names within 1 %."""
    if isinstance(one, dict) != isinstance(other, dict):
        return False
    if not isinstance(one, dict):
        return bool(one.label == other.label)
    close = (a.shape == other[k].shape and np.allclose(a, other[k], _TENSOR_TOLERANCE, _TENSOR_TOLERANCE)
             for k, a in one.items() if k in other)  # fmt: skip
    return one.keys() == other.keys() and all(close)
