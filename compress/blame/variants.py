"""Files between all-float and all-int8: some layers with the numbers of the file, the others in float."""

from collections.abc import Collection

from compress.model.model import Model
from compress.stages.placement import place_quantizers


def mixed(float_model: Model, file_model: Model, integer: Collection[str]) -> Model:
    """The model with only these layers in int8.

    float_model: without quantizers. file_model: the same graph as the file has it, read back from its bytes. Layers in
    `integer` get the file's weights, scales and grids; all others are the float model's.
    """
    bits = {n.name: n.attrs["weight_bits"] for n in file_model.graph.layers if "weight_bits" in n.attrs}
    chosen = [n for n in bits if n in integer]
    if not chosen:
        return float_model
    graph, _ = place_quantizers(float_model.graph, chosen, bits[chosen[0]])
    weights = dict(float_model.weights)
    for name in chosen:
        for parameter in ("weight", "bias", "weight_scale"):
            if f"{name}.{parameter}" in file_model.weights:
                weights[f"{name}.{parameter}"] = file_model.weights[f"{name}.{parameter}"]
    for node in graph:
        if node.op == "quantize":  # named after the tensor it reads, so its namesake has that tensor's grid
            for parameter in ("scale", "zero_point"):
                weights[f"{node.name}.{parameter}"] = file_model.weights[f"{node.name}.{parameter}"]
    return Model(graph, weights)


def integer_layers(model: Model) -> tuple[str, ...]:
    """Layers whose weights are integers, in graph order."""
    return tuple(n.name for n in model.graph.layers if "weight_bits" in n.attrs)
