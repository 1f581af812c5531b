"""The operators of text models in ONNX.

Sequences are stored as one row a token, (N * L, features), so that every linear layer is a Gemm, with which ONNX
Runtime fuses quantizers; only positions, attention and pooling look at texts.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from compress.export.lowering import Program, Step, Value
from compress.model.graph import PADDING_SCORE


class Writer(Protocol):
    """What this needs of the writer of a whole graph."""

    def tensor(self, value: Value) -> str:
        """Name of the stored tensor."""

    def real(self, value: Value) -> str:
        """Name of the float tensor."""

    def node(self, op: str, inputs: list[str], out: str | None = None, **attrs: Any) -> str:
        """Emit an operator."""

    def split(self, x: str, parts: int, axis: int) -> list[str]:
        """Names of the equal parts of a tensor."""

    def constant(self, array: NDArray[Any] | np.generic) -> str:
        """Name of an initializer."""


class TextWriter:
    """Emits steps; what several of them need of the ids (their mask, their shape) is computed once in the graph."""

    def __init__(self, writer: Writer, program: Program) -> None:
        assert program.pad_id is not None
        self.w, self.pad_id = writer, program.pad_id
        # Rows of the table that only positions read are left as texts, (N, L, features).
        readers = [(i.name, s.op) for s in program.steps for i in s.inputs]
        tables = {s.output.name for s in program.steps if s.op == "embedding"}
        self._texts = tables - {name for name, op in readers if op != "positions"}
        self._shared: dict[Any, str] = {}

    def write(self, step: Step) -> None:
        """Emit one step."""
        emit: Callable[[Step, str], object] = getattr(self, f"_{step.op}")
        emit(step, self.w.tensor(step.output))

    def _embedding(self, step: Step, out: str) -> None:
        p, ids = step.parameters, self.w.tensor(step.inputs[0])
        assert p is not None
        if step.output.name not in self._texts:
            ids = self.w.node("Reshape", [ids, self._numbers(-1)])
        if p.scale is None:
            self.w.node("Gather", [self.w.constant(p.weight), ids], out, name=step.name)
            return
        rows = self.w.node("Gather", [self.w.constant(p.weight), ids], name=step.name)
        scales = self.w.node("Gather", [self.w.constant(p.scale[:, np.newaxis]), ids])
        self.w.node("Mul", [self.w.node("Cast", [rows], to=TensorProto.FLOAT), scales], out)

    def _positions(self, step: Step, out: str) -> None:
        assert step.parameters is not None
        x, features = step.inputs[0], step.output.shape[1]
        length = self.w.node("Slice", [self._shape(), self._numbers(1), self._numbers(2)])
        table = self.w.node("Slice", [self.w.constant(step.parameters.weight), self._numbers(0), length])
        texts = self.w.real(x)
        if x.name not in self._texts:
            texts = self.w.node("Reshape", [texts, self._sizes(features)])
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
        if len(step.inputs) == 2:
            texts = self.w.node("Reshape", [self.w.real(step.inputs[0]), self._sizes(-1, features)])
            query, key, value = self.w.split(texts, 3, axis=2)
        else:
            shape = self._sizes(heads, features)
            query, key, value = (self.w.node("Reshape", [self.w.real(x), shape]) for x in step.inputs[:3])
            # The factor comes first: between bare dequantizers ONNX Runtime would make the product integer, unsigned
            # times unsigned, which is slow, and it would be no part of the model that was trained.
            query = self.w.node("Mul", [query, self.w.constant(np.float32(features**-0.5))])
        query, key, value = (
            self.w.node("Transpose", [x], perm=perm)
            for x, perm in ((query, [0, 2, 1, 3]), (key, [0, 2, 3, 1]), (value, [0, 2, 1, 3]))
        )
        mask = self._once("mask", lambda: self.w.node("Unsqueeze", [self._padding(step.inputs[-1]), self._numbers(1)]))
        scores = self.w.node("Add", [self.w.node("MatMul", [query, key]), mask])
        mixed = self.w.node("MatMul", [self.w.node("Softmax", [scores], axis=-1), value])
        rows = self.w.node("Transpose", [mixed], perm=[0, 2, 1, 3])
        self.w.node("Reshape", [rows, self._numbers(-1, heads * features)], out)

    def _token_mean(self, step: Step, out: str) -> None:
        """The mean over a text's own tokens, as a product with their shares: a softmax of what padding is given."""
        x, ids = step.inputs
        shares = self.w.node("Softmax", [self._padding(ids)], axis=-1)
        texts = self.w.node("Reshape", [self.w.real(x), self._sizes(x.shape[1])])
        self.w.node("Reshape", [self.w.node("MatMul", [shares, texts]), self._numbers(-1, x.shape[1])], out)

    def _first_token(self, step: Step, out: str) -> None:
        x = step.inputs[0]
        texts = self.w.node("Reshape", [self.w.real(x), self._sizes(x.shape[1])])
        self.w.node("Gather", [texts, self.w.constant(np.int64(0))], out, axis=1)

    # -- what the ids tell, computed once -------------------------------------------------------------------------

    def _padding(self, ids: Value) -> str:
        """(N, 1, L), what is added to scores: 0, and much less for padding."""

        def make() -> str:
            padding = self.w.node("Equal", [self.w.tensor(ids), self.w.constant(np.int64(self.pad_id))])
            scores = self.w.node("Where", [padding, *map(self.w.constant, (np.float32(PADDING_SCORE), np.float32(0)))])
            return self.w.node("Unsqueeze", [scores, self._numbers(1)])

        return self._once("padding", make)

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
