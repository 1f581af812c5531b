"""Grids behind layers: how much of a layer's output lies beyond its own, and a new one from calibration data."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from compress.blame.tensors import layer_outputs
from compress.blame.weigh import Numbers
from compress.blame.weights import CLIPPED, clipped
from compress.data.dataset import Dataset
from compress.model.graph import Graph
from compress.model.model import Model
from compress.numerics.affine import activation_grid


def share_beyond(model: Model, layer: str, outputs: NDArray[np.float32]) -> float:
    """Against the grid behind the layer and its activation; 0 where none stands there."""
    grid, activation = _grid_behind(model.graph, layer)
    if grid is None:
        return 0.0
    scale, zero = (model.weights[f"{grid}.{p}"] for p in ("scale", "zero_point"))
    bounded = np.minimum(outputs, 6) if activation == "relu6" else outputs
    return clipped(bounded, float(scale), int(zero), 0.0 if activation else None)


def _grid_behind(graph: Graph, layer: str) -> tuple[str | None, str]:
    """The quantize node behind a layer and the activation between the two."""
    name, activation = layer, ""
    for user in graph.users(layer):
        if user.op in ("relu", "relu6"):
            name, activation = user.name, user.op
    return next((n.name for n in graph.users(name) if n.op == "quantize"), None), activation


def regridded(
    found: Model, float_model: Model, rows: Sequence[Numbers], data: Dataset
) -> tuple[Model, tuple[str, ...]]:
    """The file's model with the range of every clipped output taken anew, from calibration data."""
    layers = tuple(r.name for r in rows if (r.clipped or 0.0) > CLIPPED)
    if not layers:
        return found, ()
    outputs = layer_outputs(float_model, data.inputs(data.calibration))
    weights = dict(found.weights)
    for layer in layers:
        grid, activation = _grid_behind(found.graph, layer)
        values = outputs[layer] if not activation else np.clip(outputs[layer], 0, 6 if activation == "relu6" else None)
        scale, zero = activation_grid(float(values.min()), float(values.max()))
        weights[f"{grid}.scale"], weights[f"{grid}.zero_point"] = np.asarray(scale), np.asarray(zero)
    return Model(found.graph, weights), layers
