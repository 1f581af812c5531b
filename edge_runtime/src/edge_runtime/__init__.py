"""Run one exported model inside somebody else's program.

Importing this package starts nothing, logs nothing and changes no global. An engine is imported on first load.

    import edge_runtime

    model = edge_runtime.load("bundle")
    answer = model.predict(image)
    print(answer.label, answer.score, answer.latency_ms)
"""

from __future__ import annotations

from edge_runtime._selftest import CheckReport
from edge_runtime.errors import BundleError, EdgeError, EngineError, InputError
from edge_runtime.model import Model, Prediction, load

__all__ = [
    "BundleError",
    "CheckReport",
    "EdgeError",
    "EngineError",
    "InputError",
    "Model",
    "Prediction",
    "load",
]
__version__ = "0.1.0"
