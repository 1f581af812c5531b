"""manifest.json: what a bundle holds, and everything about its models that the model files themselves do not say.

Format version 1. A reader refuses unknown keys and newer versions: a manifest it only half understands could run a
model in the wrong way. Same content, same bytes: there are no dates in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_runtime._fields import Fields, text_problem
from edge_runtime.errors import BundleError
from edge_runtime.files import (
    LARGEST_FILE_BYTES,
    FileInfo,
    file_info,
    path_problem,
    read_file,
    sha256_hex,
    write_atomic,
    write_npz,
)
from edge_runtime.preprocessing import Preprocessing

__all__ = [
    "FileInfo",
    "Manifest",
    "ModelFile",
    "SelfTest",
    "TensorInfo",
    "file_info",
    "read_manifest",
    "sha256_hex",
    "write_manifest",
    "write_npz",
]

FORMAT = "edge-bundle"
FORMAT_VERSION = 1
FILE_NAME = "manifest.json"
TASKS = ("image-classification", "classification")
MODEL_FORMATS = ("onnx", "tflite")
LAYOUTS = {"NCHW": 3, "NHWC": 3, "NC": 1}  # -> number of dimensions without the batch
INTEGER_RANGES = {"int8": (-128, 127), "uint8": (0, 255)}
DTYPES = ("float32", *INTEGER_RANGES)
LARGEST_MANIFEST_BYTES = 4 << 20
_MOST_LABELS = 100_000
_LARGEST_DIMENSION = 1 << 24
_LARGEST_TENSOR = 1 << 26

# Turns a manifest of version N into one of version N + 1. Empty while 1 is the only version there has been.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


@dataclass(frozen=True)
class TensorInfo:
    """One input or output of a model file.

    shape: without the batch. layout: NCHW, NHWC (images) or NC (vectors, logits).
    dtype: float32, int8 or uint8; the integer ones carry real = (q - zero_point) * scale, float32 carries neither.
    """

    name: str
    shape: tuple[int, ...]
    layout: str = "NC"
    dtype: str = "float32"
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True)
class ModelFile:
    """One model. precision: for people to read, e.g. "int8"."""

    format: str
    path: str
    precision: str
    input: TensorInfo
    output: TensorInfo


@dataclass(frozen=True)
class SelfTest:
    """Reference examples and what the models made of them.

    path: an .npz with `inputs` (raw examples) and `logits_<format>` (float32) of every model of the bundle.
    agreement: share of examples, 0..1, whose highest logit must be the same one.
    largest_difference: between any two logits, in their own unit.
    """

    path: str
    agreement: float
    largest_difference: float


@dataclass(frozen=True)
class Manifest:
    """A bundle, in the order of preference: the first model whose engine is installed is the one that runs."""

    name: str
    created_by: str
    task: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    models: tuple[ModelFile, ...]
    files: dict[str, FileInfo]
    self_test: SelfTest

    def model(self, format: str) -> ModelFile | None:
        """The model of that format, if the bundle holds one."""
        return next((m for m in self.models if m.format == format), None)

    def to_json(self) -> dict[str, Any]:
        """Plain data, the inverse of from_json."""
        tolerance = {k: getattr(self.self_test, k) for k in ("agreement", "largest_difference")}
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "created_by": self.created_by,
            "task": self.task,
            "labels": list(self.labels),
            "preprocessing": self.preprocessing.to_json(),
            "models": [_tensor_lists(asdict(m)) for m in self.models],
            "files": {k: asdict(v) for k, v in sorted(self.files.items())},
            "self_test": {"path": self.self_test.path, "tolerance": tolerance},
        }

    @staticmethod
    def from_json(doc: Any, where: str = FILE_NAME) -> Manifest:
        """Rebuild from to_json's data.

        Raises:
            BundleError: with every problem found, one per line; or it is of a newer format.
        """
        doc = _migrated(doc, where)
        problems: list[str] = []
        keys = ("name", "created_by", "task", "labels", "preprocessing", "models", "files", "self_test")
        top = Fields(doc, "", problems, ("format", "format_version", *keys))
        manifest = _read(top)
        if manifest is not None and not problems:
            problems += _contradictions(manifest)
        if problems or manifest is None:
            shown = problems[:20] + ([f"... and {len(problems) - 20} more"] if len(problems) > 20 else [])
            what = f"{len(problems)} problem(s)\n    " + "\n    ".join(shown)
            raise BundleError(what, where, "write the bundle again with compress, or copy it again, whole")
        return manifest


def read_manifest(folder: Path | str) -> Manifest:
    """The checked manifest of a bundle folder. The files that it names are not opened.

    Raises:
        BundleError: it is missing, damaged, contradicts itself, or is of a newer format.
    """
    folder = Path(folder)
    where = str(folder / FILE_NAME)
    if not folder.is_dir():
        raise BundleError("no such folder", str(folder), "give the folder that holds manifest.json")
    data = read_file(folder, FILE_NAME, largest=LARGEST_MANIFEST_BYTES)
    try:
        doc = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"not valid JSON: {error}", where, "copy the bundle again, whole") from error
    return Manifest.from_json(doc, where)


def write_manifest(folder: Path | str, manifest: Manifest) -> None:
    """Write manifest.json, atomically; refuse what read_manifest would refuse.

    Raises:
        BundleError: the manifest contradicts itself.
    """
    path = Path(folder) / FILE_NAME
    doc = manifest.to_json()
    Manifest.from_json(doc, str(path))
    write_atomic(path, (json.dumps(doc, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def _migrated(doc: Any, where: str) -> dict[str, Any]:
    """The document in today's version, from whatever version it has."""
    if not isinstance(doc, dict) or doc.get("format") != FORMAT:
        fix = "give the folder of a bundle that compress wrote"
        raise BundleError(f'not a bundle manifest: it does not say "format": "{FORMAT}"', where, fix)
    version = doc.get("format_version")
    if type(version) is not int or version < 1:
        raise BundleError(f"format_version is {ascii(version)[:40]}", where, "want a whole number from 1 on")
    if version > FORMAT_VERSION:
        what = f"the bundle has format_version {version}, this edge_runtime reads up to {FORMAT_VERSION}"
        raise BundleError(what, where, "pip install --upgrade edge-runtime")
    migrated: dict[str, Any] = doc
    for step in range(version, FORMAT_VERSION):
        migrated = MIGRATIONS[step](migrated)
    return migrated


