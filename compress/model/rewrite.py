"""Graph rewrites that keep the function the same: pure numpy, no torch."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.errors import ModelError
from compress.model.graph import Graph, Node
from compress.model.model import Model


def fold_batch_norm(model: Model) -> Model:
    """Merge every batch norm into the convolution or linear layer before it.

    A batch norm with no such layer of its own (it follows an addition, say) becomes a depthwise 1x1 convolution; one
    over a vector is merged into the linear layers that read it. So no export has to know batch norm. Exact up to float
    rounding: with the gain k = g / sqrt(v + eps), w' = w k and b' = (b - m) k + shift.

    Raises:
        ModelError: a batch norm over a vector has no linear layer before it, and something else behind it.
    """
    from compress.model.shapes import infer_shapes

    graph, weights = model.graph, dict(model.weights)
    shapes = infer_shapes(graph)
    nodes: dict[str, Node] = {n.name: n for n in graph}
    renamed: dict[str, str] = {}
    for norm in [n for n in graph if n.op == "batch_norm"]:
        gain, shift = _gain_and_shift(norm, weights)
        source = nodes[_now(norm.inputs[0], renamed)]
        alone = norm.inputs[0] != graph.output and len(graph.users(norm.inputs[0])) == 1
        for parameter in ("weight", "bias", "running_mean", "running_var"):
            del weights[f"{norm.name}.{parameter}"]
        if source.op in ("conv2d", "linear") and alone:
            weight = weights[f"{source.name}.weight"]
            bias = weights.get(f"{source.name}.bias", np.zeros(len(weight), np.float32))
            weights[f"{source.name}.weight"] = weight * gain.reshape(-1, *[1] * (weight.ndim - 1))
            weights[f"{source.name}.bias"] = bias * gain + shift
            nodes[source.name] = source.with_attrs(bias=True)
            renamed[norm.name] = source.name
            del nodes[norm.name]
        elif len(shapes[norm.name]) == 3:
            c = len(gain)
            attrs = {"in_channels": c, "out_channels": c, "kernel": [1, 1], "stride": [1, 1], "padding": [0, 0],
                     "groups": c, "bias": True}  # fmt: skip
            nodes[norm.name] = Node(norm.name, "conv2d", norm.inputs, attrs)
            weights[f"{norm.name}.weight"] = gain.reshape(-1, 1, 1, 1)
            weights[f"{norm.name}.bias"] = shift
        else:
            _into_readers(norm, graph, nodes, weights, gain, shift)
            renamed[norm.name] = norm.inputs[0]
    return Model(_redirect(graph, list(nodes.values()), renamed), weights)


def _into_readers(
    norm: Node, graph: Graph, nodes: dict[str, Node], weights: dict[str, NDArray[Any]], gain: NDArray[Any],
    shift: NDArray[Any],
) -> None:  # fmt: skip
    """w (k x + s) + b = (w k) x + (w s + b), for every linear layer that reads the norm, which is taken out."""
    readers = graph.users(norm.name)
    if norm.name == graph.output or any(r.op != "linear" for r in readers):
        what = "a batch norm over a vector stands neither right behind a linear layer of its own nor right before one"
        raise ModelError(what, f"node {norm.name!r}", "put it right after or before a linear layer")
    for reader in readers:
        weight = weights[f"{reader.name}.weight"]
        bias = weights.get(f"{reader.name}.bias", np.zeros(len(weight), np.float32))
        weights[f"{reader.name}.weight"] = weight * gain
        weights[f"{reader.name}.bias"] = bias + weight @ shift
        nodes[reader.name] = nodes[reader.name].with_attrs(bias=True)
    del nodes[norm.name]


def _gain_and_shift(norm: Node, weights: dict[str, NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
    p = {k: weights[f"{norm.name}.{k}"].astype(np.float64) for k in ("weight", "bias", "running_mean", "running_var")}
    gain = p["weight"] / np.sqrt(p["running_var"] + norm.attrs["eps"])
    return gain.astype(np.float32), (p["bias"] - p["running_mean"] * gain).astype(np.float32)


def drop_quantizers(model: Model) -> Model:
    """The float twin of a quantized model: the same weights, no rounding anywhere."""
    scales = {f"{n.name}.weight_scale" for n in model.graph.layers}
    return _without_grids(model, {"weight_bits": None, "activations": None}, scales)


def with_ranges_found_running(model: Model) -> Model:
    """The same integer weights, but every integer layer finds its input's range while running."""
    return _without_grids(model, {"activations": "dynamic"}, set())


def _without_grids(model: Model, integer: Mapping[str, str | None], gone: set[str]) -> Model:
    """The model without quantize nodes. integer: new values of attributes, where they are. gone: weights to drop."""
    renamed = {n.name: n.inputs[0] for n in model.graph if n.op == "quantize"}
    nodes = [n.with_attrs(**{k: v for k, v in integer.items() if k in n.attrs}) for n in model.graph]
    gone = gone | {f"{n}.{p}" for n in renamed for p in ("scale", "zero_point")}
    graph = _redirect(model.graph, [n for n in nodes if n.op != "quantize"], renamed)
    return Model(graph, {k: v for k, v in model.weights.items() if k not in gone})


def _redirect(graph: Graph, nodes: list[Node], renamed: dict[str, str]) -> Graph:
    """Nodes that read a removed node read what stands for it now, however long the chain."""
    moved = [Node(n.name, n.op, tuple(_now(i, renamed) for i in n.inputs), n.attrs) for n in nodes]
    return Graph(tuple(moved), _now(graph.output, renamed))


def _now(name: str, renamed: Mapping[str, str]) -> str:
    """What stands for a node after all removals so far."""
    while name in renamed:
        name = renamed[name]
    return name
