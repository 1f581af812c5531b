"""Run one exported model inside somebody else's program.

Importing this package starts nothing, logs nothing and changes no global. An engine is imported on first load.

    import edge_runtime

    model = edge_runtime.load("bundle")
    answer = model.predict(image)
    print(answer.label, answer.score, answer.latency_ms)

With `monitor=edge_runtime.Monitor("bundle", "monitor.sqlite")` it is watched (docs/monitoring.md); that part, the HTTP
server and edge-bench come with the distribution edge-runtime-ops.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge_runtime.errors import BundleError, EdgeError, EngineError, InputError

if TYPE_CHECKING:
    from edge_runtime._selftest import CheckReport
    from edge_runtime.model import Model, load
    from edge_runtime.monitor import Alarm, Limit, Monitor, MonitorError
    from edge_runtime.prediction import Prediction
    from edge_runtime.statistics import Statistics

__all__ = [
    "Alarm",
    "BundleError",
    "CheckReport",
    "EdgeError",
    "EngineError",
    "InputError",
    "Limit",
    "Model",
    "Monitor",
    "MonitorError",
    "Prediction",
    "Statistics",
    "load",
]
__version__ = "0.1.0"

_LATE = {
    **dict.fromkeys(("Model", "load"), "model"),
    "Prediction": "prediction",
    **dict.fromkeys(("Alarm", "Limit", "Monitor", "MonitorError"), "monitor"),
    "CheckReport": "_selftest",
    "Statistics": "statistics",
}


def __getattr__(name: str) -> Any:
    """Names imported when first asked for: who has no monitor, or only asks about the host, does not pay for them."""
    if name in _LATE:
        from edge_runtime._parts import import_part

        globals()[name] = getattr(import_part(_LATE[name], f"edge_runtime.{name}"), name)
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
