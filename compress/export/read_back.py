"""Read the numbers of an exported int8 file back into the model it was written from.

What is judged is then what ships: weights, scales, biases and grids come from the file's own bytes, and the graph from
the checkpoint only says how they hang together.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from compress.errors import ExportError
from compress.export.lowering import Program, Step, lower
from compress.model.model import Model
from compress.model.rewrite import fold_batch_norm

_SHIFT = 128  # from TFLite's signed grid to the graph's unsigned one
_MOVES = ("max_pool", "flatten", "relu", "relu6", "dequantize")  # steps whose output stands on the grid of their input
Grids = Mapping[str, tuple[np.float32, np.int32]]


def read_back(data: bytes, kind: Literal["onnx", "tflite"], model: Model) -> Model:
    """The model with the numbers that the file holds: weights as stored integers times their scale, biases, grids.

    model: what the file was exported from (static int8, or partly float).

    Raises:
        ExportError: the file does not have the layers and grids of this model.
    """
    folded = fold_batch_norm(model)
    program = lower(folded)
    if program.pad_id is not None or any(p.kind == "dynamic-integer" for p in _parameters(program)):
        what = "text models and layers with dynamic activations cannot be read back"
        raise ExportError(what, f"{kind} file", "give a static int8 file of an image, sensor or table model")
    reader = _Onnx(data, program) if kind == "onnx" else _Tflite(data, program, folded)
    weights = dict(folded.weights)
    try:
        for step in program.steps:
            if step.parameters is not None:
                _take(weights, step, reader)
        for name, (scale, zero_point) in reader.grids().items():
            if f"{name}.scale" in weights:
                weights[f"{name}.scale"], weights[f"{name}.zero_point"] = np.asarray(scale), np.asarray(zero_point)
    except (KeyError, IndexError, ValueError, StopIteration) as error:
        what = f"it is not the export of this model: {error!r}"
        raise ExportError(what, f"{kind} file", "give the run that the file came from") from error
    return Model(folded.graph, weights)


def _parameters(program: Program) -> Iterator[Any]:
    return (s.parameters for s in program.steps if s.parameters is not None)


def _take(weights: dict[str, NDArray[Any]], step: Step, reader: "_Onnx | _Tflite") -> None:
    """One layer's numbers, in the shapes of the graph."""
    found, scale, bias = reader.layer(step)
    name, want = step.name, weights[f"{step.name}.weight"].shape
    spread = 1.0 if scale is None else scale.reshape(-1, *[1] * (len(want) - 1))
    weights[f"{name}.weight"] = (found.reshape(want).astype(np.float32) * spread).astype(np.float32)
    if scale is not None:
        weights[f"{name}.weight_scale"] = scale
    if bias is not None and f"{name}.bias" in weights:
        weights[f"{name}.bias"] = bias.reshape(want[:1]).astype(np.float32)


