"""Small nets for the export tests, and their quantized forms with grids from the range of one batch."""

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.model.graph import Graph, Node
from compress.model.model import Model
from compress.model.rewrite import fold_batch_norm
from compress.model.shapes import infer_shapes, parameter_shapes
from compress.numerics.affine import activation_grid, weight_scales
from compress.stages.placement import place_quantizers
from tests.unit.export.reference import run


class Net:
    """Appends nodes by op; `last` is the newest node."""

    def __init__(self, *shape: int) -> None:
        self.nodes = [Node("input", "input", (), {"shape": list(shape)})]

    @property
    def last(self) -> str:
        return self.nodes[-1].name

    @property
    def shape(self) -> tuple[int, ...]:
        return infer_shapes(Graph(tuple(self.nodes), self.last))[self.last]

    def add(self, op: str, *inputs: str, name: str = "", **attrs: Any) -> str:
        name = name or f"{op}{len(self.nodes)}"
        self.nodes.append(Node(name, op, inputs or (self.last,), attrs))
        return name

    def conv(
        self, cout: int, k: int | tuple[int, int] = 3, stride: int = 1, pad: int = 0, groups: int = 1, *,
        bias: bool = True, x: str = "",
    ) -> str:  # fmt: skip
        cin = infer_shapes(Graph(tuple(self.nodes), self.last))[x or self.last][0]
        kernel = [k, k] if isinstance(k, int) else list(k)
        return self.add("conv2d", x or self.last, in_channels=cin, out_channels=cout, kernel=kernel,
                        stride=[stride, stride], padding=[pad, pad], groups=groups, bias=bias)  # fmt: skip

    def pool(self, op: str, k: int, stride: int, pad: int = 0) -> str:
        return self.add(op, kernel=[k, k], stride=[stride, stride], padding=[pad, pad])

    def linear(self, out: int, *, bias: bool = True) -> str:
        return self.add("linear", in_features=self.shape[0], out_features=out, bias=bias)

    def model(self, seed: int = 0) -> Model:
        return random_model(Graph(tuple(self.nodes), self.last), seed)


def random_model(graph: Graph, seed: int = 0) -> Model:
    """Weights that keep the values near one; biases and norms far from trivial."""
    rng = np.random.default_rng(seed)
    weights: dict[str, NDArray[Any]] = {}
    for node in graph:
        for name, shape in parameter_shapes(node).items():
            values = rng.normal(0.0, 1.0, shape)
            if name == "weight" and len(shape) > 1:
                values *= (1.5 / np.prod(shape[1:])) ** 0.5
            elif name in ("running_var", "weight"):
                values = 0.5 + np.abs(values)
            else:
                values *= 0.3
            weights[f"{node.name}.{name}"] = np.asarray(values, np.float32)
    return Model(graph, weights)


def inputs(model: Model, count: int = 4, seed: int = 1) -> NDArray[np.float32]:
    """Normal numbers, (count, *input_shape)."""
    return np.random.default_rng(seed).normal(0.0, 1.0, (count, *model.graph.input_shape)).astype(np.float32)


def quantized(model: Model, x: NDArray[np.float32], *, bits: int = 8, keep_float: Collection[str] = ()) -> Model:
    """Static int8, placed as the quantize stage does; grids span what `x` gives."""
    model = fold_batch_norm(model)
    chosen = [n.name for n in model.graph.layers if n.name not in keep_float]
    graph, grids = place_quantizers(model.graph, chosen, bits)
    values, weights = run(model, x), dict(model.weights)
    for name in chosen:
        weights[f"{name}.weight_scale"] = weight_scales(weights[f"{name}.weight"], bits)
    for grid, tensor in grids.items():
        scale, zero_point = activation_grid(float(values[tensor].min()), float(values[tensor].max()))
        weights[f"{grid}.scale"], weights[f"{grid}.zero_point"] = np.asarray(scale), np.asarray(zero_point)
    return Model(graph, weights)


def dynamic(model: Model, bits: int = 8) -> Model:
    """Dynamic int8: integer weights, ranges of activations found while running."""
    model = fold_batch_norm(model)
    weights = dict(model.weights)
    nodes = []
    for node in model.graph:
        if node.op in ("conv2d", "linear"):
            weights[f"{node.name}.weight_scale"] = weight_scales(weights[f"{node.name}.weight"], bits)
            node = node.with_attrs(weight_bits=bits, activations="dynamic")
        nodes.append(node)
    return Model(model.graph.with_nodes(nodes), weights)
