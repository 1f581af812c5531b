"""What a manifest says about one model file: its inputs, its outputs, and how to call it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from edge_runtime._fields import Fields, text_problem
from edge_runtime.files import path_problem
from edge_runtime.tensors import MOST_DIMENSIONS, MOST_TENSORS, TENSOR_DTYPES, dtype_problem, shape_problem

MODEL_FORMATS = ("onnx", "tflite")
LAYOUTS = {"NCHW": 3, "NHWC": 3, "NC": 1, "NL": 1}  # -> number of dimensions without the batch
ANY_LAYOUT = "ANY"  # a tensor of a given model: its shape stands in full
INTEGER_RANGES = {"int8": (-128, 127), "uint8": (0, 255)}
ID_DTYPES = ("int32", "int64")
DTYPES = ("float32", *INTEGER_RANGES, *ID_DTYPES)
_LARGEST_DIMENSION = 1 << 24
_LARGEST_TENSOR = 1 << 26
_MOST_SIGNATURES, _MOST_CONTROL_FLOW = 16, 8
_KEYS = ("format", "path", "precision", "inputs", "outputs", "signatures")
_OPTIONAL_KEYS = ("control_flow",)


@dataclass(frozen=True)
class TensorInfo:
    """One input or output of a model file.

    shape: without the batch; None is a free dimension (the length of layout NL).
    layout: NCHW, NHWC (images, windows), NC (vectors, logits), NL (token ids), or ANY: then the shape stands in full,
        with the batch if there is one.
    dtype: float32; int8 or uint8, which carry real = (q - zero_point) * scale; int32 or int64, for NL and ANY alone.
    """

    name: str
    shape: tuple[int | None, ...]
    layout: str = "NC"
    dtype: str = "float32"
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True)
class Signature:
    """One way into a TFLite file that takes texts: its inputs are exactly `length` ids long."""

    length: int
    name: str


@dataclass(frozen=True)
class ModelFile:
    """One model. precision: for people to read, e.g. "int8".

    signatures: ascending in length; empty for a file that is called without.
    control_flow: the operators with graphs inside (If, Loop, ...) that the file may hold; any other is refused.
    """

    format: str
    path: str
    precision: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    signatures: tuple[Signature, ...] = ()
    control_flow: tuple[str, ...] = ()

    @property
    def input(self) -> TensorInfo:
        """The first input, which is the only one unless the bundle takes tensors."""
        return self.inputs[0]

    @property
    def output(self) -> TensorInfo:
        """The first output, which is the only one unless the bundle gives tensors."""
        return self.outputs[0]

    def to_json(self) -> dict[str, Any]:
        """Plain data, the inverse of read_model_file."""
        doc = asdict(self)
        for key in ("inputs", "outputs", "signatures"):
            doc[key] = list(doc[key])
        for tensor in (*doc["inputs"], *doc["outputs"]):
            tensor["shape"] = list(tensor["shape"])
        if flow := doc.pop("control_flow"):
            doc["control_flow"] = list(flow)
        return doc


def read_path(fields: Fields, key: str) -> str:
    """A path inside the bundle."""
    path = fields.text(key)
    if path and (problem := path_problem(path)):
        fields.note(key, problem)
    return path


def read_model_file(doc: Any, where: str, problems: list[str]) -> ModelFile:
    """Rebuild from to_json's data; whatever is wrong is added to problems, and then the result is of no use."""
    fields = Fields(doc, where, problems, (*_KEYS, *_OPTIONAL_KEYS))
    flow = fields.items("control_flow", fewest=1, most=_MOST_CONTROL_FLOW) if "control_flow" in fields.doc else []
    for i, name in enumerate(flow):
        if problem := text_problem(name, 40):
            fields.note(f"control_flow[{i}]", problem)
    signatures = []
    for i, entry in enumerate(fields.items("signatures", most=_MOST_SIGNATURES)):
        one = Fields(entry, f"{where}.signatures[{i}]", problems, ("length", "name"))
        signatures.append(Signature(one.integer("length", 1, _LARGEST_DIMENSION) or 0, one.text("name")))
    lengths = [s.length for s in signatures]
    if lengths != sorted(set(lengths)):
        fields.note("signatures", "lengths are not ascending")
    return ModelFile(
        fields.text("format", one_of=MODEL_FORMATS),
        read_path(fields, "path"),
        fields.text("precision", longest=40),
        _tensors(fields, "inputs"),
        _tensors(fields, "outputs"),
        tuple(signatures),
        tuple(flow),
    )


