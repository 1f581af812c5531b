"""A TFLite file from plain lists of tensors and operators, packed without ballast.

A file may have several subgraphs, one a signature; constants that are equal are stored once for all of them.

The schema's object API writes every vector and table anew; here equal vectors, strings, options and quantization
tables are written once and pointed at (a flatbuffer may share), which on a small net saves as much as a layer weighs.
Constant data is aligned to 16 bytes, as the schema demands. The bytes depend on the content alone.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

SCHEMA_VERSION = 3
_ALIGNMENT = 16  # bytes; force_align of Buffer.data in the schema
_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "int8": schema.TensorType.INT8,
    "int32": schema.TensorType.INT32,
    "bool": schema.TensorType.BOOL,
}


@dataclass(frozen=True)
class Quantization:
    """value = scale * (q - zero_point), one of each for the tensor or for each slice along `axis`."""

    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    axis: int = 0


@dataclass(frozen=True)
class Tensor:
    """dtype: a numpy name. data: the constant's values, None for what operators write."""

    shape: tuple[int, ...]
    dtype: str
    name: str = ""
    data: NDArray[Any] | None = None
    quantization: Quantization | None = None


@dataclass(frozen=True)
class Operator:
    """code: schema.BuiltinOperator. options: an instance of the schema's <Op>OptionsT, or None."""

    code: int
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any = None


@dataclass
class TfliteFile:
    """One subgraph, or the whole file if it has no other; tensors are named by their index."""

    tensors: list[Tensor] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)

    def add(self, tensor: Tensor) -> int:
        """Index of a new tensor."""
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def pack(self, name: str) -> bytes:
        """The file; `name` is the subgraph's."""
        return _Packer().pack({name: self}, signatures=False)


def pack_signatures(subgraphs: Mapping[str, TfliteFile]) -> bytes:
    """A file with a signature of each name, which calls its subgraph by the names of its input and output tensors."""
    return _Packer().pack(subgraphs, signatures=True)


def _contents(tensors: Iterable[Tensor]) -> Iterator[bytes]:
    """Each tensor's constant data; an array that several share is read once."""
    read: dict[int, bytes] = {}
    for t in tensors:
        if t.data is not None and id(t.data) not in read:
            read[id(t.data)] = t.data.tobytes()
        yield b"" if t.data is None else read[id(t.data)]