class _Onnx:
    """Layers by the names of their nodes; grids in the order of the QuantizeLinear nodes."""

    def __init__(self, data: bytes, program: Program) -> None:
        import onnx
        from onnx import numpy_helper

        try:
            graph = onnx.load_from_string(data).graph
        except Exception as error:  # protobuf's error types differ between its implementations
            raise ExportError(f"it is no ONNX file: {error}", "onnx file", "export the model again") from error
        self.program = program
        self.constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
        self.nodes = list(graph.node)
        self.sources = {n.output[0]: n for n in self.nodes}
        self.layers = {n.name: n for n in self.nodes if n.name}

    def layer(self, step: Step) -> tuple[NDArray[Any], NDArray[np.float32] | None, NDArray[Any] | None]:
        """Weight (integers where there is a scale), scale, bias."""
        node = self.layers[step.name]
        weight, scale = self._real(node.input[1])
        if step.op == "conv2d":
            weight = weight[:, : step.attrs["in_channels"] // step.attrs["groups"]]  # without the padding lanes
        bias = None
        if len(node.input) > 2:
            stored, unit = self._real(node.input[2])
            bias = stored if unit is None else stored.astype(np.float64) * unit
        return weight, scale, bias

    def _real(self, name: str) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
        if name in self.constants:
            return self.constants[name], None
        node = self.sources[name]
        return self.constants[node.input[0]], self.constants[node.input[1]]

    def grids(self) -> Grids:
        """By the name of the value that stands on it."""
        names = [s.output.name for s in self.program.steps if s.output.grid is not None and s.op not in _MOVES]
        found = [n for n in self.nodes if n.op_type == "QuantizeLinear"]
        if len(found) != len(names):
            raise ValueError(f"{len(found)} quantizers, the model has {len(names)}")
        numbers = [[self.constants[i] for i in n.input[1:3]] for n in found]
        return {n: (np.float32(s), np.int32(z)) for n, (s, z) in zip(names, numbers, strict=True)}


class _Tflite:
    """Layers by the names of their weights; grids by the number of the operator that gives a value."""

    def __init__(self, data: bytes, program: Program, model: Model) -> None:
        from ai_edge_litert import schema_py_generated as schema

        from compress.export.tflite import operators_of_values

        if data[4:8] != b"TFL3":
            raise ExportError("it is no TFLite file", "tflite file", "export the model again")
        file = schema.ModelT.InitFromPackedBuf(data)
        self.program, self.buffers, graph = program, file.buffers, file.subgraphs[0]
        self.tensors, self.operators, self.inputs = graph.tensors, graph.operators, graph.inputs
        self.types = {schema.TensorType.INT8: np.int8, schema.TensorType.INT32: np.int32,
                      schema.TensorType.FLOAT32: np.float32}  # fmt: skip
        named = {t.name.decode(): i for i, t in enumerate(self.tensors) if t.name}
        self.layers = {name: op for name, i in named.items() for op in self.operators if i in list(op.inputs)[1:2]}
        self.makers = operators_of_values(model)

    def layer(self, step: Step) -> tuple[NDArray[Any], NDArray[np.float32] | None, NDArray[Any] | None]:
        """Weight (integers where there is a scale) in the graph's order of axes, scale, bias."""
        inputs = self.layers[step.name].inputs
        weight, scale = self._constant(inputs[1])
        bias, unit = self._constant(inputs[2])
        if step.op == "conv2d":
            groups = step.attrs["groups"]
            depthwise = groups == step.attrs["in_channels"] and groups > 1
            weight = weight.transpose(3, 0, 1, 2) if depthwise else weight.transpose(0, 3, 1, 2)
        elif (image := step.inputs[0].image) is not None:  # back to the columns of a channel-first image
            c, h, w = image
            weight = weight.reshape(-1, h, w, c).transpose(0, 3, 1, 2)
        return weight, scale, bias if unit is None else bias.astype(np.float64) * unit

    def _constant(self, index: int) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
        tensor = self.tensors[index]
        content = np.asarray(self.buffers[tensor.buffer].data, np.uint8).tobytes()
        array = np.frombuffer(content, self.types[tensor.type]).reshape(tensor.shape)
        q = tensor.quantization
        return array, None if q is None or q.scale is None else np.asarray(q.scale, np.float32)

    def grids(self) -> Grids:
        """By the name of the value that stands on it."""
        out = {}
        for step in self.program.steps:
            if step.output.grid is None or step.op in _MOVES:
                continue
            index = (
                self.operators[self.makers[step.output.name]].outputs[0] if step.output.name in self.makers else None
            )
            if index is None and step.inputs[0].name == self.program.input.name:
                index = self.inputs[0]
            if index is None:
                raise KeyError(step.output.name)
            q = self.tensors[index].quantization
            out[step.output.name] = (np.float32(q.scale[0]), np.int32(int(q.zeroPoint[0]) + _SHIFT))
        return out