def _tensors(fields: Fields, key: str) -> tuple[TensorInfo, ...]:
    entries = enumerate(fields.items(key, fewest=1, most=MOST_TENSORS))
    out = tuple(_tensor(doc, f"{fields.where}.{key}[{i}]", fields.problems) for i, doc in entries)
    if len({t.name for t in out}) != len(out):
        fields.note(key, "two have the same name")
    return out


def _tensor(doc: Any, where: str, problems: list[str]) -> TensorInfo:
    fields = Fields(doc, where, problems, ("name", "shape", "layout", "dtype", "scale", "zero_point"))
    name = fields.text("name")
    layout = fields.text("layout", one_of=(*LAYOUTS, ANY_LAYOUT))
    free = layout == ANY_LAYOUT
    dtype = _dtype(fields, layout)
    shape = fields.items("shape", fewest=0 if free else 1, most=MOST_DIMENSIONS if free else 3)
    if problem := shape_problem(shape) if free else _shape_problem(shape, layout):
        fields.note("shape", problem)
        shape = []
    low, high = INTEGER_RANGES.get(dtype, (-128, 255))
    scale = fields.number("scale", 1e-30, 1e30, optional=True)
    zero_point = fields.integer("zero_point", low, high, optional=True)
    for key in ("scale", "zero_point"):
        if dtype and key in fields.doc and (fields.doc[key] is None) == (dtype in INTEGER_RANGES):
            fields.note(key, f"dtype {dtype} {'needs' if dtype in INTEGER_RANGES else 'has no'} {key}")
    return TensorInfo(name, tuple(shape), layout, dtype, scale, zero_point)


def _dtype(fields: Fields, layout: str) -> str:
    """float32, 8-bit or ids, as the layout allows."""
    if layout == ANY_LAYOUT:
        if fields.has("dtype") and (problem := dtype_problem(fields.doc["dtype"])):
            fields.note("dtype", problem)
            return ""
        return str(fields.doc.get("dtype", ""))
    dtype = fields.text("dtype", one_of=DTYPES)
    if dtype and layout and (layout == "NL") != (dtype in ID_DTYPES):
        fields.note("dtype", f"layout {layout} takes {' or '.join(_dtypes_of(layout))}, not {dtype}")
    return dtype


def _dtypes_of(layout: str) -> tuple[str, ...]:
    return ID_DTYPES if layout == "NL" else tuple(d for d in DTYPES if d not in ID_DTYPES)


def _shape_problem(shape: list[Any], layout: str) -> str:
    """Why the shape, without the batch, does not do for the layout, or ""."""
    total = 1
    for d in shape:
        sound = (type(d) is int and 1 <= d <= _LARGEST_DIMENSION) or (d is None and layout in ("NL", ""))
        total *= (d or 1) if sound else _LARGEST_TENSOR + 1
    if total > _LARGEST_TENSOR:
        limits = f"whole numbers from 1 to {_LARGEST_DIMENSION:,} with a product of at most {_LARGEST_TENSOR:,}"
        return f"want {limits}"
    if layout and shape and len(shape) != LAYOUTS[layout]:
        return f"{shape} does not fit layout {layout}"
    return ""


__all__ = [
    "ANY_LAYOUT",
    "INTEGER_RANGES",
    "LAYOUTS",
    "MODEL_FORMATS",
    "TENSOR_DTYPES",
    "ModelFile",
    "Signature",
    "TensorInfo",
    "read_model_file",
    "read_path",
]
