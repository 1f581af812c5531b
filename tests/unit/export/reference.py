"""What a graph means, in torch.nn.functional and float64: slow, obvious, and without a line of the exports."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from compress.model.graph import Node
from compress.model.model import Model


def run(model: Model, x: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    """Every node's output for a batch; quantize nodes and integer weights are simulated."""
    values: dict[str, Tensor] = {}
    for node in model.graph:
        p = {k.rsplit(".", 1)[1]: torch.from_numpy(np.asarray(v, np.float64)) for k, v in model.weights.items()
             if k.rsplit(".", 1)[0] == node.name}  # fmt: skip
        given = [torch.from_numpy(x.astype(np.float64))] if node.op == "input" else [values[i] for i in node.inputs]
        values[node.name] = _node(node, p, given)
    return {k: v.numpy() for k, v in values.items()}


def logits(model: Model, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """The graph's output for a batch."""
    return run(model, x)[model.graph.output]


def _node(node: Node, p: dict[str, Tensor], given: list[Tensor]) -> Tensor:
    x, a = given[0], node.attrs
    if node.op in ("conv2d", "linear") and "weight_bits" in a:
        limit = 2 ** (a["weight_bits"] - 1) - 1
        scale = p["weight_scale"].reshape(-1, *[1] * (p["weight"].ndim - 1))
        p = {**p, "weight": torch.clamp(torch.round(p["weight"] / scale), -limit, limit) * scale}
        if a.get("activations") == "dynamic":
            x = _dynamic(x)
    ops: dict[str, Any] = {
        "input": lambda: x,
        "conv2d": lambda: F.conv2d(x, p["weight"], p.get("bias"), a["stride"], a["padding"], 1, a["groups"]),
        "linear": lambda: F.linear(x, p["weight"], p.get("bias")),
        "batch_norm": lambda: F.batch_norm(
            x, p["running_mean"], p["running_var"], p["weight"], p["bias"], False, 0.0, a["eps"]
        ),
        "relu": lambda: F.relu(x),
        "relu6": lambda: F.relu6(x),
        "add": lambda: x + given[1],
        "max_pool": lambda: F.max_pool2d(x, a["kernel"], a["stride"], a["padding"]),
        "avg_pool": lambda: F.avg_pool2d(x, a["kernel"], a["stride"], a["padding"], count_include_pad=False),
        "global_avg_pool": lambda: x.mean((2, 3)),
        "flatten": lambda: x.flatten(1),
        "quantize": lambda: (
            torch.clamp(torch.round(x / p["scale"]) + p["zero_point"], 0, 255) - p["zero_point"]
        ) * p["scale"],
    }  # fmt: skip
    out: Tensor = ops[node.op]()
    return out


def _dynamic(x: Tensor) -> Tensor:
    """ONNX DynamicQuantizeLinear: one unsigned grid for the whole batch, over its range widened to hold zero."""
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    scale = (high - low) / 255 or 1.0
    zero_point = round(-low / scale)
    return (torch.clamp(torch.round(x / scale) + zero_point, 0, 255) - zero_point) * scale
