"""Run one exported model inside somebody else's program.

Importing this package starts nothing, logs nothing and changes no global. An engine is imported on first load.
"""

from __future__ import annotations

from edge_runtime.errors import BundleError, EdgeError, EngineError, InputError

__all__ = ["BundleError", "EdgeError", "EngineError", "InputError"]