def _read(top: Fields) -> Manifest | None:
    """Field by field; whatever is wrong is in top.problems."""
    problems = top.problems
    name = top.text("name")
    created_by = top.text("created_by")
    task = top.text("task", one_of=TASKS)
    labels = top.items("labels", fewest=1, most=_MOST_LABELS)
    for i, label in enumerate(labels):
        if problem := text_problem(label, 200):
            top.note(f"labels[{i}]", problem)
    preprocessing = None
    if top.has("preprocessing"):
        try:
            preprocessing = Preprocessing.from_json(top.doc["preprocessing"])
        except BundleError as error:
            top.note("preprocessing", error.what)
    entries = top.items("models", fewest=1, most=len(MODEL_FORMATS))
    models = [_model(entry, f"models[{i}]", problems) for i, entry in enumerate(entries)]
    files = _files(top.table("files"), problems)
    self_test = _self_test(top.table("self_test"), problems)
    if problems or preprocessing is None:
        return None
    return Manifest(name, created_by, task, tuple(labels), preprocessing, tuple(models), files, self_test)


def _path(fields: Fields, key: str) -> str:
    path = fields.text(key)
    if path and (problem := path_problem(path)):
        fields.note(key, problem)
    return path


def _model(doc: Any, where: str, problems: list[str]) -> ModelFile:
    fields = Fields(doc, where, problems, ("format", "path", "precision", "input", "output"))
    return ModelFile(
        fields.text("format", one_of=MODEL_FORMATS),
        _path(fields, "path"),
        fields.text("precision", longest=40),
        _tensor(fields.table("input"), f"{where}.input", problems),
        _tensor(fields.table("output"), f"{where}.output", problems),
    )


