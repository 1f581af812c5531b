"""Manifests of older format versions, brought to today's one step at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def _from_1(doc: dict[str, Any]) -> dict[str, Any]:
    """Version 2 lists inputs and outputs, and names the signatures of a model; version 1 knew one input, one output."""
    models = doc.get("models")
    return {**doc, "models": [_model_from_1(m) for m in models] if isinstance(models, list) else models}


def _model_from_1(model: Any) -> Any:
    if not isinstance(model, dict):  # what is wrong in the old document is told after the last step
        return model
    out = {key: value for key, value in model.items() if key not in ("input", "output")}
    for old, new in (("input", "inputs"), ("output", "outputs")):
        if old in model:
            out[new] = [model[old]]
    return {**out, "signatures": []}


# Turns a manifest of version N into one of version N + 1. The document it is given stays as it is.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1}
