"""Inputs and outputs of a given file: names, element types, shapes with free dimensions."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from edge_runtime.tensors import TENSOR_DTYPES
from numpy.typing import NDArray

from compress.errors import ModelError


@dataclass(frozen=True, slots=True)
class Tensor:
    """name, element type as numpy calls it, and shape; a free dimension is None."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        dims = ", ".join("?" if d is None else str(d) for d in self.shape)
        return f"{self.name} {self.dtype} [{dims}]"

    def fits(self, array: NDArray[Any]) -> bool:
        """Whether the array has this shape; free dimensions fit any size but 0."""
        return array.ndim == len(self.shape) and all(
            n > 0 if want is None else n == want for n, want in zip(array.shape, self.shape, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Signature:
    """What a graph takes and gives."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def classes(self) -> int | None:
        """Number of classes of a plain classifier: one float output (batch, classes), its first one if there are more
        that carry state along; None for anything else."""
        first = self.outputs[0]
        plain = len(self.outputs) == 1 and len(first.shape) == 2 and first.dtype == "float32"
        return first.shape[1] if plain and (first.shape[1] or 0) > 1 else None


def inputs_of(model: Any, where: str) -> tuple[Tensor, ...]:
    """What a caller gives: the inputs that are no initializers.

    Raises:
        ModelError: there is none; strings, sequences, or elements that no bundle carries; a rank that is not fixed.
    """
    constants = {i.name for i in model.graph.initializer}
    inputs = tuple(_tensor(v, "input", where) for v in model.graph.input if v.name not in constants)
    if not inputs:
        raise ModelError("it takes no input", where, "export the model again, with its inputs")
    return inputs


def outputs_of(model: Any, where: str) -> tuple[Tensor, ...]:
    """What it gives, after shape inference. Raises as inputs_of."""
    return tuple(_tensor(v, "output", where) for v in model.graph.output)


def _tensor(value: Any, kind: str, where: str) -> Tensor:
    from onnx import TensorProto, helper

    at = f"{where}, {kind} {value.name!r}"
    if not value.type.HasField("tensor_type"):
        what = f"it is a {value.type.WhichOneof('value') or 'value without a type'}, no tensor"
        raise ModelError(what, at, "export the model with plain tensors as inputs and outputs")
    info = value.type.tensor_type
    if info.elem_type == TensorProto.STRING:
        what = "it holds strings; an int8 file and its bundle carry numbers alone"
        raise ModelError(what, at, "cut the graph behind its string operators (onnx.utils.extract_model)")
    dtype = str(np.dtype(helper.tensor_dtype_to_np_dtype(info.elem_type)).name) if info.elem_type else "of no type"
    if dtype not in TENSOR_DTYPES:
        what = f"its elements are {dtype}; a bundle carries {', '.join(TENSOR_DTYPES)}"
        raise ModelError(what, at, "export the model with a Cast from one of these in front of it")
    if not info.HasField("shape"):
        what = "its number of dimensions is not fixed (dynamic rank)"
        raise ModelError(what, at, "export the model with a fixed number of dimensions")
    shape = tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in info.shape.dim)
    return Tensor(value.name, dtype, shape)