def _tensor(doc: Any, where: str, problems: list[str]) -> TensorInfo:
    fields = Fields(doc, where, problems, ("name", "shape", "layout", "dtype", "scale", "zero_point"))
    name = fields.text("name")
    layout = fields.text("layout", one_of=tuple(LAYOUTS))
    dtype = fields.text("dtype", one_of=DTYPES)
    shape = fields.items("shape", fewest=1, most=3)
    total = 1
    for d in shape:
        total *= d if type(d) is int and 1 <= d <= _LARGEST_DIMENSION else _LARGEST_TENSOR + 1
    if total > _LARGEST_TENSOR:
        limits = f"whole numbers from 1 to {_LARGEST_DIMENSION:,} with a product of at most {_LARGEST_TENSOR:,}"
        fields.note("shape", f"want {limits}")
    elif layout and shape and len(shape) != LAYOUTS[layout]:
        fields.note("shape", f"{shape} does not fit layout {layout}")
    low, high = INTEGER_RANGES.get(dtype, (-128, 255))
    scale = fields.number("scale", 1e-30, 1e30, optional=True)
    zero_point = fields.integer("zero_point", low, high, optional=True)
    for key in ("scale", "zero_point"):
        if dtype and key in fields.doc and (fields.doc[key] is None) == (dtype in INTEGER_RANGES):
            fields.note(key, f"dtype {dtype} {'needs' if dtype in INTEGER_RANGES else 'has no'} {key}")
    return TensorInfo(name, tuple(shape), layout, dtype, scale, zero_point)


def _files(doc: Any, problems: list[str]) -> dict[str, FileInfo]:
    fields = Fields(doc, "files", problems, tuple(doc) if isinstance(doc, dict) else ())
    if len(fields.doc) > 64:
        fields.note("", f"{len(fields.doc)} files; at most 64 are allowed")
        return {}
    out = {}
    for path, facts in fields.doc.items():
        if problem := path_problem(path) or ("the manifest cannot list itself" if path == FILE_NAME else ""):
            fields.note("", problem)
            continue
        entry = Fields(facts, f"files[{path}]", problems, ("sha256", "size_bytes"))
        sha256 = entry.text("sha256")
        if sha256 and (len(sha256) != 64 or set(sha256) - set("0123456789abcdef")):
            entry.note("sha256", "want 64 lower-case hex digits")
        out[path] = FileInfo(sha256, entry.integer("size_bytes", 0, LARGEST_FILE_BYTES) or 0)
    return out


def _self_test(doc: Any, problems: list[str]) -> SelfTest:
    fields = Fields(doc, "self_test", problems, ("path", "tolerance"))
    path = _path(fields, "path")
    tolerance = Fields(fields.table("tolerance"), "self_test.tolerance", problems, ("agreement", "largest_difference"))
    agreement = tolerance.number("agreement", 0.0, 1.0)
    return SelfTest(path, agreement or 0.0, tolerance.number("largest_difference", 0.0, 1e30) or 0.0)


def _contradictions(manifest: Manifest) -> list[str]:
    """Fields that are fine one by one but not together."""
    out = []
    if len(set(manifest.labels)) != len(manifest.labels):
        out.append("labels: two are equal")
    if len({m.format for m in manifest.models}) != len(manifest.models):
        out.append("models: two have the same format")
    paths = {f"models[{i}].path": m.path for i, m in enumerate(manifest.models)}
    for where, path in {**paths, "self_test.path": manifest.self_test.path}.items():
        if path not in manifest.files:
            out.append(f"{where}: {path!r} is not listed under files")
    want = manifest.preprocessing.output_shape
    for i, model in enumerate(manifest.models):
        shape, layout = model.input.shape, model.input.layout
        channel_first = (shape[2], *shape[:2]) if layout == "NHWC" else shape
        if channel_first != want:
            out.append(f"models[{i}].input: shape {list(shape)} ({layout}), but preprocessing gives {list(want)}")
        if model.output.layout != "NC" or model.output.shape != (len(manifest.labels),):
            wrong = f"{list(model.output.shape)} ({model.output.layout})"
            out.append(f"models[{i}].output: shape {wrong}, but there are {len(manifest.labels)} labels")
    return out


def _tensor_lists(model: dict[str, Any]) -> dict[str, Any]:
    for key in ("input", "output"):
        model[key]["shape"] = list(model[key]["shape"])
    return model


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two equal keys would mean different things to different readers."""
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("the same key stands twice in one object")
    return out


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")
