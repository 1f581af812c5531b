"""A classifier from an ONNX file as a Model: in our own operators where it can be said in them, else as one node.

A graph of convolutions, poolings, additions and linear layers becomes a Model like any other: it can be trained on,
pruned and quantized. Anything else becomes a single `onnx` node that holds the file and is run by ONNX Runtime: it can
be learnt from, exported as it is and measured, and nothing more. A softmax at the end is cut off: what teaches is
logits.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.errors import CompressError, ModelError, ShapeError
from compress.model.graph import Graph, Node
from compress.model.model import Model
from compress.model.shapes import infer_shapes

Shape = tuple[int, ...]


class _Unmapped(Exception):
    """An operator that our graph cannot say."""


def read_onnx_model(path: Path, input_shape: Shape) -> Model:
    """The classifier in a file, for examples of this shape (c, h, w) or (features,).

    Raises:
        ModelError: the file cannot be used, takes something else, or is no plain classifier.
    """
    return _read(str(path), file_digest(path), tuple(input_shape))


def file_digest(path: Path) -> str:
    """sha256 of the file, or of the one that a folder holds, with what it keeps in other files.

    Raises:
        ModelError: it cannot be used.
    """
    from compress.onnx_file.open import open_onnx

    return open_onnx(path).sha256


@lru_cache(maxsize=4)
def _read(path: str, _digest: str, input_shape: Shape) -> Model:
    from compress.onnx_file.open import open_onnx
    from compress.onnx_file.prepare import prepare

    prepared = prepare(open_onnx(Path(path)))
    model, signature = prepared.model, prepared.signature
    if len(signature.inputs) != 1 or len(signature.outputs) != 1 or len(signature.outputs[0].shape) != 2:
        what = f"it takes {len(signature.inputs)} inputs and gives {', '.join(map(str, signature.outputs))}"
        raise ModelError(what, path, "a teacher is a plain classifier: one input, one output (batch, classes)")
    _shape_input(model, signature.inputs[0], input_shape, path)
    _cut_softmax(model)
    try:
        return _Importer(model, input_shape).model()
    except (_Unmapped, ShapeError, ModelError) as error:
        why = error.what if isinstance(error, CompressError) else str(error)
        return _opaque(model, input_shape, why, path)


def _shape_input(model: Any, tensor: Any, input_shape: Shape, path: str) -> None:
    """Channel first: a file that wants channel last loses the Transpose it begins with, or gets one in front."""
    if tensor.dtype != "float32":
        raise ModelError(f"it takes {tensor}", path, "a teacher takes float32 examples as the data gives them")
    rest = tensor.shape[1:]
    last = (*input_shape[1:], input_shape[0]) if len(input_shape) == 3 else None

    def fits(shape: Shape | None) -> bool:
        return shape is not None and len(rest) == len(shape) and all(
            a is None or a == b for a, b in zip(rest, shape, strict=True))  # fmt: skip

    if not fits(input_shape) and not fits(last):
        what = f"it takes {tensor}, the data gives {list(input_shape)}"
        raise ModelError(what, path, "use the data it was trained on")
    value = model.graph.input[0]
    if not fits(input_shape):
        _turn_input(model, value)
    dims = value.type.tensor_type.shape.dim
    for dim, size in zip(list(dims)[1:], input_shape, strict=True):
        dim.Clear()
        dim.dim_value = size


def _turn_input(model: Any, value: Any) -> None:
    from onnx import helper

    old, value.name = value.name, f"{value.name}_channel_first"
    readers = [n for n in model.graph.node if old in n.input]
    if all(n.op_type == "Transpose" and _attributes(n).get("perm") == [0, 3, 1, 2] for n in readers):
        turned = {n.output[0] for n in readers}
        for node in readers:
            model.graph.node.remove(node)
        for node in model.graph.node:
            node.input[:] = [value.name if i in turned else i for i in node.input]
        return
    turn = helper.make_node("Transpose", [value.name], [old], name="to_channel_last", perm=[0, 2, 3, 1])
    model.graph.node.insert(0, turn)


def _cut_softmax(model: Any) -> None:
    output = model.graph.output[0]
    last = next(n for n in model.graph.node if output.name in n.output)
    if last.op_type in ("Softmax", "LogSoftmax"):
        raw = last.input[0]
        model.graph.node.remove(last)
        output.name = raw


def _opaque(model: Any, input_shape: Shape, why: str, path: str) -> Model:
    """One node that holds the file. Shape inference must know how many classes there are."""
    import onnx
    from onnx import numpy_helper

    del model.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    dims = inferred.graph.output[0].type.tensor_type.shape.dim
    if len(dims) != 2 or not dims[1].dim_value:
        raise ModelError("it does not say how many classes it gives", path, "export it with a fixed number of classes")
    model.graph.output[0].CopyFrom(inferred.graph.output[0])
    data = np.frombuffer(model.SerializeToString(), np.uint8)
    numbers = sum(int(np.prod(i.dims)) for i in model.graph.initializer
                  if numpy_helper.to_array(i).dtype.kind == "f")  # fmt: skip
    nodes = (
        Node("input", "input", (), {"shape": list(input_shape)}),
        Node("file", "onnx", ("input",), {"bytes": len(data), "classes": int(dims[1].dim_value),
                                          "parameters": numbers, "why": why}),
    )  # fmt: skip
    return Model(Graph(nodes, "file"), {"file.content": data})


class _Importer:
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
        """The whole; raises _Unmapped, ShapeError or ModelError where it cannot be said."""
        for node in self.graph.node:
            if node.op_type == "Constant":
                self._constant(node)
                continue
            handler = getattr(self, f"_{node.op_type.lower()}", None)
            if handler is None:
                raise _Unmapped(f"operator {node.op_type}")
            handler(node, _attributes(node))
        graph = Graph(tuple(self.nodes), self.values[self.graph.output[0].name])
        infer_shapes(graph)
        return Model(graph, self.weights)

    def _constant(self, node: Any) -> None:
        from onnx import numpy_helper

        value = _attributes(node).get("value")
        if value is None:
            raise _Unmapped("a Constant without a tensor")
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
            raise _Unmapped(f"a constant where {name!r} should be computed")
        return self.values[name]

    def _parameter(self, name: str) -> NDArray[Any]:
        if name not in self.constants:
            raise _Unmapped("weights that are computed")
        return self.constants[name].astype(np.float32)

    def _shape_of(self, name: str) -> Shape:
        return infer_shapes(Graph(tuple(self.nodes), name))[name]

    def _conv(self, node: Any, a: Mapping[str, Any]) -> None:
        weight = self._parameter(node.input[1])
        if weight.ndim != 4:
            raise _Unmapped(f"a convolution with {weight.ndim - 2} dimensions")
        window = _window(a, list(weight.shape[2:]))
        bias = self._parameter(node.input[2]) if len(node.input) > 2 else None
        groups = int(a.get("group", 1))
        attrs = {"in_channels": int(weight.shape[1]) * groups, "out_channels": int(weight.shape[0]), **window,
                 "groups": groups, "bias": bias is not None}  # fmt: skip
        name = self._add_node(node, "conv2d", (self._source(node.input[0]),), attrs)
        self._store(name, weight, bias)

    def _gemm(self, node: Any, a: Mapping[str, Any]) -> None:
        if a.get("transA", 0) or a.get("alpha", 1.0) != 1.0 or a.get("beta", 1.0) != 1.0:
            raise _Unmapped("a Gemm that scales or turns its input")
        weight = self._parameter(node.input[1])
        weight = weight if a.get("transB", 0) else weight.T
        bias = self._parameter(node.input[2]).reshape(-1) if len(node.input) > 2 else None
        if bias is not None and len(bias) != len(weight):
            bias = np.broadcast_to(bias, (len(weight),)).astype(np.float32)
        self._linear(node, weight, bias)

    def _matmul(self, node: Any, a: Mapping[str, Any]) -> None:
        weight = self._parameter(node.input[1])
        if weight.ndim != 2:
            raise _Unmapped("a product with more than two dimensions")
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
            raise _Unmapped(f"a Clip to {limits}")
        self._add_node(node, "relu6", (self._source(node.input[0]),), {})

    def _add(self, node: Any, a: Mapping[str, Any]) -> None:
        self._add_node(node, "add", tuple(self._source(i) for i in node.input), {})

    def _maxpool(self, node: Any, a: Mapping[str, Any]) -> None:
        if len(node.output) > 1:
            raise _Unmapped("a MaxPool that also gives indices")
        self._add_node(node, "max_pool", (self._source(node.input[0]),), _window(a, list(a["kernel_shape"])))

    def _averagepool(self, node: Any, a: Mapping[str, Any]) -> None:
        window = _window(a, list(a["kernel_shape"]))
        if a.get("count_include_pad", 0) and any(window["padding"]):
            raise _Unmapped("an AveragePool that counts its padding")
        self._add_node(node, "avg_pool", (self._source(node.input[0]),), window)

    def _globalaveragepool(self, node: Any, a: Mapping[str, Any]) -> None:
        self._add_node(node, "global_avg_pool", (self._source(node.input[0]),), {})

    def _reducemean(self, node: Any, a: Mapping[str, Any]) -> None:
        axes = a.get("axes") or (self.constants[node.input[1]].tolist() if len(node.input) > 1 else [])
        if sorted(x % 4 for x in axes) != [2, 3] or len(self._shape_of(self._source(node.input[0]))) != 3:
            raise _Unmapped(f"a ReduceMean over {axes}")
        self._globalaveragepool(node, a)

    def _flatten(self, node: Any, a: Mapping[str, Any]) -> None:
        source = self._source(node.input[0])
        if a.get("axis", 1) != 1:
            raise _Unmapped("a Flatten that is not over the batch")
        if len(self._shape_of(source)) == 1:  # ours is flat after a global pooling
            self.values[node.output[0]] = source
        else:
            self._add_node(node, "flatten", (source,), {})

    def _reshape(self, node: Any, a: Mapping[str, Any]) -> None:
        target = self.constants.get(node.input[1])
        size = int(np.prod(self._shape_of(self._source(node.input[0]))))
        if target is None or len(target) != 2 or target[1] not in (-1, size):
            raise _Unmapped("a Reshape to anything but (batch, features)")
        self._flatten(node, {})

    def _squeeze(self, node: Any, a: Mapping[str, Any]) -> None:
        source = self._source(node.input[0])
        if len(self._shape_of(source)) != 1:
            raise _Unmapped("a Squeeze of a tensor that is not flat")
        self.values[node.output[0]] = source

    def _identity(self, node: Any, a: Mapping[str, Any]) -> None:
        self.values[node.output[0]] = self._source(node.input[0])

    _dropout = _identity


def _attributes(node: Any) -> dict[str, Any]:
    from onnx import helper

    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def _window(a: Mapping[str, Any], kernel: list[int]) -> dict[str, list[int]]:
    """Kernel, stride and padding of a convolution or pooling; what ours cannot say is unmapped."""
    pads = list(a.get("pads", [0] * 4))
    auto = a.get("auto_pad", b"NOTSET").decode()
    if auto == "VALID":
        pads = [0] * 4
    elif auto != "NOTSET":
        raise _Unmapped(f"auto_pad {auto}")
    if len(kernel) != 2 or pads[:2] != pads[2:] or any(d != 1 for d in a.get("dilations", [1, 1])):
        raise _Unmapped("an uneven padding, a dilation, or a window that is not two-dimensional")
    if a.get("ceil_mode", 0):
        raise _Unmapped("a pooling that rounds its size up")
    return {"kernel": [int(k) for k in kernel], "stride": list(a.get("strides", [1, 1])), "padding": pads[:2]}
