"""The operators of an ONNX graph as nodes of ours, where they can be said in them."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.model.graph import Graph, Node
from compress.model.model import Model
from compress.model.shapes import Shape, infer_shapes


class Unmapped(Exception):
    """An operator that our graph cannot say."""


class Importer:
    """Node by node from an ONNX graph (batch norm folded, topological order) to ours."""

    def __init__(self, model: Any, input_shape: Shape) -> None:
        from onnx import numpy_helper

        self.graph = model.graph
        self.constants = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
        self.nodes = [Node("input", "input", (), {"shape": list(input_shape)})]
        self.weights: dict[str, NDArray[Any]] = {}
        self.values = {model.graph.input[0].name: "input"}  # ONNX tensor -> our node
        self.taken = {"input"}

    def model(self) -> Model:
        """The whole; raises Unmapped, ShapeError or ModelError where it cannot be said."""
        for node in self.graph.node:
            if node.op_type == "Constant":
                self._constant(node)
                continue
            handler = getattr(self, f"_{node.op_type.lower()}", None)
            if handler is None:
                raise Unmapped(f"operator {node.op_type}")
            handler(node, attributes_of(node))
        graph = Graph(tuple(self.nodes), self.values[self.graph.output[0].name])
        infer_shapes(graph)
        return Model(graph, self.weights)

    def _constant(self, node: Any) -> None:
        from onnx import numpy_helper

        value = attributes_of(node).get("value")
        if value is None:
            raise Unmapped("a Constant without a tensor")
        self.constants[node.output[0]] = numpy_helper.to_array(value)

    def _add_node(self, node: Any, op: str, inputs: tuple[str, ...], attrs: Mapping[str, Any]) -> str:
        stem = re.sub(r"\W+", "_", node.name).strip("_") or op
        name = stem = stem if stem[0].isalpha() else f"n{stem}"
        number = 1
        while name in self.taken:
            number += 1
            name = f"{stem}_{number}"
        self.taken.add(name)
        self.nodes.append(Node(name, op, inputs, dict(attrs)))
        self.values[node.output[0]] = name
        return name

    def _source(self, name: str) -> str:
        if name not in self.values:
            raise Unmapped(f"a constant where {name!r} should be computed")
        return self.values[name]

    def _parameter(self, name: str) -> NDArray[Any]:
        if name not in self.constants:
            raise Unmapped("weights that are computed")
        return self.constants[name].astype(np.float32)

    def _shape_of(self, name: str) -> Shape:
        return infer_shapes(Graph(tuple(self.nodes), name))[name]

    def _conv(self, node: Any, a: Mapping[str, Any]) -> None:
        weight = self._parameter(node.input[1])
        if weight.ndim != 4:
            raise Unmapped(f"a convolution with {weight.ndim - 2} dimensions")
        window = _window(a, list(weight.shape[2:]))
        bias = self._parameter(node.input[2]) if len(node.input) > 2 else None
        groups = int(a.get("group", 1))
        if len(self._shape_of(self._source(node.input[0]))) == 1 and weight.shape[2:] == (1, 1) and groups == 1:
            if any(window["padding"]):
                raise Unmapped("a padded window over a single pixel")
            self._linear(node, weight[:, :, 0, 0], bias)  # behind a global pooling
            return
        attrs = {"in_channels": int(weight.shape[1]) * groups, "out_channels": int(weight.shape[0]), **window,
                 "groups": groups, "bias": bias is not None}  # fmt: skip
        name = self._add_node(node, "conv2d", (self._source(node.input[0]),), attrs)
        self._store(name, weight, bias)

    def _gemm(self, node: Any, a: Mapping[str, Any]) -> None:
        if a.get("transA", 0) or a.get("alpha", 1.0) != 1.0 or a.get("beta", 1.0) != 1.0:
            raise Unmapped("a Gemm that scales or turns its input")
        weight = self._parameter(node.input[1])
        weight = weight if a.get("transB", 0) else weight.T
        bias = self._parameter(node.input[2]).reshape(-1) if len(node.input) > 2 else None
        if bias is not None and len(bias) != len(weight):
            bias = np.broadcast_to(bias, (len(weight),)).astype(np.float32)
        self._linear(node, weight, bias)

    def _matmul(self, node: Any, a: Mapping[str, Any]) -> None:
        weight = self._parameter(node.input[1])
        if weight.ndim != 2:
            raise Unmapped("a product with more than two dimensions")
        self._linear(node, weight.T, None)

    def _linear(self, node: Any, weight: NDArray[Any], bias: NDArray[Any] | None) -> None:
        attrs = {"in_features": int(weight.shape[1]), "out_features": int(weight.shape[0]), "bias": bias is not None}
        name = self._add_node(node, "linear", (self._source(node.input[0]),), attrs)
        self._store(name, weight, bias)

    def _store(self, name: str, weight: NDArray[Any], bias: NDArray[Any] | None) -> None:
        self.weights[f"{name}.weight"] = np.ascontiguousarray(weight)
        if bias is not None:
            self.weights[f"{name}.bias"] = np.ascontiguousarray(bias)

    def _relu(self, node: Any, a: Mapping[str, Any]) -> None:
        self._add_node(node, "relu", (self._source(node.input[0]),), {})

    def _clip(self, node: Any, a: Mapping[str, Any]) -> None:
        limits = [float(self._parameter(n)) for n in node.input[1:3] if n]
        if limits != [0.0, 6.0]:
            raise Unmapped(f"a Clip to {limits}")
        self._add_node(node, "relu6", (self._source(node.input[0]),), {})

    def _add(self, node: Any, a: Mapping[str, Any]) -> None:
        self._add_node(node, "add", tuple(self._source(i) for i in node.input), {})

    def _maxpool(self, node: Any, a: Mapping[str, Any]) -> None:
        if len(node.output) > 1:
            raise Unmapped("a MaxPool that also gives indices")
        self._add_node(node, "max_pool", (self._source(node.input[0]),), _window(a, list(a["kernel_shape"])))

    def _averagepool(self, node: Any, a: Mapping[str, Any]) -> None:
        window = _window(a, list(a["kernel_shape"]))
        if a.get("count_include_pad", 0) and any(window["padding"]):
            raise Unmapped("an AveragePool that counts its padding")
        self._add_node(node, "avg_pool", (self._source(node.input[0]),), window)

    def _globalaveragepool(self, node: Any, a: Mapping[str, Any]) -> None:
        self._add_node(node, "global_avg_pool", (self._source(node.input[0]),), {})

    def _reducemean(self, node: Any, a: Mapping[str, Any]) -> None:
        axes = a.get("axes") or (self.constants[node.input[1]].tolist() if len(node.input) > 1 else [])
        if sorted(x % 4 for x in axes) != [2, 3] or len(self._shape_of(self._source(node.input[0]))) != 3:
            raise Unmapped(f"a ReduceMean over {axes}")
        self._globalaveragepool(node, a)

    def _flatten(self, node: Any, a: Mapping[str, Any]) -> None:
        source = self._source(node.input[0])
        if a.get("axis", 1) != 1:
            raise Unmapped("a Flatten that is not over the batch")
        if len(self._shape_of(source)) == 1:  # ours is flat after a global pooling
            self.values[node.output[0]] = source
        else:
            self._add_node(node, "flatten", (source,), {})

    def _reshape(self, node: Any, a: Mapping[str, Any]) -> None:
        target = self.constants.get(node.input[1])
        size = int(np.prod(self._shape_of(self._source(node.input[0]))))
        if target is None or len(target) != 2 or target[1] not in (-1, size):
            raise Unmapped("a Reshape to anything but (batch, features)")
        self._flatten(node, {})

    def _squeeze(self, node: Any, a: Mapping[str, Any]) -> None:
        source = self._source(node.input[0])
        if len(self._shape_of(source)) != 1:
            raise Unmapped("a Squeeze of a tensor that is not flat")
        self.values[node.output[0]] = source

    def _identity(self, node: Any, a: Mapping[str, Any]) -> None:
        self.values[node.output[0]] = self._source(node.input[0])

    _dropout = _identity


def attributes_of(node: Any) -> dict[str, Any]:
    """Name -> value."""
    from onnx import helper

    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def _window(a: Mapping[str, Any], kernel: list[int]) -> dict[str, list[int]]:
    """Kernel, stride and padding of a convolution or pooling; what ours cannot say is unmapped."""
    pads = list(a.get("pads", [0] * 4))
    auto = a.get("auto_pad", b"NOTSET").decode()
    if auto == "VALID":
        pads = [0] * 4
    elif auto != "NOTSET":
        raise Unmapped(f"auto_pad {auto}")
    if len(kernel) != 2 or pads[:2] != pads[2:] or any(d != 1 for d in a.get("dilations", [1, 1])):
        raise Unmapped("an uneven padding, a dilation, or a window that is not two-dimensional")
    if a.get("ceil_mode", 0):
        raise Unmapped("a pooling that rounds its size up")
    return {"kernel": [int(k) for k in kernel], "stride": list(a.get("strides", [1, 1])), "padding": pads[:2]}
