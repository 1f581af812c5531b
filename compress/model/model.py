"""A model: a graph and its weights as numpy arrays. What stages read and return."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.errors import ModelError
from compress.model.graph import Graph
from compress.model.shapes import parameter_shapes

Weights = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Model:
    """graph and weights; weights are named `<node>.<parameter>`, float32 except a quantize node's int32 zero_point."""

    graph: Graph
    weights: Weights

    def __post_init__(self) -> None:
        want = {f"{n.name}.{p}": s for n in self.graph for p, s in parameter_shapes(n).items()}
        if lost := sorted(set(want) - set(self.weights)):
            raise ModelError(f"weights are missing: {', '.join(lost[:5])}", "model", "save graph and weights together")
        if extra := sorted(set(self.weights) - set(want)):
            raise ModelError(
                f"weights that no node owns: {', '.join(extra[:5])}", "model", "they belong to another net"
            )
        for name, shape in want.items():
            if self.weights[name].shape != shape:
                got = self.weights[name].shape
                raise ModelError(
                    f"{name} has shape {got}, the graph wants {shape}", "model", "use the net it was made for"
                )

    def digest(self) -> str:
        """Content hash that changes with any node, name, shape, type or value."""
        h = hashlib.sha256(json.dumps(self.graph.to_json(), sort_keys=True).encode())
        for name in sorted(self.weights):
            array = np.ascontiguousarray(self.weights[name])
            h.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
            h.update(array.tobytes())
        return h.hexdigest()

    def __repr__(self) -> str:
        size = sum(a.size for a in self.weights.values())
        return f"Model({len(self.graph.nodes)} nodes, {len(self.graph.layers)} layers, {size} numbers)"
