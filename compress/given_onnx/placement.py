"""Which nodes of a given graph become integer: the chain's own rule (compress/stages/placement.py) on ONNX operators.

A layer is integer if its type is chosen and nobody keeps it in float; an addition, pooling, activation or move is
integer if every tensor it reads comes from an integer node (or is a constant, or an input of the graph). So chains of
layers stay integer, and the insides of a layer norm or a GELU that the exporter spelled out stay float.
"""

from collections.abc import Collection
from typing import Any

from compress.given_onnx.analyse import LAYERS
from compress.onnx_file.open import graphs_of

# The quantizer drops these, as the grid of their output clips alike; whoever reads that output by its name, not through
# the grid, would get it unclipped.
_CLIPS = ("Relu", "Clip")


def integer_nodes(model: Any, operators: Collection[str], keep_float: Collection[str]) -> set[str]:
    """Names of the nodes to quantize. model: nodes in topological order, each with a name of its own."""
    constants = {i.name for i in model.graph.initializer}
    made = {o for n in model.graph.node if n.op_type == "Constant" for o in n.output}
    integer = {v.name for v in model.graph.input} | constants | made
    inputs, chosen = {v.name for v in model.graph.input}, set()
    seen_elsewhere = _captured(model) | {v.name for v in model.graph.output}
    for node in model.graph.node:
        if node.op_type not in operators or node.name in keep_float:
            continue
        if node.op_type in _CLIPS and seen_elsewhere & set(node.output):
            continue
        sources = [i for i in node.input[:2] if i and i not in constants and i not in made]
        if node.op_type in LAYERS or (sources and all(s in integer for s in _reads(node, constants | made))):
            if node.op_type not in LAYERS and all(s in inputs for s in sources):
                continue  # nothing but graph inputs: there is no chain yet that it would be part of
            chosen.add(node.name)
            integer.update(node.output)
    return chosen


def _captured(model: Any) -> set[str]:
    """Tensors that the graphs inside If, Loop and Scan nodes read from the main graph."""
    inner = [g for node in model.graph.node for a in node.attribute if a.HasField("g") for g in graphs_of(a.g)]
    return {i for graph in inner for node in graph.node for i in node.input}


def _reads(node: Any, constants: Collection[str]) -> list[str]:
    """The tensors whose values it computes with; shapes, axes and pads are constants."""
    return [i for i in node.input if i and i not in constants]
