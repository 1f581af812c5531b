"""Graph to ONNX, without torch: float32, static int8 (QDQ) and dynamic int8.

Static int8 is unsigned 8-bit activations and signed 8-bit weights per output channel, the pair that is fast on x86,
as QuantizeLinear and DequantizeLinear around float operators, so that ONNX Runtime turns whole chains into integer
kernels. Opset 13 and IR 7: read by every engine since 2020; text models use opset 17 (2022), which has layer norms.

The bytes depend on the model alone. Tensors have names of one or two letters: on a small net the names that exporters
usually write weigh as much as a layer. Only the nodes of layers keep their names, by which the counts find them.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from compress.export.joined import join_projections
from compress.export.lowering import Grid, Parameters, Program, Step, Value, lower
from compress.export.onnx_text import TextWriter
from compress.model.graph import FLOATING
from compress.model.model import Model

INPUT, OUTPUT = "input", "logits"
TEXT_INPUT = "input_ids"
OPSET, IR_VERSION = 13, 7
_TEXT_OPSET, _TEXT_IR = 17, 8
_CHANNELS = 4  # what an integer convolution of the input image is filled up to a multiple of
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def to_onnx(model: Model, *, name: str) -> bytes:
    """Write a model as an ONNX file: float32 or int8, layer by layer, as the graph says.

    Input `input`: float32 (N, *input_shape); output `logits`: float32 (N, classes). N is free, but 1 where a layer has
    dynamic activations: it finds the range of the whole batch, so an answer would depend on the other examples in it.
    Of a text model the input is `input_ids`: int64 (N, L), N and L free, the mask computed from the padding id.

    Raises:
        ExportError: the graph does not end in a vector of logits.
    """
    program = join_projections(lower(model))
    writer = _Writer(program)
    for step in program.steps:
        writer.write(step)
    writer.finish()
    batch = 1 if writer.dynamic else "N"
    if program.pad_id is None:
        inputs = [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [batch, *program.input.shape])]
    else:
        inputs = [helper.make_tensor_value_info(TEXT_INPUT, TensorProto.INT64, [batch, "L"])]
    outputs = [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [batch, *program.output.shape])]
    graph = helper.make_graph(writer.nodes, name, inputs, outputs, list(writer.initializers.values()))
    opset, ir_version = (OPSET, IR_VERSION) if program.pad_id is None else (_TEXT_OPSET, _TEXT_IR)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    onnx.checker.check_model(proto, full_check=True)
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


class _Writer:
    """Collects nodes and initializers. Each value has its stored tensor; a quantized one a float one too, on demand."""

    def __init__(self, program: Program) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[tuple[Any, ...], onnx.TensorProto] = {}
        self.output = program.output
        self.tensors = {program.input.name: INPUT if program.pad_id is None else TEXT_INPUT}
        self.entries = {s.output.name for s in program.steps if s.op == "quantize" and s.inputs[0] == program.input}
        self.dequantized: dict[str, str] = {}
        self.dynamic: dict[str, list[str]] = {}
        self.names = _short_names()
        self.text = None if program.pad_id is None else TextWriter(self, program)
        if program.output.grid is None:
            self.tensors[program.output.name] = OUTPUT

    def finish(self) -> None:
        """Give the logits in float, if they are not."""
        if self.output.grid is not None:
            self.node("DequantizeLinear", [self.tensor(self.output), *self._grid(self.output.grid)], OUTPUT)

    def tensor(self, value: Value) -> str:
        """Name of a value's stored tensor: uint8 where it has a grid, else float."""
        if value.name not in self.tensors:
            self.tensors[value.name] = next(self.names)
        return self.tensors[value.name]

    def real(self, value: Value) -> str:
        """Name of the float tensor an operator reads."""
        if value.grid is None:
            return self.tensor(value)
        if value.name not in self.dequantized:
            self.dequantized[value.name] = self.node("DequantizeLinear", [self.tensor(value), *self._grid(value.grid)])
        return self.dequantized[value.name]

    def write(self, step: Step) -> None:
        """Emit one step."""
        x, grid = step.inputs[0], step.output.grid
        if self.text is not None and step.op in FLOATING:
            self.text.write(step)
        elif step.op == "dequantize" and x.grid is not None:
            # A layer is to read this in float. Between a bare dequantizer and a quantizer ONNX Runtime would give it
            # integer weights of its own making (WeightBiasQuantization); a clip at the grid's end, which changes no
            # value, prevents it.
            lowest = self.constant(-x.grid.zero_point * x.grid.scale)
            self.node("Clip", [self.real(x), lowest], self.tensor(step.output))
        elif step.op == "quantize" and grid is not None:
            self.node("QuantizeLinear", [self.real(x), *self._grid(grid)], self.tensor(step.output))
        elif step.op in ("max_pool", "flatten"):  # as they are on integers
            attrs = _window(step) if step.op == "max_pool" else {}
            op = "MaxPool" if step.op == "max_pool" else "Flatten"
            self.node(op, [self.tensor(x)], self.tensor(step.output), **attrs)
        elif step.op in ("relu", "relu6"):
            self._activation(step.op, grid, self.tensor(x), self.tensor(step.output))
        else:
            self._compute(step)

    def _compute(self, step: Step) -> None:
        """An operator and what follows it: the quantizer of an integer one, flatten, an activation."""
        grid = step.output.grid
        parts: list[Callable[[str, str | None], str]] = [lambda _, out: self._operator(step, out)]
        if grid is not None:
            parts.append(lambda x, out: self.node("QuantizeLinear", [x, *self._grid(grid)], out))
        if step.op == "global_avg_pool":
            parts.append(lambda x, out: self.node("Flatten", [x], out))
        if step.activation and not (grid and grid.clips_as(step.activation)):
            parts.append(lambda x, out: self._activation(step.activation, grid, x, out))
        result = ""
        for part in parts[:-1]:
            result = part(result, None)
        parts[-1](result, self.tensor(step.output))

    def _operator(self, step: Step, out: str | None) -> str:
        p = step.parameters
        if p is not None and p.kind == "dynamic-integer":
            return self._dynamic(step, p, out)
        if step.op == "conv2d" and p is not None and p.kind == "integer" and step.inputs[0].name in self.entries:
            step = self._widened(step, p)
            p = step.parameters
        inputs = [self.real(x) for x in step.inputs]
        if p is not None:
            inputs += self._layer(step, p)
        if step.op == "conv2d":
            return self.node("Conv", inputs, out, name=step.name, **_window(step))
        if step.op == "linear":
            return self.node("Gemm", inputs, out, name=step.name, transB=1)
        if step.op == "add":
            return self.node("Add", inputs, out)
        if step.op == "avg_pool":
            return self.node("AveragePool", inputs, out, **_window(step))
        return self.node("GlobalAveragePool", inputs, out)

    def _widened(self, step: Step, p: Parameters) -> Step:
        """A convolution of the image itself, its channels filled up with zeros to a multiple of four.

        ONNX Runtime's fast integer convolution takes no other number; on a grey image it is 8 % of ResNet-8's time.
        """
        x, lanes = step.inputs[0], -step.inputs[0].shape[0] % _CHANNELS
        if not lanes or step.attrs["groups"] > 1:
            return step
        wide = replace(x, name=f"{x.name}+", shape=(x.shape[0] + lanes, *x.shape[1:]))
        if wide.name not in self.tensors:  # several may read the image
            amounts = self.constant(np.array([0, 0, 0, 0, 0, lanes, 0, 0], np.int64))
            self.node("Pad", [self.tensor(x), amounts], self.tensor(wide))
        weight = np.pad(p.weight, ((0, 0), (0, lanes), (0, 0), (0, 0)))
        return replace(step, inputs=(wide,), parameters=replace(p, weight=weight))

    def _layer(self, step: Step, p: Parameters) -> list[str]:
        """Float tensors of a layer's weight and bias; stored as integers where the layer is integer."""
        if p.kind == "float" or p.scale is None or step.inputs[0].grid is None:
            return [self.constant(a) for a in (p.weight, p.bias) if a is not None]
        weight = [self.constant(p.weight), self.constant(p.scale)]
        if step.op == "linear":  # ONNX Runtime leaves a Gemm in float whose weight does not spell out its zero points
            weight.append(self.constant(np.zeros(len(p.weight), np.int8)))
        out = [self.node("DequantizeLinear", weight, axis=0)]
        if p.bias is not None:
            scale = self.constant(step.inputs[0].grid.scale * p.scale)
            out.append(self.node("DequantizeLinear", [self.constant(p.bias), scale], axis=0))
        return out

    def _dynamic(self, step: Step, p: Parameters, out: str | None) -> str:
        """y = (x_q conv w_q) * (s_x * s_w) + b, the range of x found while running."""
        x = step.inputs[0]
        if x.name not in self.dynamic:
            self.dynamic[x.name] = [next(self.names) for _ in range(3)]
            node = helper.make_node("DynamicQuantizeLinear", [self.real(x)], self.dynamic[x.name])
            self.nodes.append(node)
        integers, scale, zero_point = self.dynamic[x.name]
        spread = (-1, 1, 1) if step.op == "conv2d" else (-1,)
        assert p.scale is not None
        if step.op == "conv2d":
            inputs = [integers, self.constant(p.weight), zero_point]
            sums = self.node("ConvInteger", inputs, name=step.name, **_window(step))
        else:
            sums = self.node("MatMulInteger", [integers, self.constant(p.weight.T), zero_point], name=step.name)
        real = self.node("Cast", [sums], to=TensorProto.FLOAT)
        factor = self.node("Mul", [scale, self.constant(p.scale.reshape(spread))])
        result = self.node("Mul", [real, factor], out if p.bias is None else None)
        return result if p.bias is None else self.node("Add", [result, self.constant(p.bias.reshape(spread))], out)

    def _activation(self, kind: str, grid: Grid | None, x: str, out: str | None) -> str:
        """In float, or as a clip of integers, which gives what quantizing after the activation would give."""
        if grid is not None:
            limits = [np.uint8(grid.zero_point)] + [np.uint8(grid.quantize(6.0))] * (kind == "relu6")
            return self.node("Clip", [x, *(self.constant(limit) for limit in limits)], out)
        if kind == "relu6":
            return self.node("Clip", [x, self.constant(np.float32(0)), self.constant(np.float32(6))], out)
        return self.node("Relu", [x], out)

    def _grid(self, grid: Grid) -> list[str]:
        return [self.constant(grid.scale), self.constant(np.uint8(grid.zero_point))]

    def constant(self, array: NDArray[Any] | np.generic) -> str:
        """Name of an initializer; equal constants are stored once."""
        array = np.asarray(array)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self.initializers:
            self.initializers[key] = numpy_helper.from_array(np.array(array, order="C"), next(self.names))
        name: str = self.initializers[key].name
        return name

    def node(self, op: str, inputs: list[str], out: str | None = None, **attrs: Any) -> str:
        """Emit an operator; returns the name of its output."""
        out = out or next(self.names)
        self.nodes.append(helper.make_node(op, inputs, [out], **attrs))
        return out

    def split(self, x: str, parts: int, axis: int) -> list[str]:
        """Emit a Split; returns the names of its equal parts."""
        out = [next(self.names) for _ in range(parts)]
        self.nodes.append(helper.make_node("Split", [x], out, axis=axis))
        return out


def _window(step: Step) -> dict[str, Any]:
    """Attributes of a convolution or pooling; what equals the standard's default is left out."""
    a = step.attrs
    out: dict[str, Any] = {"kernel_shape": list(a["kernel"])}
    if list(a["stride"]) != [1, 1]:
        out["strides"] = list(a["stride"])
    if any(a["padding"]):
        out["pads"] = [*a["padding"], *a["padding"]]
    if a.get("groups", 1) != 1:
        out["group"] = a["groups"]
    return out


def _short_names() -> Iterator[str]:
    """a, b, ..., Z, aa, ab, ..."""
    for length in count(1):
        for i in range(len(_LETTERS) ** length):
            yield "".join(_LETTERS[i // len(_LETTERS) ** k % len(_LETTERS)] for k in range(length))
