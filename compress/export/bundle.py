"""Write a bundle: model files, the manifest that edge_runtime reads, and a self-test made by running these files."""

import os
import shutil
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import edge_runtime
import numpy as np
from edge_runtime.errors import EdgeError
from edge_runtime.kinds import AnyPreprocessing
from edge_runtime.manifest import (
    MODEL_FORMATS,
    Manifest,
    ModelFile,
    SelfTest,
    Signature,
    TensorInfo,
    file_info,
    write_manifest,
    write_npz,
)
from edge_runtime.model_file import ANY_LAYOUT
from edge_runtime.reference import pack_inputs, pack_outputs
from edge_runtime.scan import scan_model
from edge_runtime.text import TextPreprocessing
from numpy.typing import NDArray

from compress import __version__
from compress.errors import ExportError
from compress.export.huggingface import text_files, to_json

_REFERENCE = "reference.npz"
_STATISTICS = "statistics.json"
_STEPS = 2.5  # of the output grid: integer kernels on other CPUs were seen to differ by up to two steps
_RELATIVE = {"float32": 1e-3, "float16": 1e-3}  # of the largest logit, where there is no grid
_RELATIVE_ELSE = 2e-2  # ranges found while running: a rounding that flips early is seen in every logit


def write_bundle(
    folder: Path,
    *,
    name: str,
    task: str,
    labels: Sequence[str],
    preprocessing: AnyPreprocessing,
    files: Mapping[str, bytes],
    precision: str,
    reference_inputs: Any,
    statistics: bytes | None = None,
) -> Manifest:
    """Write a bundle folder, whole or not at all; a bundle that stands there is replaced.

    files: "onnx" and/or "tflite" -> content, in the order in which a device is to prefer them.
    preprocessing: of texts, one that holds its tokenizer; it goes into the bundle.
    reference_inputs: raw examples for the self-test, as the preprocessing takes them: an array (n, ...), a sequence of
        str, or of dicts of arrays.
    statistics: content of statistics.json, what a monitor holds the field against.

    Raises:
        ExportError: a file does not run, or does not fit labels, preprocessing or reference inputs.
    """
    if not files or not set(files) <= set(MODEL_FORMATS):
        what = f"a bundle cannot hold {', '.join(sorted(files)) or 'no model'}"
        raise ExportError(what, f"bundle {folder.name}", f"give {' and/or '.join(MODEL_FORMATS)}")
    extra: dict[str, bytes] = {}
    if isinstance(preprocessing, TextPreprocessing):
        if preprocessing.content is None:
            fix = "give preprocessing.with_tokenizer(content of tokenizer.json)"
            raise ExportError("the tokenizer of these texts is not open", f"bundle {folder.name}", fix)
        extra[preprocessing.tokenizer] = preprocessing.content
        if "onnx" in files:
            opened = text_files(labels, preprocessing, preprocessing.content)
            extra |= {path: to_json(content) for path, content in opened.items()}
    if statistics is not None:
        extra[_STATISTICS] = statistics
    work = _fresh(folder, "new")
    work.mkdir(parents=True)
    try:
        models = {}
        for kind, data in files.items():
            describe = _onnx_model if kind == "onnx" else _tflite_model
            models[kind] = describe(data, f"model.{kind}", precision, preprocessing, bool(labels))
            extra[f"model.{kind}"] = data
        draft = Manifest(
            name=name, created_by=f"compress {__version__}", task=task, labels=tuple(labels),
            preprocessing=preprocessing, models=tuple(entry for entry, _ in models.values()), files={},
            self_test=SelfTest(_REFERENCE, 1.0, 0.0), reference_statistics=_STATISTICS if statistics else None,
        )  # fmt: skip
        manifest = _fill(work, draft, extra, {kind: step for kind, (_, step) in models.items()}, reference_inputs)
        _replace(work, folder)
    except EdgeError as error:
        raise ExportError(error.what, f"bundle {folder.name}: {error.where}", error.fix) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return manifest


def _fill(
    folder: Path, draft: Manifest, content: Mapping[str, bytes], steps: Mapping[str, float], inputs: Any
) -> Manifest:
    """Write every file, run the models on the reference inputs, write what they answered.

    steps: format -> step of the output's grid (0.0 where the answers are not on one).
    """
    for path, data in content.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)

    def write(answers: Mapping[str, NDArray[Any]], agreement: float, difference: float) -> Manifest:
        write_npz(folder / _REFERENCE, {**pack_inputs(draft, inputs), **answers})
        facts = {path: file_info((folder / path).read_bytes()) for path in (*content, _REFERENCE)}
        manifest = replace(draft, files=facts, self_test=SelfTest(_REFERENCE, agreement, difference))
        write_manifest(folder, manifest)
        return manifest

    write({}, 1.0, 0.0)  # edge_runtime opens whole bundles only
    logits, answers, allowed = {}, {}, []
    for entry in draft.models:
        with edge_runtime.load(folder, engine=entry.format) as model:
            if draft.labels:
                logits[entry.format] = model.logits(inputs)
                answers[f"logits_{entry.format}"] = logits[entry.format]
                largest = float(np.abs(logits[entry.format]).max())
            else:
                outputs = [model.outputs(example) for example in inputs]
                answers |= pack_outputs(outputs, entry.format, [t.name for t in entry.outputs])
                largest = max(float(np.abs(a).max(initial=0.0)) for found in outputs for a in found.values())
        step = steps[entry.format]
        relative = _RELATIVE.get(entry.precision, _RELATIVE_ELSE)
        allowed.append(step * _STEPS if step else relative * max(1.0, largest))
    agreement = _certain(logits.values(), max(allowed)) if draft.labels else 1.0
    return write(answers, agreement, max(allowed))


