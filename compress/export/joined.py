"""Query, key and value of an attention as one product, where they can be: a third of the operators, and of their cost.

On texts of few tokens an engine spends as long on an operator as on its arithmetic. Both writers of text models use it.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.export.lowering import Parameters, Program, Step, Value

JOINT = "|"  # between the names of layers that are one operator; no layer's own name holds it


def join_projections(program: Program) -> Program:
    """The program with attentions that read one tensor, (length, 3 * width): query, key and value beside each other.

    The factor 1 / sqrt(features of a head) goes into the query's weights. Layers whose arithmetic differs (one kept in
    float, say), or that something else reads as well, stay as they are.
    """
    makers = {s.output.name: s for s in program.steps}
    readers = [i.name for s in program.steps for i in s.inputs]
    changed: dict[str, Step | None] = {}
    for step in program.steps:
        if step.op != "attention":
            continue
        layers = [makers[x.name] for x in step.inputs[:3]]
        if all(readers.count(x.name) == 1 for x in step.inputs[:3]) and _alike(layers):
            query, key, value = layers
            both = _joined(layers, np.float32(step.attrs["head_features"] ** -0.5))
            changed |= {key.name: None, value.name: None, query.name: both}
            changed[step.name] = replace(step, inputs=(both.output, *step.inputs[3:]))
    steps = (changed.get(s.name, s) for s in program.steps)
    return replace(program, steps=tuple(s for s in steps if s is not None))


def _alike(layers: Sequence[Step]) -> bool:
    """True if one operator can do what these linear layers do."""
    kinds = {s.parameters.kind if s.parameters and s.parameters.bias is not None else None for s in layers}
    scaled = {s.parameters.scale is None for s in layers if s.parameters}
    one = len({s.inputs for s in layers}) == len(kinds) == len(scaled) == 1
    return one and None not in kinds and all(s.op == "linear" and not s.activation for s in layers)


def _joined(layers: Sequence[Step], factor: np.float32) -> Step:
    """The layers' rows below each other; the first layer's times `factor`, of integers their scale alone."""
    first, *rest = [s.parameters for s in layers if s.parameters is not None]
    if first.kind != "integer" and first.bias is not None:  # an integer bias has the weight's scale in its unit
        first = replace(first, bias=first.bias * factor)
    if first.scale is None:
        first = replace(first, weight=first.weight * factor)
    else:
        first = replace(first, scale=first.scale * factor)
    parts = [first, *rest]
    scale = None if first.scale is None else _stack([p.scale for p in parts])
    both = Parameters(first.kind, _stack([p.weight for p in parts]), _stack([p.bias for p in parts]), scale)
    length, width = layers[0].output.shape
    output = Value(JOINT.join(s.output.name for s in layers), (length, 3 * width))
    return replace(layers[0], name=JOINT.join(s.name for s in layers), output=output, parameters=both)


def _stack(arrays: Sequence[NDArray[Any] | None]) -> NDArray[Any]:
    return np.concatenate([a for a in arrays if a is not None])
