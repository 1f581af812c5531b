"""What every TFLite writer stores alike: constants, and the weights and biases of layers."""

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from compress.errors import ExportError
from compress.export.flatbuffer import Operator, Quantization, Tensor, TfliteFile
from compress.export.lowering import Activation, Grid, Parameters, Step

SHIFT = 128  # from the unsigned grid of the graph to TFLite's signed one
ACTIVATIONS = {
    "": schema.ActivationFunctionType.NONE,
    "relu": schema.ActivationFunctionType.RELU,
    "relu6": schema.ActivationFunctionType.RELU6,
}
CONV_VERSION = {"float": 1, "integer": 3, "dynamic-integer": 5}  # the oldest version that has it


class Tensors:
    """A subgraph under way. float16: float weights are stored in half precision."""

    def __init__(self, float16: bool) -> None:
        self.file = TfliteFile()
        self.float16 = float16

    def layer(self, step: Step, p: Parameters, weight: NDArray[Any], axis: int) -> tuple[int, int]:
        """Tensors of the weight and the bias; a bias of zeros where there is none, which XNNPACK asks for."""
        grid = step.inputs[0].grid
        bias = np.zeros(len(p.weight), np.int32 if p.kind == "integer" else np.float32) if p.bias is None else p.bias
        if p.scale is None:
            return self.real(weight, step.name), self.real(bias)
        zeros = np.zeros(len(p.scale), np.int64)
        first = self.constant(weight, step.name, Quantization(p.scale, zeros, axis))
        unit = None if grid is None else Quantization(grid.scale * p.scale, zeros)
        return first, self.constant(bias, quantization=unit)

    def real(self, array: NDArray[Any], name: str = "") -> int:
        """A float constant, if asked for stored in half precision."""
        if not self.float16:
            return self.constant(array, name)
        if np.abs(array).max() > np.finfo(np.float16).max:
            fix = "export float32, or train with weight decay"
            raise ExportError("a weight is larger than float16 can hold (65504)", f"layer {name!r}", fix)
        stored = self.constant(array.astype(np.float16), name)
        wide = self.file.add(Tensor(array.shape, "float32"))
        self.file.operators.append(Operator(schema.BuiltinOperator.DEQUANTIZE, 3, (stored,), (wide,)))
        return wide

    def constant(self, array: NDArray[Any], name: str = "", quantization: Quantization | None = None) -> int:
        """A constant; equal ones without a name are stored once."""
        array = np.ascontiguousarray(array)
        if not name:
            for i, t in enumerate(self.file.tensors):
                if t.data is not None and quantization is None is t.quantization and _equal(t.data, array):
                    return i
        return self.file.add(Tensor(array.shape, array.dtype.name, name, array, quantization))


def _equal(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())


def signed(grid: Grid | None) -> Quantization | None:
    """A grid as TFLite has it."""
    if grid is None:
        return None
    return Quantization(np.array([grid.scale], np.float32), np.array([grid.zero_point - SHIFT], np.int64))


def of_pixels(activation: Activation) -> Any:
    """Options of a 1x1 convolution, which is what a linear layer with a scale for each output is written as."""
    options = schema.Conv2DOptionsT()
    options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
    options.padding = schema.Padding.VALID
    options.fusedActivationFunction = ACTIVATIONS[activation]
    return options
