"""From a graph to the steps an engine runs: activations fused, quantize nodes turned into the grids of values.

Both exports are written from these steps, so both place their integers alike. Torch-free; shapes stay (c, h, w).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from compress.errors import ExportError
from compress.model.graph import FLOATING, LAYERS, Graph, Node
from compress.model.model import Model
from compress.model.rewrite import fold_batch_norm
from compress.model.shapes import Shape, infer_shapes
from compress.numerics.affine import quantize_bias, quantize_weight

Activation = Literal["", "relu", "relu6"]
_ACTIVATIONS = ("relu", "relu6")
_KEEPING = ("max_pool", "flatten", *_ACTIVATIONS)  # only move or clip values: they stay on the grid they come on
_LARGEST_RATIO = 128.0  # of an accumulator's unit to the output's; XNNPACK refuses to load 256
_ON_GRID = 0.01  # of a step: nearer to a grid's number than this is on it
_LARGEST_BIAS = 2.0**30  # leaves the 32-bit accumulator as much room for the sum of products


@dataclass(frozen=True, slots=True)
class Grid:
    """An activation's 8-bit grid: value = scale * (q - zero_point), q and zero_point in 0..255."""

    scale: np.float32
    zero_point: int

    def quantize(self, value: float) -> int:
        """The grid's number for a real value, clipped."""
        return int(np.clip(np.rint(value / self.scale) + self.zero_point, 0, 255))

    def clips_as(self, activation: Activation) -> bool:
        """True if quantizing alone cuts off what the activation would."""
        return self.zero_point == 0 and (activation == "relu" or self.quantize(6.0) == 255)

    @property
    def holds_six(self) -> bool:
        """True if 6 is one of its numbers, or beyond them."""
        steps = 6.0 / float(self.scale)
        return steps + self.zero_point >= 255 or abs(steps - round(steps)) < _ON_GRID


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor between steps. shape: without the batch. grid: None where it is float.

    non_negative: zero is its smallest possible value, so zero padding cannot win a maximum.
    image: the (c, h, w) it was flattened from, where its order depends on the layout.
    """

    name: str
    shape: Shape
    grid: Grid | None = None
    non_negative: bool = False
    image: Shape | None = None


@dataclass(frozen=True, slots=True)
class Parameters:
    """A node's numbers. weight: (out, in / groups, h, w) or (out, in); of a table (rows, features), a norm (features,).

    kind: "float": all float32. "integer": int8 weight, int32 bias at scale s_x * s_w. "dynamic-integer": int8 weight,
        float32 bias. scale: (out,) of the weight, (vocabulary,) of an embedding; None for float.
    """

    kind: Literal["float", "integer", "dynamic-integer"]
    weight: NDArray[Any]
    bias: NDArray[Any] | None
    scale: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One operator to emit. op: a graph operator, or "dequantize"; name: the graph node's."""

    op: str
    name: str
    inputs: tuple[Value, ...]
    output: Value
    attrs: Mapping[str, Any] = field(default_factory=dict)
    activation: Activation = ""
    parameters: Parameters | None = None


@dataclass(frozen=True, slots=True)
class Program:
    """Steps in order. input_grid: the grid of the graph's input if all that reads it quantizes it so, else None.

    pad_id: of a model whose input is token ids of any length up to the input's; else None.
    """

    steps: tuple[Step, ...]
    input: Value
    input_grid: Grid | None
    output: Value
    pad_id: int | None = None


