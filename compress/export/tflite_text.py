"""Text models in TFLite: a subgraph and a signature for every length, all reading the same stored weights.

TFLite fixes shapes, so a text is filled up to the shortest length that fits, and the padding mask is computed from the
ids. Sequences are one row a token, (length, features). Integer layers are 1x1 convolutions of one-pixel images, a row
each, whose range the engine finds while running: so every token has a range of its own, and tflite-runtime 2.14, which
has FULLY_CONNECTED with one scale for the whole weight only, loads them too.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from compress.errors import ExportError
from compress.export.flatbuffer import Operator, Quantization, Tensor, pack_signatures
from compress.export.lowering import Program, Step, Value
from compress.export.tflite_tensors import ACTIVATIONS, CONV_VERSION, Tensors, of_pixels
from compress.model.graph import PADDING_SCORE

INPUT, OUTPUT = "input_ids", "logits"
_OP = schema.BuiltinOperator


def text_file(program: Program, lengths: Sequence[int], float16: bool) -> bytes:
    """The file of a text model, float or with ranges found while running: a signature `ids_<length>` for each length.

    Raises:
        ExportError: the model reads no texts of such a length, or a weight does not fit float16.
    """
    if not lengths or not 1 <= min(lengths) <= max(lengths) <= program.input.shape[0]:
        what = f"lengths {list(lengths)} are not some of 1 to {program.input.shape[0]}"
        raise ExportError(what, "tflite", "give lengths that the model reads")
    return pack_signatures({f"ids_{n}": _Writer(program, n, float16).file for n in lengths})


class _Writer(Tensors):
    """Writes the subgraph of one length. A method `_<operator>` emits a step and gives its output's index."""

    def __init__(self, program: Program, length: int, float16: bool) -> None:
        super().__init__(float16)
        self.length, self.pad_id = length, program.pad_id
        self.tensors: dict[str, int] = {}
        self._shared: dict[str, int] = {}
        self.ids = self.file.add(Tensor((1, length), "int32", INPUT))
        self.file.inputs = [self.ids]
        for step in program.steps:
            emit: Callable[[Step], int] = getattr(self, f"_{step.op}")
            self.tensors[step.output.name] = emit(step)
        logits = self._reshape(self.tensors[program.output.name], 1, *program.output.shape, name=OUTPUT)
        self.file.outputs = [logits]

    def _embedding(self, step: Step) -> int:
        p, shape = step.parameters, (self.length, step.output.shape[1])
        assert p is not None
        ids = self._once("flat", lambda: self._reshape(self.ids, self.length, dtype="int32"))
        gather = schema.GatherOptionsT()
        if p.scale is None:
            return self._emit(_OP.GATHER, [self.real(p.weight, step.name), ids], shape, gather)
        unit = Quantization(np.ones(1, np.float32), np.zeros(1, np.int64))  # a row's own scale comes behind
        table = self.constant(p.weight, step.name, unit)
        rows = self._emit(_OP.GATHER, [table, ids], shape, gather, "int8", version=2, quantization=unit)
        scales = self._emit(_OP.GATHER, [self.constant(p.scale[:, np.newaxis]), ids], (self.length, 1), gather)
        return self._mul(self._emit(_OP.DEQUANTIZE, [rows], shape, version=2), scales)

    def _positions(self, step: Step) -> int:
        assert step.parameters is not None
        table = self.real(step.parameters.weight)  # whole in every subgraph, so that it is stored once
        return self._sum(self._read(step.inputs[0]), self._slice(table, self.length, step.output.shape[1]))

    def _layer_norm(self, step: Step) -> int:
        p, x = step.parameters, self._read(step.inputs[0])
        assert p is not None
        assert p.bias is not None
        centred = self._emit(_OP.SUB, [x, self._mean(x)], self._shape(x), schema.SubOptionsT())
        variance = self._mean(self._mul(centred, centred))
        spread = self._sum(variance, self.constant(np.full(1, step.attrs["eps"], np.float32)))
        scaled = self._mul(centred, self._emit(_OP.RSQRT, [spread], self._shape(spread)))
        return self._sum(self._mul(scaled, self.constant(p.weight)), self.constant(p.bias))

    def _linear(self, step: Step) -> int:
        p, x = step.parameters, self._read(step.inputs[0])
        assert p is not None
        rows, into, out = self._shape(x)[0], self._shape(x)[1], step.output.shape[-1]
        if p.scale is None:
            options = schema.FullyConnectedOptionsT()
            options.fusedActivationFunction = ACTIVATIONS[step.activation]
            return self._emit(_OP.FULLY_CONNECTED, [x, *self.layer(step, p, p.weight, 0)], (rows, out), options)
        pixels = [self._reshape(x, rows, 1, 1, into), *self.layer(step, p, p.weight[:, np.newaxis, np.newaxis], 0)]
        options, version = of_pixels(step.activation), CONV_VERSION[p.kind]
        return self._reshape(self._emit(_OP.CONV_2D, pixels, (rows, 1, 1, out), options, version=version), rows, out)

    def _attention(self, step: Step) -> int:
        """softmax(q k' / sqrt(features of a head) + mask) v, per head."""
        heads, features = step.attrs["heads"], step.attrs["head_features"]
        read = [self._heads(self._read(x), features) for x in step.inputs[:-1]]
        if len(read) == 1:
            query, key, value = self._split(read[0], 3)
        else:
            query, key, value = read
            query = self._mul(query, self.constant(np.full(1, features**-0.5, np.float32)))
        scores = (1, heads, self.length, self.length)
        products = self._product(query, key, scores, turned=True)
        soft = schema.SoftmaxOptionsT()
        soft.beta = 1.0
        weights = self._emit(_OP.SOFTMAX, [self._sum(products, self._mask())], scores, soft)
        mixed = self._product(weights, value, (1, heads, self.length, features))
        return self._reshape(self._swap(mixed), self.length, heads * features)

    def _token_mean(self, step: Step) -> int:
        """The mean over a text's own tokens, as a product with their equal shares."""
        x = self._read(step.inputs[0])
        real = self._compared(_OP.NOT_EQUAL, schema.NotEqualOptionsT())
        options = schema.ReducerOptionsT()
        options.keepDims = True
        count = self._emit(_OP.SUM, [real, self._numbers(1)], (1, 1), options)
        shares = self._emit(_OP.DIV, [real, count], (1, self.length), schema.DivOptionsT())
        return self._product(shares, x, (1, self._shape(x)[1]))

    def _first_token(self, step: Step) -> int:
        x = self._read(step.inputs[0])
        return self._slice(x, 1, self._shape(x)[1])

    def _add(self, step: Step) -> int:
        return self._sum(*(self._read(x) for x in step.inputs))

    def _gelu(self, step: Step) -> int:
        x = self._read(step.inputs[0])
        return self._emit(_OP.GELU, [x], self._shape(x), schema.GeluOptionsT())

    def _tanh(self, step: Step) -> int:
        x = self._read(step.inputs[0])
        return self._emit(_OP.TANH, [x], self._shape(x))

    # -- parts ----------------------------------------------------------------------------------------------------

    def _mask(self) -> int:
        """(1, 1, 1, length): what is added to scores."""

        def make() -> int:
            padding = self._compared(_OP.EQUAL, schema.EqualOptionsT())
            return self._reshape(
                self._mul(padding, self.constant(np.array([PADDING_SCORE], np.float32))), 1, 1, 1, self.length
            )

        return self._once("mask", make)

    def _compared(self, code: int, options: Any) -> int:
        """(1, length): ids held against padding, as 0.0 and 1.0."""
        truth = self._emit(code, [self.ids, self._numbers(self.pad_id)], (1, self.length), options, "bool")
        return self._emit(_OP.CAST, [truth], (1, self.length))

    def _product(self, a: int, b: int, shape: Sequence[int], *, turned: bool = False) -> int:
        """a b, or a b'."""
        options = schema.BatchMatMulOptionsT()
        options.adjY = turned
        return self._emit(_OP.BATCH_MATMUL, [a, b], shape, options)

    def _mean(self, x: int) -> int:
        options = schema.ReducerOptionsT()
        options.keepDims = True
        return self._emit(_OP.MEAN, [x, self._numbers(1)], (*self._shape(x)[:-1], 1), options)

    def _sum(self, a: int, b: int) -> int:
        options = schema.AddOptionsT()
        options.potScaleInt16 = True  # the schema's default: left out of the file
        return self._emit(_OP.ADD, [a, b], np.broadcast_shapes(self._shape(a), self._shape(b)), options)

    def _mul(self, a: int, b: int) -> int:
        return self._emit(_OP.MUL, [a, b], np.broadcast_shapes(self._shape(a), self._shape(b)), schema.MulOptionsT())

    def _slice(self, x: int, *shape: int) -> int:
        """The first rows."""
        return self._emit(_OP.SLICE, [x, self._numbers(0, 0), self._numbers(*shape)], shape, schema.SliceOptionsT())

    def _heads(self, x: int, features: int) -> int:
        """(1, heads, length, features) from one row a token."""
        return self._swap(self._reshape(x, 1, self.length, self._shape(x)[1] // features, features))

    def _split(self, x: int, parts: int) -> list[int]:
        """Equal parts along axis 1."""
        first, wide, *rest = self._shape(x)
        options = schema.SplitOptionsT()
        options.numSplits = parts
        out = tuple(self.file.add(Tensor((first, wide // parts, *rest), "float32")) for _ in range(parts))
        self.file.operators.append(Operator(_OP.SPLIT, 1, (self._numbers(1), x), out, options))
        return list(out)

    def _swap(self, x: int) -> int:
        """The two axes in the middle change places."""
        a, b, c, d = self._shape(x)
        return self._emit(_OP.TRANSPOSE, [x, self._numbers(0, 2, 1, 3)], (a, c, b, d), schema.TransposeOptionsT())

    def _reshape(self, x: int, *shape: int, dtype: str = "float32", name: str = "") -> int:
        return self._emit(_OP.RESHAPE, [x, self._numbers(*shape)], shape, dtype=dtype, name=name)

    def _emit(
        self, code: int, inputs: Sequence[int], shape: Sequence[int], options: Any = None, dtype: str = "float32", *,
        version: int = 1, name: str = "", quantization: Quantization | None = None,
    ) -> int:  # fmt: skip
        """An operator; the index of the tensor it writes."""
        out = self.file.add(Tensor(tuple(shape), dtype, name, None, quantization))
        self.file.operators.append(Operator(code, version, tuple(inputs), (out,), options))
        return out

    def _numbers(self, *values: int | None) -> int:
        return self.constant(np.array(values, np.int32))

    def _read(self, value: Value) -> int:
        return self.tensors[value.name]

    def _shape(self, index: int) -> tuple[int, ...]:
        return self.file.tensors[index].shape

    def _once(self, key: str, make: Callable[[], int]) -> int:
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]
