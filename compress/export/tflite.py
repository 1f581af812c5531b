"""Graph to TFLite, without TensorFlow: float32, float16 weights, full-integer int8 and dynamic int8.

The same grids as in the ONNX file, shifted by 128 to signed activations. Tensors are channel last. Weights are named
`<layer>`, by which the counts find them; other tensors have no names.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from compress.errors import ExportError
from compress.export.flatbuffer import Operator, Quantization, Tensor
from compress.export.joined import join_projections
from compress.export.lowering import Grid, Parameters, Program, Step, Value, lower
from compress.export.tflite_tensors import ACTIVATIONS, CONV_VERSION, SHIFT, Tensors, of_pixels, signed
from compress.export.tflite_text import text_file
from compress.model.model import Model
from compress.model.rewrite import with_ranges_found_running

INPUT, OUTPUT = "input", "logits"
_OP = schema.BuiltinOperator


def to_tflite(model: Model, *, name: str, float16: bool = False, lengths: Sequence[int] = ()) -> bytes:
    """Write a model as a TFLite file: float or int8, layer by layer, as the graph says.

    Input `input`: (1, h, w, c) or (1, n); output `logits`: (1, classes). Each is int8 where the graph's own input or
    output is quantized, else float32. The batch may be resized. float16: float weights are stored in half precision.
    Of a text model there is a signature for each of `lengths` (none given: the largest), with input `input_ids`: int32
    (1, length); its integer layers find their ranges while running, whatever the graph says.

    Raises:
        ExportError: the graph holds what TFLite cannot express, a weight does not fit float16, or a length is too much.
    """
    if model.graph.pad_id is not None:
        program = join_projections(lower(with_ranges_found_running(model)))
        return text_file(program, lengths or program.input.shape, float16)
    return _written(lower(model), float16).file.pack(name)


def operators_of_values(model: Model) -> dict[str, int]:
    """Which operator of the file, by its number, gives each value of the lowered model; what reads a file back asks."""
    writer = _written(lower(model), float16=False)
    makers = {op.outputs[0]: number for number, op in enumerate(writer.file.operators)}
    return {value: makers[tensor] for value, tensor in writer.tensors.items() if tensor in makers}


def _written(program: Program, float16: bool) -> "_Writer":
    pixels = any(s.op == "linear" and s.parameters and s.parameters.kind != "float" for s in program.steps)
    writer = _Writer(float16, pixels)
    writer.start(program.input, program.input_grid)
    for step in program.steps:
        writer.write(step)
    writer.finish(program.output)
    return writer


class _Writer(Tensors):
    """Collects tensors and operators.

    pixels: vectors are images of one pixel, (1, 1, 1, n), and linear layers 1x1 convolutions. So it is where a linear
    layer has integer weights: FULLY_CONNECTED takes one scale per output since its version 12 only, which the last
    tflite-runtime (2.14, all there is for 32-bit ARM) does not have; CONV_2D has always taken them.
    """

    def __init__(self, float16: bool, pixels: bool) -> None:
        super().__init__(float16)
        self.pixels = pixels
        self.tensors: dict[str, int] = {}
        self.source: tuple[str, Grid | None] = ("", None)  # the input and its grid

    def start(self, value: Value, grid: Grid | None) -> None:
        """The graph's input, on the grid of the quantizers that read it."""
        self.source = (value.name, grid)
        entry = self._shaped(value.shape, grid, INPUT)
        self.file.inputs, self.tensors[value.name] = [entry], entry
        if self.pixels and len(value.shape) == 1:
            self._reshape(entry, Value(value.name, value.shape, grid))

    def finish(self, value: Value) -> None:
        """The graph's output.

        Raises:
            ExportError: its order depends on the layout.
        """
        if value.image is not None:
            fix = "put a linear layer behind the flatten, or export to ONNX"
            raise ExportError("the output is a flattened image, whose order differs in TFLite", "the output", fix)
        index = self.tensors[value.name]
        if self.pixels:
            index = self._shaped(value.shape, value.grid)
            shape = self.constant(np.array([-1, *value.shape], np.int32))
            self.file.operators.append(Operator(_OP.RESHAPE, 1, (self.tensors[value.name], shape), (index,)))
        self.file.tensors[index] = replace(self.file.tensors[index], name=OUTPUT)
        self.file.outputs = [index]

    def write(self, step: Step) -> None:
        """Emit one step."""
        x, grid = step.inputs[0], step.output.grid
        if step.op in ("conv2d", "linear"):
            assert step.parameters is not None
            (self._convolution if step.op == "conv2d" else self._linear)(step, step.parameters)
        elif step.op == "add":
            self._add(step)
        elif step.op in ("max_pool", "avg_pool"):
            self._pool(step)
        elif step.op == "global_avg_pool":
            inputs = (self.tensors[x.name], self.constant(np.array([1, 2], np.int32)))
            options = schema.ReducerOptionsT()
            options.keepDims = self.pixels
            self._operator(_OP.MEAN, 2 if grid else 1, inputs, step.output, options)
            self._activation(step)
        elif step.op == "flatten":
            self._reshape(self.tensors[x.name], step.output)
        elif step.op in ("relu", "relu6"):
            self.tensors[step.output.name] = self.tensors[x.name]
            self._clip(step.op, step.output)
        elif step.op == "dequantize":
            self._operator(_OP.DEQUANTIZE, 2, (self.tensors[x.name],), step.output)
        elif (x.name, grid) == self.source:
            self.tensors[step.output.name] = self.tensors[x.name]  # the caller quantizes
        else:
            self._operator(_OP.QUANTIZE, 1, (self.tensors[x.name],), step.output)

    def _convolution(self, step: Step, p: Parameters) -> None:
        a = step.attrs
        groups = a["groups"]
        depthwise = groups == a["in_channels"] and groups > 1
        options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
        options.strideH, options.strideW = a["stride"]
        options.dilationHFactor = options.dilationWFactor = 1
        options.fusedActivationFunction = ACTIVATIONS[step.activation]
        x, options.padding = self._padded(step)
        if depthwise:
            options.depthMultiplier = a["out_channels"] // groups
            code, weight, axis = _OP.DEPTHWISE_CONV_2D, p.weight.transpose(1, 2, 3, 0), 3
            version = {"float": 1, "integer": 3, "dynamic-integer": 6}[p.kind]
        else:
            code, weight, axis = _OP.CONV_2D, p.weight.transpose(0, 2, 3, 1), 0
            version = 6 if groups > 1 else CONV_VERSION[p.kind]
        self._operator(code, version, (x, *self.layer(step, p, weight, axis)), step.output, options)

    def _linear(self, step: Step, p: Parameters) -> None:
        x, weight = step.inputs[0], p.weight
        if x.image is not None:  # columns in the order of a channel-last image
            weight = weight.reshape(-1, *x.image).transpose(0, 2, 3, 1).reshape(len(weight), -1)
        if self.pixels:
            weight, options = weight[:, np.newaxis, np.newaxis], of_pixels(step.activation)
            code, version = _OP.CONV_2D, CONV_VERSION[p.kind]
        else:
            options, code, version = schema.FullyConnectedOptionsT(), _OP.FULLY_CONNECTED, 1
            options.fusedActivationFunction = ACTIVATIONS[step.activation]
        self._operator(code, version, (self.tensors[x.name], *self.layer(step, p, weight, 0)), step.output, options)

    def _reshape(self, source: int, output: Value) -> None:
        """Into a vector, or what stands for one."""
        shape = [-1, 1, 1, *output.shape] if self.pixels else [-1, *output.shape]
        self._operator(_OP.RESHAPE, 1, (source, self.constant(np.array(shape, np.int32))), output)

    def _add(self, step: Step) -> None:
        a, b = step.inputs
        if a.image != b.image:
            fix = "add before the flatten, or export to ONNX"
            raise ExportError("it adds a flattened image to a vector of another order", f"add {step.name!r}", fix)
        options = schema.AddOptionsT()
        options.potScaleInt16 = True  # the schema's default: left out of the file
        options.fusedActivationFunction = ACTIVATIONS[step.activation]
        inputs = (self.tensors[a.name], self.tensors[b.name])
        self._operator(_OP.ADD, 2 if step.output.grid else 1, inputs, step.output, options)

    def _pool(self, step: Step) -> None:
        """TFLite's pooling keeps the grid; an average that is to change it is requantized behind."""
        a, source = step.attrs, step.inputs[0]
        if step.op == "avg_pool" and step.output.grid and not any(a["padding"]):
            self._sum(step)
            return
        options = schema.Pool2DOptionsT()
        options.filterHeight, options.filterWidth = a["kernel"]
        options.strideH, options.strideW = a["stride"]
        x, options.padding = self._padded(step)
        code = _OP.MAX_POOL_2D if step.op == "max_pool" else _OP.AVERAGE_POOL_2D
        version = 2 if source.grid else 1
        if step.output.grid == source.grid:
            self._operator(code, version, (x,), step.output, options)
        else:
            pooled = self._new(Value("", step.output.shape, source.grid))
            self.file.operators.append(Operator(code, version, (x,), (pooled,), options))
            self._operator(_OP.QUANTIZE, 1, (pooled,), step.output)
        self._activation(step)

    def _sum(self, step: Step) -> None:
        """An integer average as a depthwise convolution with ones: XNNPACK has no integer average pooling, and so the
        grid is changed with one rounding instead of two."""
        a, channels, grid = step.attrs, step.inputs[0].shape[0], step.inputs[0].grid
        assert grid is not None
        options = schema.DepthwiseConv2DOptionsT()
        options.strideH, options.strideW = a["stride"]
        options.dilationHFactor = options.dilationWFactor = options.depthMultiplier = 1
        options.fusedActivationFunction = ACTIVATIONS[step.activation]
        x, options.padding = self._padded(step)
        share = Quantization(np.array([1 / (a["kernel"][0] * a["kernel"][1])], np.float32), np.zeros(1, np.int64), 3)
        ones = self.constant(np.ones((1, *a["kernel"], channels), np.int8), quantization=share)
        unit = Quantization(share.scale * grid.scale, share.zero_point)
        bias = self.constant(np.zeros(channels, np.int32), quantization=unit)
        self._operator(_OP.DEPTHWISE_CONV_2D, 3, (x, ones, bias), step.output, options)

    def _activation(self, step: Step) -> None:
        """An activation behind an operator that cannot take it in."""
        grid = step.output.grid
        if step.activation and not (grid and grid.clips_as(step.activation)):
            self._clip(step.activation, step.output)

    def _clip(self, activation: str, value: Value) -> None:
        code = _OP.RELU if activation == "relu" else _OP.RELU6
        self._operator(code, 2 if value.grid else 1, (self.tensors[value.name],), value)

    def _padded(self, step: Step) -> tuple[int, int]:
        """The tensor a window slides over, and TFLite's padding of it.

        Torch pads both sides alike; TFLite's SAME pads as little as it can, and more at the end. Where they differ the
        input is padded explicitly, by just the rows and columns that a window reaches.
        """
        x, a = step.inputs[0], step.attrs
        before, after, same = [], [], True
        for d in (0, 1):
            size, k, stride, pad = x.shape[1 + d], a["kernel"][d], a["stride"][d], a["padding"][d]
            reach = max(0, (step.output.shape[1 + d] - 1) * stride + k - size - pad)
            total = max(0, (-(-size // stride) - 1) * stride + k - size)
            same &= -(-size // stride) == step.output.shape[1 + d] and (total // 2, total - total // 2) == (pad, reach)
            before.append(pad)
            after.append(reach)
        if not any(before + after):
            return self.tensors[x.name], schema.Padding.VALID
        if same:
            return self.tensors[x.name], schema.Padding.SAME
        if step.op == "avg_pool":
            fix = "use padding 0 or stride 1, or export to ONNX"
            raise ExportError("TFLite cannot average without this padding", f"avg_pool {step.name!r}", fix)
        amounts = np.array([[0, 0], *zip(before, after, strict=True), [0, 0]], np.int32)
        shape = (x.shape[0], *(n + b + e for n, b, e in zip(x.shape[1:], before, after, strict=True)))
        padded = self._new(Value("", shape, x.grid))
        inputs: tuple[int, ...] = (self.tensors[x.name], self.constant(amounts))
        if step.op == "max_pool" and not x.non_negative:
            lowest = np.array([-SHIFT], np.int8) if x.grid else np.array([np.finfo(np.float32).min], np.float32)
            inputs = (*inputs, self.constant(lowest, quantization=signed(x.grid)))
        kind = _OP.PADV2 if len(inputs) == 3 else _OP.PAD
        options = schema.PadV2OptionsT() if len(inputs) == 3 else schema.PadOptionsT()
        self.file.operators.append(Operator(kind, 2 if x.grid else 1, inputs, (padded,), options))
        return padded, schema.Padding.VALID

    def _operator(self, code: int, version: int, inputs: tuple[int, ...], output: Value, options: Any = None) -> None:
        self.tensors[output.name] = self._new(output)
        self.file.operators.append(Operator(code, version, inputs, (self.tensors[output.name],), options))

    def _new(self, value: Value) -> int:
        """A tensor that an operator writes."""
        pixel = (1, 1) if self.pixels and len(value.shape) == 1 else ()
        return self._shaped((*value.shape[:1], *pixel, *value.shape[1:]), value.grid)

    def _shaped(self, shape: tuple[int, ...], grid: Grid | None, name: str = "") -> int:
        """A tensor for (c, h, w) or (n,), with the batch and channels last."""
        c, *size = shape
        dtype = "float32" if grid is None else "int8"
        return self.file.add(Tensor((1, *size, c), dtype, name, None, signed(grid)))
