"""Files between all-float and all-int8: some layers with the numbers of the file, the others in float."""

from collections.abc import Collection

import numpy as np

from compress.model.graph import Graph
from compress.model.model import Model
from compress.model.rewrite import fold_batch_norm
from compress.numerics.affine import quantize_weight
from compress.stages.placement import mark_dynamic, place_quantizers


def mixed(float_model: Model, file_model: Model, integer: Collection[str]) -> Model:
    """The model with only these layers in int8.

    float_model: without quantizers. file_model: the same graph as the file has it, read back from its bytes. Layers in
    `integer` get the file's weights, scales and grids; all others are the float model's.
    """
    bits = {n.name: n.attrs["weight_bits"] for n in file_model.graph.layers if "weight_bits" in n.attrs}
    chosen = [n for n in bits if n in integer]
    if not chosen:
        return float_model
    width = next((bits[n] for n in chosen if file_model.graph.node(n).op != "embedding"), 8)
    if dynamic(file_model):
        graph = mark_dynamic(float_model.graph, chosen, width)
    else:
        graph, _ = place_quantizers(float_model.graph, chosen, width)
    weights = dict(float_model.weights)
    for name in chosen:
        for parameter in ("weight", "bias", "weight_scale"):
            if f"{name}.{parameter}" in file_model.weights:
                weights[f"{name}.{parameter}"] = file_model.weights[f"{name}.{parameter}"]
    for node in graph:
        if node.op == "quantize":
            grid = _grid_of(node.inputs[0], graph, file_model)
            for parameter in ("scale", "zero_point"):
                weights[f"{node.name}.{parameter}"] = file_model.weights[f"{grid}.{parameter}"]
    return Model(graph, weights)


def _grid_of(tensor: str, graph: Graph, file_model: Model) -> str:
    """The file's quantize node for a tensor: behind it, or behind what it was only moved from.

    Where a layer is float again, a grid can stand behind the pooling that follows it, not before: it is the same grid.
    """
    behind = {n.inputs[0]: n.name for n in file_model.graph if n.op == "quantize"}
    while tensor not in behind:
        tensor = graph.node(tensor).inputs[0]
    return behind[tensor]


def dynamic(model: Model) -> bool:
    """True where activation ranges are found at run time."""
    return any(n.attrs.get("activations") == "dynamic" for n in model.graph.layers)


def rounded(model: Model) -> Model:
    """A quantized checkpoint as its export stores it: weights as integers times their scale."""
    folded = fold_batch_norm(model)
    weights = dict(folded.weights)
    for name in integer_layers(folded):
        w, scale = weights[f"{name}.weight"], weights[f"{name}.weight_scale"]
        spread = scale.reshape(-1, *[1] * (w.ndim - 1))
        weights[f"{name}.weight"] = quantize_weight(w, scale, folded.graph.node(name).attrs["weight_bits"]) * spread
    return Model(folded.graph, {k: np.asarray(v, folded.weights[k].dtype) for k, v in weights.items()})


def integer_layers(model: Model) -> tuple[str, ...]:
    """Layers whose weights are integers, in graph order."""
    return tuple(n.name for n in model.graph.layers if "weight_bits" in n.attrs)