def _certain(logits: Any, difference: float) -> float:
    """Share of the examples whose class cannot change while no logit moves by more than `difference`."""
    shares = []
    for array in logits:
        best = np.sort(array, axis=1)[:, -2:]
        shares.append(float(((best[:, -1] - best[:, 0] > 2 * difference) | (array.shape[1] == 1)).mean()))
    return min(shares)


def _onnx_model(
    data: bytes, path: str, precision: str, preprocessing: AnyPreprocessing, labelled: bool
) -> tuple[ModelFile, float]:
    """The manifest's entry and the step of the output's grid (0.0 where the logits are not on one)."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_from_string(data).graph
    constants = {i.name: i for i in graph.initializer}
    given = preprocessing.kind == "tensors"
    inputs = [_onnx_tensor(v, whole=given) for v in graph.input if v.name not in constants]
    outputs = [_onnx_tensor(v, whole=not labelled) for v in graph.output]
    flow = tuple(sorted(scan_model("onnx", data, path)))
    entry = ModelFile("onnx", path, precision, tuple(inputs), tuple(outputs), control_flow=flow)
    last = next((n for n in graph.node if entry.output.name in n.output), None)
    on_grid = last is not None and last.op_type == "DequantizeLinear" and last.input[1] in constants
    return entry, float(numpy_helper.to_array(constants[last.input[1]])) if last and on_grid else 0.0


def _onnx_tensor(value: Any, *, whole: bool) -> TensorInfo:
    """whole: the shape stands in full, with the batch."""
    from onnx import TensorProto

    tensor = value.type.tensor_type
    name = TensorProto.DataType.Name(tensor.elem_type).lower()
    dtype = {"float": "float32"}.get(name, name)
    shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
    if whole:
        return TensorInfo(value.name, shape, ANY_LAYOUT, dtype)
    layout = "NL" if dtype in ("int32", "int64") else "NCHW" if len(shape) == 4 else "NC"
    return TensorInfo(value.name, shape[1:], layout, dtype)


def _tflite_model(
    data: bytes, path: str, precision: str, preprocessing: AnyPreprocessing, labelled: bool
) -> tuple[ModelFile, float]:
    """As _onnx_model. A file with more than one signature is taken to have one for each length of a text."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(data)
    graph = model.subgraphs[0]
    source, target = (_tflite_tensor(graph.tensors[i], schema) for i in (graph.inputs[0], graph.outputs[0]))
    signatures = []
    if preprocessing.kind == "text" and model.signatureDefs:
        for one in model.signatureDefs:
            length = int(model.subgraphs[one.subgraphIndex].tensors[one.inputs[0].tensorIndex].shape[1])
            signatures.append(Signature(length, one.signatureKey.decode()))
        names = [side[0].name.decode() for side in (model.signatureDefs[0].inputs, model.signatureDefs[0].outputs)]
        source, target = replace(source, name=names[0], shape=(None,)), replace(target, name=names[1])
    entry = ModelFile(
        "tflite", path, precision, (source,), (target,), tuple(sorted(signatures, key=lambda s: s.length))
    )
    return entry, target.scale or 0.0


def _tflite_tensor(tensor: Any, schema: Any) -> TensorInfo:
    shape = tuple(int(d) for d in tensor.shape[1:])
    name, kinds = tensor.name.decode(), schema.TensorType
    if tensor.type in (kinds.INT32, kinds.INT64):
        return TensorInfo(name, shape, "NL", "int32" if tensor.type == kinds.INT32 else "int64")
    layout = "NHWC" if len(shape) == 3 else "NC"
    if tensor.type != kinds.INT8:
        return TensorInfo(name, shape, layout)
    q = tensor.quantization
    return TensorInfo(name, shape, layout, "int8", float(q.scale[0]), int(q.zeroPoint[0]))


def _replace(work: Path, folder: Path) -> None:
    """Put the finished folder in place; what stood there is moved away first and removed last."""
    old = _fresh(folder, "old")
    if folder.exists():
        os.replace(folder, old)
    os.replace(work, folder)
    shutil.rmtree(old, ignore_errors=True)


def _fresh(folder: Path, kind: str) -> Path:
    """A name beside the folder that nobody else uses; what a killed process left there is removed."""
    path = folder.with_name(f".{folder.name}.{os.getpid()}.{threading.get_ident()}.{kind}")
    shutil.rmtree(path, ignore_errors=True)
    return path
