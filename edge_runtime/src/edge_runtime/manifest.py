"""manifest.json: what a bundle holds, and everything about its models that the model files themselves do not say.

Format version 2; version 1 is read as well. A reader refuses unknown keys and newer versions: a manifest it only half
understands could run a model in the wrong way. Same content, same bytes: there are no dates in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_runtime._fields import Fields, text_problem
from edge_runtime._migrations import MIGRATIONS
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
from edge_runtime.kinds import AnyPreprocessing, preprocessing_from_json
from edge_runtime.model_file import (
    ANY_LAYOUT,
    INTEGER_RANGES,
    LAYOUTS,
    MODEL_FORMATS,
    ModelFile,
    Signature,
    TensorInfo,
    read_model_file,
    read_path,
)
from edge_runtime.signing import SIGNATURE_NAME, KeySource, check_signature
from edge_runtime.tensors import TensorsPreprocessing
from edge_runtime.text import TextPreprocessing

__all__ = [
    "INTEGER_RANGES",
    "LAYOUTS",
    "MODEL_FORMATS",
    "FileInfo",
    "Manifest",
    "ModelFile",
    "SelfTest",
    "Signature",
    "TensorInfo",
    "file_info",
    "read_manifest",
    "sha256_hex",
    "write_manifest",
    "write_npz",
]

FORMAT = "edge-bundle"
FORMAT_VERSION = 2
FILE_NAME = "manifest.json"
TENSORS_TASK = "tensors"  # no labels: what the model gives is handed over as it is
TASKS = ("image-classification", "classification", "text-classification", "sensor-classification", TENSORS_TASK)
LARGEST_MANIFEST_BYTES = 4 << 20
_MOST_LABELS = 100_000
_KEYS = ("name", "created_by", "task", "labels", "preprocessing", "models", "files", "self_test")
_OPTIONAL_KEYS = ("reference_statistics",)


@dataclass(frozen=True)
class SelfTest:
    """Reference examples and what the models made of them.

    path: an .npz; what is in it, `edge_runtime.reference` says.
    agreement: share of examples, 0..1, whose highest logit must be the same one.
    largest_difference: between any two logits, in their own unit.
    """

    path: str
    agreement: float
    largest_difference: float


@dataclass(frozen=True)
class Manifest:
    """A bundle, in the order of preference: the first model whose engine is installed is the one that runs.

    labels: empty for the task "tensors" alone.
    reference_statistics: path of what the monitor holds a device's inputs against, if the bundle has it.
    """

    name: str
    created_by: str
    task: str
    labels: tuple[str, ...]
    preprocessing: AnyPreprocessing
    models: tuple[ModelFile, ...]
    files: dict[str, FileInfo]
    self_test: SelfTest
    reference_statistics: str | None = None

    def model(self, format: str) -> ModelFile | None:
        """The model of that format, if the bundle holds one."""
        return next((m for m in self.models if m.format == format), None)

    def to_json(self) -> dict[str, Any]:
        """Plain data, the inverse of from_json."""
        tolerance = {k: getattr(self.self_test, k) for k in ("agreement", "largest_difference")}
        doc = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "created_by": self.created_by,
            "task": self.task,
            "labels": list(self.labels),
            "preprocessing": self.preprocessing.to_json(),
            "models": [m.to_json() for m in self.models],
            "files": {k: asdict(v) for k, v in sorted(self.files.items())},
            "self_test": {"path": self.self_test.path, "tolerance": tolerance},
        }
        if self.reference_statistics is not None:
            doc["reference_statistics"] = self.reference_statistics
        return doc

    @staticmethod
    def from_json(doc: Any, where: str = FILE_NAME) -> Manifest:
        """Rebuild from to_json's data.

        Raises:
            BundleError: with every problem found, one per line; or it is of a newer format.
        """
        doc = _migrated(doc, where)
        problems: list[str] = []
        top = Fields(doc, "", problems, ("format", "format_version", *_KEYS, *_OPTIONAL_KEYS))
        manifest = _read(top)
        if manifest is not None and not problems:
            problems += _contradictions(manifest)
        if problems or manifest is None:
            shown = problems[:20] + ([f"... and {len(problems) - 20} more"] if len(problems) > 20 else [])
            what = f"{len(problems)} problem(s)\n    " + "\n    ".join(shown)
            raise BundleError(what, where, "write the bundle again with compress, or copy it again, whole")
        return manifest


def read_manifest(folder: Path | str, *, trusted_keys: Iterable[KeySource] | KeySource | None = None) -> Manifest:
    """The checked manifest of a bundle folder. The files that it names are not opened.

    trusted_keys: public keys, one of which must have signed it; as edge_runtime.signing.public_key takes them.

    Raises:
        BundleError: it is missing, damaged, contradicts itself, is of a newer format, or is not signed as wanted.
        InputError, EngineError: a trusted key cannot be read, or cannot be used here.
    """
    folder = Path(folder)
    where = str(folder / FILE_NAME)
    if not folder.is_dir():
        raise BundleError("no such folder", str(folder), "give the folder that holds manifest.json")
    data = read_file(folder, FILE_NAME, largest=LARGEST_MANIFEST_BYTES)
    if trusted_keys is not None:
        check_signature(folder, data, trusted_keys)  # before anything in it is believed
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
    labels = top.items("labels", fewest=0 if task == TENSORS_TASK else 1, most=_MOST_LABELS)
    for i, label in enumerate(labels):
        if problem := text_problem(label, 200):
            top.note(f"labels[{i}]", problem)
    preprocessing = None
    if top.has("preprocessing"):
        try:
            preprocessing = preprocessing_from_json(top.doc["preprocessing"])
        except BundleError as error:
            top.note("preprocessing", error.what)
    entries = top.items("models", fewest=1, most=len(MODEL_FORMATS))
    models = tuple(read_model_file(entry, f"models[{i}]", problems) for i, entry in enumerate(entries))
    files = _files(top.table("files"), problems)
    self_test = _self_test(top.table("self_test"), problems)
    statistics = read_path(top, "reference_statistics") if "reference_statistics" in top.doc else None
    if problems or preprocessing is None:
        return None
    return Manifest(name, created_by, task, tuple(labels), preprocessing, models, files, self_test, statistics)


def _files(doc: Any, problems: list[str]) -> dict[str, FileInfo]:
    fields = Fields(doc, "files", problems, tuple(doc) if isinstance(doc, dict) else ())
    if len(fields.doc) > 64:
        fields.note("", f"{len(fields.doc)} files; at most 64 are allowed")
        return {}
    out = {}
    for path, facts in fields.doc.items():
        if problem := path_problem(path) or _reserved(path):
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
    path = read_path(fields, "path")
    tolerance = Fields(fields.table("tolerance"), "self_test.tolerance", problems, ("agreement", "largest_difference"))
    agreement = tolerance.number("agreement", 0.0, 1.0)
    return SelfTest(path, agreement or 0.0, tolerance.number("largest_difference", 0.0, 1e30) or 0.0)


def _reserved(path: str) -> str:
    names = {FILE_NAME: "the manifest cannot list itself", SIGNATURE_NAME: "the signature is over the manifest"}
    return names.get(path, "")


def _contradictions(manifest: Manifest) -> list[str]:
    """Fields that are fine one by one but not together."""
    out = []
    if len(set(manifest.labels)) != len(manifest.labels):
        out.append("labels: two are equal")
    if len({m.format for m in manifest.models}) != len(manifest.models):
        out.append("models: two have the same format")
    paths = {f"models[{i}].path": m.path for i, m in enumerate(manifest.models)}
    paths["self_test.path"] = manifest.self_test.path
    if manifest.reference_statistics is not None:
        paths["reference_statistics"] = manifest.reference_statistics
    if isinstance(manifest.preprocessing, TextPreprocessing):
        paths["preprocessing.tokenizer"] = manifest.preprocessing.tokenizer
    out += [f"{k}: {path!r} is not listed under files" for k, path in paths.items() if path not in manifest.files]
    if len(set(paths.values())) != len(paths):
        out.append("files: one is named for two purposes")
    if manifest.task == TENSORS_TASK and (
        manifest.labels or not isinstance(manifest.preprocessing, TensorsPreprocessing)
    ):
        out.append("task: tensors has no labels and takes preprocessing of kind tensors")
    for i, model in enumerate(manifest.models):
        out += [f"models[{i}].{problem}" for problem in _input_problems(model, manifest.preprocessing)]
        out += [f"models[{i}].{problem}" for problem in _output_problems(model, manifest)]
    return out


def _input_problems(model: ModelFile, preprocessing: AnyPreprocessing) -> list[str]:
    """What the preprocessing gives against what the model takes."""
    if isinstance(preprocessing, TensorsPreprocessing):
        if model.format != "onnx":
            return ["format: a bundle that takes tensors holds an onnx model"]
        tensors = tuple((t.name, t.shape, t.dtype) for t in model.inputs)
        promised = tuple(zip(preprocessing.names, preprocessing.shapes, preprocessing.dtypes))
        if tensors != promised or any(t.layout != ANY_LAYOUT for t in model.inputs):
            return [f"inputs: not the names, shapes and dtypes of preprocessing, in layout {ANY_LAYOUT}"]
        return ["signatures: a model that takes tensors has none"] if model.signatures else []
    if len(model.inputs) != 1:
        return [f"inputs: {len(model.inputs)}, but preprocessing gives one"]
    shape, layout = model.input.shape, model.input.layout
    if isinstance(preprocessing, TextPreprocessing):
        return _length_problems(model, preprocessing)
    channel_first = (shape[2], *shape[:2]) if layout == "NHWC" else shape
    if channel_first != preprocessing.output_shape or layout not in ("NCHW", "NHWC", "NC"):
        gives = list(preprocessing.output_shape)
        return [f"inputs[0]: shape {list(shape)} ({layout}), but preprocessing gives {gives}"]
    return ["signatures: only a model that takes texts has them"] if model.signatures else []


def _length_problems(model: ModelFile, preprocessing: TextPreprocessing) -> list[str]:
    """Whether the model takes every length that the preprocessing gives."""
    if model.input.layout != "NL":
        return [f"inputs[0]: layout {model.input.layout}, but preprocessing gives token ids (NL)"]
    longest = preprocessing.max_length
    if model.signatures:
        if model.format != "tflite" or model.input.shape != (None,):
            return ["signatures: only a tflite model of free length has them"]
        if model.signatures[-1].length < longest:
            return [f"signatures: none takes {longest} ids, the max_length of preprocessing"]
    elif model.input.shape == (None,):
        if model.format == "tflite":
            return ["signatures: a tflite model of free length needs one for each length"]
    elif model.input.shape != (longest,) or preprocessing.lengths != (longest,):
        return [f"inputs[0]: {model.input.shape[0]} ids, but preprocessing gives {list(preprocessing.lengths)}"]
    return []


def _output_problems(model: ModelFile, manifest: Manifest) -> list[str]:
    if manifest.task == TENSORS_TASK:
        strange = [i for i, t in enumerate(model.outputs) if t.layout != ANY_LAYOUT]
        return [f"outputs[{i}].layout: want {ANY_LAYOUT} for the task tensors" for i in strange]
    if len(model.outputs) != 1:
        return [f"outputs: {len(model.outputs)}, but a classifier has one"]
    if model.output.layout != "NC" or model.output.shape != (len(manifest.labels),):
        wrong = f"{list(model.output.shape)} ({model.output.layout})"
        return [f"outputs[0]: shape {wrong}, but there are {len(manifest.labels)} labels"]
    return []


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two equal keys would mean different things to different readers."""
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("the same key stands twice in one object")
    return out


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")
