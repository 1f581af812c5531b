"""The operators of text models in ONNX.

Sequences are stored as one row a token, (N * L, features), so that every linear layer is a Gemm, with which ONNX
Runtime fuses quantizers; only positions, attention and pooling look at texts.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from compress.export.lowering import Step, Value

PADDING_SCORE = np.float32(-1e4)  # as compress.model.module adds it: exp of it is zero in every float format


class Writer(Protocol):
    """What this needs of the writer of a whole graph."""

    def tensor(self, value: Value) -> str:
        """Name of the stored tensor."""

    def real(self, value: Value) -> str:
        """Name of the float tensor."""

    def node(self, op: str, inputs: list[str], out: str | None = None, **attrs: Any) -> str:
        """Emit an operator."""

    def constant(self, array: NDArray[Any] | np.generic) -> str:
        """Name of an initializer."""


class TextWriter:
    """Emits steps; what several of them need of the ids (their mask, their shape) is computed once in the graph."""

    def __init__(self, writer: Writer, pad_id: int) -> None:
        self.w, self.pad_id = writer, pad_id
        self._shared: dict[Any, str] = {}

    def write(self, step: Step) -> None:
        """Emit one step."""
        emit: Callable[[Step, str], object] = getattr(self, f"_{step.op}")
        emit(step, self.w.tensor(step.output))

    def _embedding(self, step: Step, out: str) -> None:
        p, ids = step.parameters, step.inputs[0]
        assert p is not None
        flat = self._once("flat", lambda: self.w.node("Reshape", [self.w.tensor(ids), self._numbers(-1)]))
        table = [self.w.constant(p.weight), flat]
        if p.scale is None:
            self.w.node("Gather", table, out, name=step.name)
            return
        rows = self.w.node("Cast", [self.w.node("Gather", table, name=step.name)], to=TensorProto.FLOAT)
        scales = self.w.node("Gather", [self.w.constant(p.scale[:, np.newaxis]), flat])
        self.w.node("Mul", [rows, scales], out)

    def _positions(self, step: Step, out: str) -> None:
        assert step.parameters is not None
        x, features = step.inputs[0], step.output.shape[1]
        shape = self._shape()
        length = self.w.node("Slice", [shape, self._numbers(1), self._numbers(2)])
        table = self.w.node("Slice", [self.w.constant(step.parameters.weight), self._numbers(0), length])
        texts = self.w.node("Reshape", [self.w.real(x), self._sizes(features)])
        self.w.node("Reshape", [self.w.node("Add", [texts, table]), self._numbers(-1, features)], out)

    def _layer_norm(self, step: Step, out: str) -> None:
        p = step.parameters
        assert p is not None
        assert p.bias is not None
        inputs = [self.w.real(step.inputs[0]), self.w.constant(p.weight), self.w.constant(p.bias)]
        self.w.node("LayerNormalization", inputs, out, axis=-1, epsilon=float(step.attrs["eps"]))

    def _gelu(self, step: Step, out: str) -> None:
        """x / 2 (1 + erf(x / sqrt 2)), in the order of operators that engines know as one."""
        x = self.w.real(step.inputs[0])
        root, one, half = (self.w.constant(np.float32(v)) for v in (2**0.5, 1.0, 0.5))
        share = self.w.node("Add", [self.w.node("Erf", [self.w.node("Div", [x, root])]), one])
        self.w.node("Mul", [self.w.node("Mul", [x, share]), half], out)

    def _tanh(self, step: Step, out: str) -> None:
        self.w.node("Tanh", [self.w.real(step.inputs[0])], out)

    def _attention(self, step: Step, out: str) -> None:
        """softmax(q k' / sqrt(features of a head) + mask) v, per head."""
        heads, features = step.attrs["heads"], step.attrs["head_features"]
        shape = self._sizes(heads, features)
        query, key, value = (self.w.real(x) for x in step.inputs[:3])
        # The factor comes first: between bare dequantizers ONNX Runtime would make the product integer, unsigned times
        # unsigned, which is slow, and it would be no part of the model that was trained.
        query = self.w.node("Mul", [query, self.w.constant(np.float32(features**-0.5))])
        query = self.w.node("Transpose", [self.w.node("Reshape", [query, shape])], perm=[0, 2, 1, 3])
        key = self.w.node("Transpose", [self.w.node("Reshape", [key, shape])], perm=[0, 2, 3, 1])
        value = self.w.node("Transpose", [self.w.node("Reshape", [value, shape])], perm=[0, 2, 1, 3])
        scores = self.w.node("Add", [self.w.node("MatMul", [query, key]), self._mask(step.inputs[3])])
        mixed = self.w.node("MatMul", [self.w.node("Softmax", [scores], axis=-1), value])
        rows = self.w.node("Transpose", [mixed], perm=[0, 2, 1, 3])
        self.w.node("Reshape", [rows, self._numbers(-1, heads * features)], out)

    def _token_mean(self, step: Step, out: str) -> None:
        """The mean over a text's own tokens, as a product with their equal shares."""
        x, ids = step.inputs
        real = self.w.node("Cast", [self.w.node("Not", [self._padding(ids)])], to=TensorProto.FLOAT)
        share = self.w.node("Div", [real, self.w.node("ReduceSum", [real, self._numbers(1)], keepdims=1)])
        share = self.w.node("Unsqueeze", [share, self._numbers(1)])
        texts = self.w.node("Reshape", [self.w.real(x), self._sizes(x.shape[1])])
        self.w.node("Reshape", [self.w.node("MatMul", [share, texts]), self._numbers(-1, x.shape[1])], out)

    def _first_token(self, step: Step, out: str) -> None:
        x = step.inputs[0]
        texts = self.w.node("Reshape", [self.w.real(x), self._sizes(x.shape[1])])
        self.w.node("Gather", [texts, self.w.constant(np.int64(0))], out, axis=1)

    # -- what the ids tell, computed once -------------------------------------------------------------------------

    def _padding(self, ids: Value) -> str:
        """(N, L) bool."""
        pad = self.w.constant(np.int64(self.pad_id))
        return self._once("padding", lambda: self.w.node("Equal", [self.w.tensor(ids), pad]))

    def _mask(self, ids: Value) -> str:
        """(N, 1, 1, L), what is added to scores."""

        def make() -> str:
            real = self.w.node("Cast", [self._padding(ids)], to=TensorProto.FLOAT)
            scores = self.w.node("Mul", [real, self.w.constant(PADDING_SCORE)])
            return self.w.node("Unsqueeze", [scores, self._numbers(1, 2)])

        return self._once("mask", make)

    def _shape(self) -> str:
        """(2,): N and L."""
        return self._once("shape", lambda: self.w.node("Shape", ["input_ids"]))

    def _sizes(self, *more: int) -> str:
        """A shape (N, L, *more)."""
        return self._once(more, lambda: self.w.node("Concat", [self._shape(), self._numbers(*more)], axis=0))

    def _numbers(self, *values: int) -> str:
        return self.w.constant(np.array(values, np.int64))

    def _once(self, key: Any, make: Callable[[], str]) -> str:
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]