def lower(model: Model) -> Program:
    """Fold batch norm, drop what the output does not need, fuse activations and quantizers into steps.

    A layer is integer where its weights have bits, its input stands on a grid, and its output (behind an activation)
    is quantized; one that lacks a grid is emitted in float with its rounded weights, and the counts will say so. The
    layers of text models give float from a grid.

    Raises:
        ExportError: the output is no vector of logits.
    """
    folded = fold_batch_norm(model)
    graph = _reachable(folded.graph)
    shapes = infer_shapes(graph)
    if len(shapes[graph.output]) != 1:
        fix = "end the net in a pooling or flatten and a linear layer"
        raise ExportError(f"the output has shape {shapes[graph.output]}, not (classes,)", f"node {graph.output!r}", fix)
    lowering = _Lowering(graph, folded.weights, shapes)
    for node in graph:
        lowering.take(node)
    source = graph.nodes[0]
    readers = [n for n in graph if source.name in n.inputs]
    grids = {lowering.grid(n) for n in readers if n.op == "quantize"}
    alone = len(grids) == 1 and all(n.op == "quantize" for n in readers) and graph.output != source.name
    input_grid = next(iter(grids)) if alone else None
    values = lowering.values
    return Program(tuple(lowering.steps), values[source.name], input_grid, values[graph.output], graph.pad_id)


def _reachable(graph: Graph) -> Graph:
    needed = {graph.output, graph.nodes[0].name}
    for node in reversed(graph.nodes):
        if node.name in needed:
            needed.update(node.inputs)
    return graph.with_nodes(n for n in graph if n.name in needed)


class _Lowering:
    """State of one walk: the value of every node met, the steps emitted, the nodes an earlier step took in."""

    def __init__(self, graph: Graph, weights: Mapping[str, NDArray[Any]], shapes: Mapping[str, Shape]) -> None:
        self.graph, self.weights, self.shapes = graph, weights, shapes
        self.values: dict[str, Value] = {}
        self.steps: list[Step] = []
        self.floats: dict[str, Value] = {}  # name of a quantized value -> the same dequantized
        self.fused: set[str] = set()

    def grid(self, node: Node) -> Grid:
        """The grid of a quantize node."""
        return Grid(np.float32(self.weights[f"{node.name}.scale"]), int(self.weights[f"{node.name}.zero_point"]))

    def take(self, node: Node) -> None:
        """Emit the steps of one node, unless an earlier one took it in."""
        if node.name in self.fused:
            return
        inputs = tuple(self.values[i] for i in node.inputs)
        if node.op == "input":
            self.values[node.name] = Value(node.name, self.shapes[node.name])
        elif node.op == "quantize":
            self._quantize(node, inputs[0])
        elif node.op in _KEEPING:
            (x,) = inputs
            if node.op == "relu6" and x.grid is not None and not x.grid.holds_six:
                x = self._as_float(x)  # the number nearest to 6 is as far off as the grid is coarse
            self._emit(node, (x,), x.grid)
        else:
            self._compute(node, inputs)

    def _quantize(self, node: Node, x: Value) -> None:
        grid = self.grid(node)
        if x.grid == grid:
            self.values[node.name] = x
        else:
            self._emit(node, (x,), grid)

    def _compute(self, node: Node, inputs: tuple[Value, ...]) -> None:
        if node.op in FLOATING:
            self._emit(node, inputs, None)  # the writers read a grid's values in float
            return
        tail = list(self._tail(node))
        activation = next((n for n in tail if n.op in _ACTIVATIONS), None)
        quantizer = next((n for n in tail if n.op == "quantize"), None)
        wanted = node.op not in LAYERS or ("weight_bits" in node.attrs and _activations(node) == "static")
        if wanted and quantizer is not None and all(x.grid for x in inputs):
            self._emit(node, inputs, self.grid(quantizer), activation, quantizer)
        elif self._gives_float(node) and inputs[0].grid:
            self._emit(node, inputs, None, activation)
        else:
            self._emit(node, tuple(self._as_float(x) for x in inputs), None, activation)

    def _gives_float(self, node: Node) -> bool:
        """True for the integer layers of text models: they read a grid and give float."""
        static = "weight_bits" in node.attrs and _activations(node) == "static"
        return self.graph.pad_id is not None and node.op == "linear" and static

    def _tail(self, node: Node) -> Iterator[Node]:
        """The activation and the quantizer behind a node, as far as nothing else reads what stands before them."""
        for ops in (_ACTIVATIONS, ("quantize",)):
            users = self.graph.users(node.name)
            if node.name != self.graph.output and len(users) == 1 and users[0].op in ops:
                node = users[0]
                yield node

    def _as_float(self, x: Value) -> Value:
        if x.grid is None:
            return x
        if x.name not in self.floats:
            y = Value(f"{x.name}~", x.shape, None, x.non_negative, x.image)
            self.steps.append(Step("dequantize", x.name, (x,), y))
            self.floats[x.name] = y
        return self.floats[x.name]

    def _emit(
        self, node: Node, inputs: tuple[Value, ...], grid: Grid | None, activation: Node | None = None,
        quantizer: Node | None = None,
    ) -> None:  # fmt: skip
        integer = grid is not None or self._gives_float(node)
        parameters = _parameters(node, self.weights, inputs[0].grid if integer else None)
        if grid is not None and node.op != "quantize":
            grid = _reachable_grid(grid, inputs, parameters)
        taken = [n for n in (activation, quantizer) if n is not None]
        last = taken[-1] if taken else node
        kind: Any = activation.op if activation else ""
        positive = (kind or node.op) in _ACTIVATIONS or (grid is not None and grid.zero_point == 0)
        if node.op in ("max_pool", "avg_pool", "global_avg_pool", "flatten", "quantize"):
            positive |= inputs[0].non_negative
        output = Value(last.name, self.shapes[last.name], grid, positive, _image(node, inputs))
        self.steps.append(Step(node.op, node.name, inputs, output, node.attrs, kind, parameters))
        self.fused.update(n.name for n in taken)
        self.values[node.name] = self.values[last.name] = output


