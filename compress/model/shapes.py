"""Shapes and costs of a graph: pure arithmetic, no torch."""

from collections.abc import Sequence
from math import prod

from compress.errors import ShapeError
from compress.model.graph import Graph, Node

Shape = tuple[int, ...]


def infer_shapes(graph: Graph) -> dict[str, Shape]:
    """Output shape of every node, without the batch.

    Raises:
        ShapeError: an operator cannot take what it is given.
    """
    shapes: dict[str, Shape] = {}
    for node in graph:
        shapes[node.name] = _shape(node, [shapes[i] for i in node.inputs])
    return shapes


def _shape(node: Node, inputs: Sequence[Shape]) -> Shape:
    a = node.attrs
    if node.op == "input":
        return tuple(a["shape"])
    (x, *rest) = inputs
    if node.op == "conv2d":
        _want(node, len(x) == 3 and x[0] == a["in_channels"], x, f"{a['in_channels']} channels in (c, h, w)")
        return (a["out_channels"], *_window(node, x))
    if node.op in ("max_pool", "avg_pool"):
        _want(node, len(x) == 3, x, "(c, h, w)")
        return (x[0], *_window(node, x))
    if node.op == "linear":
        _want(node, len(x) < 3 and x[-1:] == (a["in_features"],), x, f"({a['in_features']},)")
        return (*x[:-1], a["out_features"])
    if node.op == "batch_norm":
        _want(node, x[0] == a["channels"], x, f"{a['channels']} channels")
        return x
    if node.op == "add":
        _want(node, len(rest) == 1 and rest[0] == x, x, f"two equal shapes, got {list(inputs)}")
        return x
    if node.op == "global_avg_pool":
        _want(node, len(x) == 3, x, "(c, h, w)")
        return (x[0],)
    if node.op == "flatten":
        return (prod(x),)
    if node.op == "onnx":
        return (a["classes"],)
    if node.op in _TEXT:
        return _text_shape(node, inputs)
    return x


_TEXT = ("embedding", "positions", "layer_norm", "attention", "token_mean", "first_token")


def _text_shape(node: Node, inputs: Sequence[Shape]) -> Shape:
    """Of an operator on token ids (length,) or sequences (length, features)."""
    a, x = node.attrs, inputs[0]
    if node.op == "embedding":
        _want(node, len(x) == 1, x, "token ids (length,)")
        return (x[0], a["features"])
    if node.op == "layer_norm":
        _want(node, len(x) < 3 and x[-1] == a["features"], x, f"{a['features']} features")
        return x
    _want(node, len(x) == 2, x, "a sequence (length, features)")
    if node.op == "positions":
        _want(node, x[1] == a["features"] and x[0] <= a["length"], x, f"at most ({a['length']}, {a['features']})")
        return x
    if node.op == "attention":
        want = (x[0], a["heads"] * a["head_features"])
        _want(node, len(inputs) == 4 and all(i == want for i in inputs[:3]), x, f"query, key and value of {want}")
        return want
    return (x[1],)  # token_mean, first_token


def features_of(shape: Shape) -> int:
    """How many channels a tensor has: of (c, h, w), (features,) or (length, features)."""
    return shape[-1] if len(shape) == 2 else shape[0]


def _window(node: Node, x: Shape) -> Shape:
    a = node.attrs
    size = tuple((x[1 + d] + 2 * a["padding"][d] - a["kernel"][d]) // a["stride"][d] + 1 for d in (0, 1))
    _want(node, min(size) > 0, x, f"at least the kernel {list(a['kernel'])}")
    return size


def _want(node: Node, ok: bool, got: Shape, want: str) -> None:
    if not ok:
        raise ShapeError(f"it is given shape {got}, wants {want}", f"{node.op} {node.name!r}", "change the net's sizes")


def parameter_shapes(node: Node) -> dict[str, Shape]:
    """Shapes of a node's parameters, by their short name, as stored in a checkpoint."""
    a = node.attrs
    if node.op == "conv2d":
        out = {"weight": (a["out_channels"], a["in_channels"] // a["groups"], *a["kernel"])}
    elif node.op == "linear":
        out = {"weight": (a["out_features"], a["in_features"])}
    elif node.op == "batch_norm":
        return dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (a["channels"],))
    elif node.op == "quantize":
        return {"scale": (), "zero_point": ()}
    elif node.op == "embedding":
        out = {"weight": (a["vocabulary"], a["features"])}
        if a.get("trimmed"):
            out["tokens"] = (a["vocabulary"],)
    elif node.op == "positions":
        return {"weight": (a["length"], a["features"])}
    elif node.op == "onnx":
        return {"content": (a["bytes"],)}
    elif node.op == "layer_norm":
        return dict.fromkeys(("weight", "bias"), (a["features"],))
    else:
        return {}
    if a.get("bias"):
        out["bias"] = out["weight"][:1]
    if "weight_bits" in a:
        out["weight_scale"] = out["weight"][:1]
    return out


def count_parameters(graph: Graph) -> int:
    """Trained numbers: weights, biases and batch norm's gain and shift; no statistics, no scales."""
    total = 0
    for node in graph:
        total += int(node.attrs.get("parameters", 0))
        for name, shape in parameter_shapes(node).items():
            if name in ("weight", "bias"):
                total += prod(shape)
    return total


def macs_by_layer(graph: Graph) -> dict[str, int]:
    """Multiply-accumulate operations of each layer for one example; for a text of the largest length."""
    shapes = infer_shapes(graph)
    out = {}
    for node in graph.layers:
        shape, weight = shapes[node.name], parameter_shapes(node)["weight"]
        positions = prod(shape[1:]) if node.op == "conv2d" else prod(shape[:-1])
        out[node.name] = 0 if node.op == "embedding" else prod(weight) * positions
    return out


def count_macs(graph: Graph) -> int:
    """Multiply-accumulates for one example, those between tokens included; element-wise work is not counted."""
    shapes = infer_shapes(graph)
    attended = sum(2 * shapes[n.name][0] * prod(shapes[n.name]) for n in graph if n.op == "attention")
    whole = sum(int(n.attrs.get("macs", 0)) for n in graph)  # of a whole file, where they are known
    return attended + whole + sum(macs_by_layer(graph).values())