class _Packer:
    def __init__(self) -> None:
        self.builder = flatbuffers.Builder(1 << 16)
        self.written: dict[Hashable, int] = {}

    def pack(self, subgraphs: Mapping[str, TfliteFile], *, signatures: bool) -> bytes:
        # Large data is written first and so lands at the end of the file, small tables at its start.
        contents: dict[bytes, int] = {}  # -> number of its buffer; 0 is the empty one
        tensors = [t for file in subgraphs.values() for t in file.tensors]
        numbers = iter([contents.setdefault(c, len(contents) + 1) if c else 0 for c in _contents(tensors)])
        buffers = [self._table("Buffer", Data=offset) for offset in [self._aligned(c) for c in contents]]
        buffers.insert(0, self._table("Buffer"))
        codes = list(dict.fromkeys((op.code, op.version) for file in subgraphs.values() for op in file.operators))
        graphs = [self._subgraph(file, name, numbers, codes) for name, file in subgraphs.items()]
        kinds = [
            self._table("OperatorCode", DeprecatedBuiltinCode=min(code, 127), Version=version, BuiltinCode=code)
            for code, version in codes
        ]
        parts = {"OperatorCodes": self._offsets(kinds), "Subgraphs": self._offsets(graphs)}
        if signatures:
            defined = [self._signature(i, name, file) for i, (name, file) in enumerate(subgraphs.items())]
            parts["SignatureDefs"] = self._offsets(defined)
        model = self._table("Model", Version=SCHEMA_VERSION, **parts, Buffers=self._offsets(buffers))
        self.builder.Finish(model, file_identifier=b"TFL3")
        return bytes(self.builder.Output())

    def _subgraph(self, file: TfliteFile, name: str, numbers: Iterator[int], codes: list[tuple[int, int]]) -> int:
        tensors = [self._tensor(t, next(numbers)) for t in file.tensors]
        operators = [self._operator(op, codes.index((op.code, op.version))) for op in file.operators]
        return self._table(
            "SubGraph", Tensors=self._offsets(tensors), Inputs=self._numbers(file.inputs, np.int32),
            Outputs=self._numbers(file.outputs, np.int32), Operators=self._offsets(operators), Name=self._string(name),
        )  # fmt: skip

    def _signature(self, index: int, name: str, file: TfliteFile) -> int:
        sides = []
        for side in (file.inputs, file.outputs):
            entries = [(self._string(file.tensors[i].name), i) for i in side]
            sides.append(self._offsets([self._table("TensorMap", Name=n, TensorIndex=i) for n, i in entries]))
        return self._table(
            "SignatureDef", Inputs=sides[0], Outputs=sides[1], SignatureKey=self._string(name), SubgraphIndex=index
        )

    def _tensor(self, t: Tensor, buffer: int) -> int:
        parts = {"Shape": self._numbers(t.shape, np.int32), "Type": _TYPES[t.dtype], "Buffer": buffer}
        if t.name:
            parts["Name"] = self._string(t.name)
        if t.quantization is not None:
            parts["Quantization"] = self._quantization(t.quantization)
        return self._table("Tensor", **parts)

    def _quantization(self, q: Quantization) -> int:
        scale, zero_point = np.atleast_1d(q.scale), np.atleast_1d(q.zero_point)
        key = ("quantization", scale.tobytes(), zero_point.tobytes(), q.axis)
        parts = {"Scale": self._numbers(scale, np.float32), "ZeroPoint": self._numbers(zero_point, np.int64)}
        return self._once(key, lambda: self._table("QuantizationParameters", **parts, QuantizedDimension=q.axis))

    def _operator(self, op: Operator, code: int) -> int:
        parts = {"Inputs": self._numbers(op.inputs, np.int32), "Outputs": self._numbers(op.outputs, np.int32)}
        parts["OpcodeIndex"] = code
        if op.options is not None:
            kind = type(op.options).__name__.removesuffix("T")
            key = (kind, *sorted((k, str(v)) for k, v in vars(op.options).items()))
            parts["BuiltinOptionsType"] = getattr(schema.BuiltinOptions, kind)
            parts["BuiltinOptions"] = self._once(key, lambda: int(op.options.Pack(self.builder)))
        return self._table("Operator", **parts)

    def _table(self, kind: str, **parts: int) -> int:
        getattr(schema, f"{kind}Start")(self.builder)
        for name, value in parts.items():
            getattr(schema, f"{kind}Add{name}")(self.builder, value)
        return int(getattr(schema, f"{kind}End")(self.builder))

    def _once(self, key: Hashable, write: Callable[[], int]) -> int:
        if key not in self.written:
            self.written[key] = write()
        return self.written[key]

    def _string(self, text: str) -> int:
        return self._once(("string", text), lambda: int(self.builder.CreateString(text)))

    def _numbers(self, values: Sequence[int] | NDArray[Any], dtype: Any) -> int:
        array = np.asarray(values, dtype)
        key = ("numbers", array.dtype.str, array.tobytes())
        return self._once(key, lambda: int(self.builder.CreateNumpyVector(array)))

    def _offsets(self, offsets: Sequence[int]) -> int:
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return int(self.builder.EndVector())

    def _aligned(self, content: bytes) -> int:
        b = self.builder
        b.StartVector(1, len(content), _ALIGNMENT)
        b.head = b.head - len(content)
        b.Bytes[b.head : b.head + len(content)] = content
        return int(b.EndVector())