def _reachable_grid(grid: Grid, inputs: tuple[Value, ...], parameters: Parameters | None) -> Grid:
    """The grid, or a coarser one where a single unit of the sum would jump over most of it.

    That is the output of a dead layer, seen as constant zero while its range was taken: its grid spans next to nothing.
    """
    unit = max(float(x.grid.scale) for x in inputs if x.grid is not None)
    if parameters is not None and parameters.scale is not None:
        unit *= float(parameters.scale.max())
    return Grid(np.float32(max(float(grid.scale), unit / _LARGEST_RATIO)), grid.zero_point)


def _activations(node: Node) -> str:
    return str(node.attrs.get("activations", "static"))


def _image(node: Node, inputs: tuple[Value, ...]) -> Shape | None:
    if node.op == "flatten" and len(inputs[0].shape) == 3 and max(inputs[0].shape[1:]) > 1:
        return inputs[0].shape
    return None if node.op in ("linear", *FLOATING) else inputs[0].image


def _parameters(node: Node, weights: Mapping[str, NDArray[Any]], grid: Grid | None) -> Parameters | None:
    """A node's numbers as its kernel wants them; grid: of its input, where it is to run in integers."""
    if f"{node.name}.weight" not in weights:
        return None
    weight = np.asarray(weights[f"{node.name}.weight"], np.float32)
    bias = np.asarray(weights[f"{node.name}.bias"], np.float32) if f"{node.name}.bias" in weights else None
    if "weight_bits" not in node.attrs:
        return Parameters("float", weight, bias)
    bits, scale = node.attrs["weight_bits"], np.asarray(weights[f"{node.name}.weight_scale"], np.float32)
    if node.op == "embedding":
        return Parameters("integer", quantize_weight(weight, scale, bits), None, scale)
    if grid is not None:
        if bias is not None:
            # A channel pruned to zero has a tiny scale, in whose unit its bias would not fit 32 bits.
            scale = np.maximum(scale, np.abs(bias) / (grid.scale * _LARGEST_BIAS)).astype(np.float32)
        sums = None if bias is None else quantize_bias(bias, float(grid.scale), scale)
        return Parameters("integer", quantize_weight(weight, scale, bits), sums, scale)
    integers = quantize_weight(weight, scale, bits)
    if _activations(node) == "dynamic":
        return Parameters("dynamic-integer", integers, bias, scale)
    spread = scale.reshape(-1, *[1] * (weight.ndim - 1))
    return Parameters("float", integers.astype(np.float32) * spread, bias)
