"""Write a bundle: model files, the manifest that edge_runtime reads, and a self-test made by running these files."""

import os
import shutil
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import edge_runtime
import numpy as np
from edge_runtime.errors import EdgeError
from edge_runtime.manifest import (
    MODEL_FORMATS,
    Manifest,
    ModelFile,
    SelfTest,
    TensorInfo,
    file_info,
    write_manifest,
    write_npz,
)
from edge_runtime.preprocessing import Preprocessing
from numpy.typing import NDArray

from compress import __version__
from compress.errors import ExportError

_REFERENCE = "reference.npz"
_STEPS = 2.5  # of the output grid: integer kernels on other CPUs were seen to differ by up to two steps
_RELATIVE = {"float32": 1e-3, "float16": 1e-3}  # of the largest logit, where there is no grid
_RELATIVE_ELSE = 2e-2  # ranges found while running: a rounding that flips early is seen in every logit


def write_bundle(
    folder: Path,
    *,
    name: str,
    task: str,
    labels: Sequence[str],
    preprocessing: Preprocessing,
    files: Mapping[str, bytes],
    precision: str,
    reference_inputs: NDArray[Any],
) -> Manifest:
    """Write a bundle folder, whole or not at all; a bundle that stands there is replaced.

    files: "onnx" and/or "tflite" -> content, in the order in which a device is to prefer them.
    reference_inputs: raw examples (n, ...), as the preprocessing takes them, for the self-test.

    Raises:
        ExportError: a file does not run, or does not fit labels, preprocessing or reference inputs.
    """
    if not files or not set(files) <= set(MODEL_FORMATS):
        what = f"a bundle cannot hold {', '.join(sorted(files)) or 'no model'}"
        raise ExportError(what, f"bundle {folder.name}", f"give {' and/or '.join(MODEL_FORMATS)}")
    work = _fresh(folder, "new")
    work.mkdir(parents=True)
    try:
        manifest = _fill(work, name, task, labels, preprocessing, files, precision, reference_inputs)
        _replace(work, folder)
    except EdgeError as error:
        raise ExportError(error.what, f"bundle {folder.name}: {error.where}", error.fix) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return manifest


def _fill(
    folder: Path, name: str, task: str, labels: Sequence[str], preprocessing: Preprocessing, files: Mapping[str, bytes],
    precision: str, inputs: NDArray[Any],
) -> Manifest:  # fmt: skip
    models, steps = [], []
    for kind, data in files.items():
        path = f"model.{kind}"
        (folder / path).write_bytes(data)
        entry, step = (_onnx_model if kind == "onnx" else _tflite_model)(data, path, precision)
        models.append(entry)
        steps.append(step)

    def write(logits: Mapping[str, NDArray[np.float32]], agreement: float, difference: float) -> Manifest:
        write_npz(folder / _REFERENCE, {"inputs": inputs, **{f"logits_{k}": v for k, v in logits.items()}})
        paths = (*(m.path for m in models), _REFERENCE)
        facts = {path: file_info((folder / path).read_bytes()) for path in paths}
        manifest = Manifest(
            name=name, created_by=f"compress {__version__}", task=task, labels=tuple(labels),
            preprocessing=preprocessing, models=tuple(models), files=facts,
            self_test=SelfTest(_REFERENCE, agreement, difference),
        )  # fmt: skip
        write_manifest(folder, manifest)
        return manifest

    write({}, 1.0, 0.0)  # edge_runtime opens whole bundles only
    logits = {}
    for entry in models:
        with edge_runtime.load(folder, engine=entry.format) as model:
            logits[entry.format] = model.logits(inputs)
    relative = _RELATIVE.get(precision, _RELATIVE_ELSE)
    allowed = [
        step * _STEPS if step else relative * max(1.0, float(np.abs(logits[m.format]).max()))
        for step, m in zip(steps, models, strict=True)
    ]
    return write(logits, _certain(logits.values(), max(allowed)), max(allowed))


def _certain(logits: Any, difference: float) -> float:
    """Share of the examples whose class cannot change while no logit moves by more than `difference`."""
    shares = []
    for array in logits:
        best = np.sort(array, axis=1)[:, -2:]
        shares.append(float(((best[:, -1] - best[:, 0] > 2 * difference) | (array.shape[1] == 1)).mean()))
    return min(shares)


def _onnx_model(data: bytes, path: str, precision: str) -> tuple[ModelFile, float]:
    """The manifest's entry and the step of the output's grid (0.0 where the logits are not on one)."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_from_string(data).graph
    shapes = [tuple(d.dim_value for d in v.type.tensor_type.shape.dim)[1:] for v in (graph.input[0], graph.output[0])]
    source = TensorInfo(graph.input[0].name, shapes[0], "NCHW" if len(shapes[0]) == 3 else "NC")
    target = TensorInfo(graph.output[0].name, shapes[1])
    last = next(n for n in graph.node if target.name in n.output)
    constants = {i.name: i for i in graph.initializer}
    step = float(numpy_helper.to_array(constants[last.input[1]])) if last.op_type == "DequantizeLinear" else 0.0
    return ModelFile("onnx", path, precision, source, target), step


def _tflite_model(data: bytes, path: str, precision: str) -> tuple[ModelFile, float]:
    from ai_edge_litert import schema_py_generated as schema

    graph = schema.ModelT.InitFromPackedBuf(data).subgraphs[0]
    source, target = (_tflite_tensor(graph.tensors[i], schema) for i in (graph.inputs[0], graph.outputs[0]))
    return ModelFile("tflite", path, precision, source, target), target.scale or 0.0


def _tflite_tensor(tensor: Any, schema: Any) -> TensorInfo:
    shape = tuple(int(d) for d in tensor.shape[1:])
    layout = "NHWC" if len(shape) == 3 else "NC"
    if tensor.type != schema.TensorType.INT8:
        return TensorInfo(tensor.name.decode(), shape, layout)
    q = tensor.quantization
    return TensorInfo(tensor.name.decode(), shape, layout, "int8", float(q.scale[0]), int(q.zeroPoint[0]))


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
