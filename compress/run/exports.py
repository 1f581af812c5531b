"""The export step: one model in one format becomes a bundle folder, with what was counted in its file."""

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from compress.data.dataset import Dataset
from compress.errors import ExportError, StageError
from compress.model.graph import Graph
from compress.model.model import Model
from compress.model.rewrite import drop_quantizers, fold_batch_norm, with_ranges_found_running
from compress.model.shapes import count_macs, count_parameters, macs_by_layer, parameter_shapes
from compress.stages.texts import fit_data

VERSION = 5  # of what is written: raise it when the same model gives other bytes
REFERENCE_INPUTS = 16
_MODEL_FILES = {"onnx": "model.onnx", "tflite": "model.tflite"}


@dataclass(frozen=True, slots=True)
class ArtefactPlan:
    """One file to be made. step: whose model. precision: "as-is" or a float twin without quantizers."""

    id: str
    step: str
    format: Literal["onnx", "tflite"]
    precision: Literal["as-is", "float32", "float16"]


def exported_model(model: Model, plan: ArtefactPlan) -> Model:
    """The model as this artefact holds it: batch norm folded, for a float twin without quantizers, and as a TFLite
    file of a text model without grids."""
    if plan.precision != "as-is":
        model = drop_quantizers(model)
    elif plan.format == "tflite" and model.graph.pad_id is not None:
        model = with_ranges_found_running(model)
    return fold_batch_norm(model)


def write_artefact(
    folder: Path, model: Model, plan: ArtefactPlan, *, name: str, task: str, data: Dataset
) -> dict[str, Any]:
    """Write the bundle folder and return the record: sizes, digests and counts, all read back from the file.

    strays: layers that were to be integer and that the engine computes in float all the same.

    Raises:
        ExportError: an operator cannot be written.
        StageError: the model has integer layers but the file runs none in integers.
    """
    from compress.export.bundle import write_bundle
    from compress.export.counts import count_onnx, count_tflite

    ready = exported_model(model, plan)
    data, reference = fit_data(data, model), data.validation.x[:REFERENCE_INPUTS]
    content = encode(ready, plan, name, getattr(data.preprocessing, "lengths", ()))
    precision = precision_of(ready.graph, plan)
    write_bundle(folder, name=name, task=task, labels=data.classes, preprocessing=data.preprocessing,
                 files={plan.format: content}, precision=precision, reference_inputs=reference)  # fmt: skip
    counts = (count_onnx if plan.format == "onnx" else count_tflite)(content)
    wanted = [n.name for n in ready.graph.layers if "weight_bits" in n.attrs]
    strays = [n for n in wanted if counts.layer_kernels.get(n, "float") == "float"]
    integer = counts.kernels["integer"] + counts.kernels["dynamic-integer"]
    if (wanted and strays == wanted) or (precision == "int8" and not wanted and not integer):
        what = f"no layer of {plan.id} runs in integers though {len(wanted) or 'some'} should"
        raise StageError(what, "export", "report this net; its quantizers were lost on the way to the file")
    return {
        "file": _MODEL_FILES[plan.format],
        "precision": precision,
        "size_bytes": len(content),
        "gzip_bytes": len(gzip.compress(content, 9, mtime=0)),
        "parameters": count_parameters(ready.graph),
        "macs": count_macs(ready.graph),
        "sparsity": counts.zero_share,
        "kernels": dict(counts.kernels),
        "operators": dict(counts.operators),
        "layer_kernels": dict(counts.layer_kernels),
        "strays": strays,
        "layers": layer_facts(ready.graph),
    }


def encode(model: Model, plan: ArtefactPlan, name: str, lengths: Sequence[int] = ()) -> bytes:
    """The file's bytes. lengths: of texts, where the format wants to know."""
    if whole := next((n for n in model.graph if n.op == "onnx"), None):
        if plan.format != "onnx":
            fix = "leave this format out for a teacher that is an ONNX file"
            raise ExportError("a whole ONNX file cannot be written in another format", plan.id, fix)
        return model.weights[f"{whole.name}.content"].tobytes()
    if plan.format == "onnx":
        from compress.export.onnx import to_onnx

        return to_onnx(model, name=name)
    from compress.export.tflite import to_tflite

    return to_tflite(model, name=name, float16=plan.precision == "float16", lengths=lengths)


def precision_of(graph: Graph, plan: ArtefactPlan) -> Literal["float32", "float16", "int8", "dynamic-int8"]:
    """What the table calls the file's arithmetic."""
    if plan.precision == "float16":
        return "float16"
    if any(n.attrs.get("precision") == "int8" for n in graph):
        return "int8"
    if not graph.quantized:
        return "float32"
    return "dynamic-int8" if any(n.attrs.get("activations") == "dynamic" for n in graph.layers) else "int8"


def layer_facts(graph: Graph) -> list[dict[str, Any]]:
    """Name, operator, parameters, MACs and output channels of each layer."""
    macs = macs_by_layer(graph)
    return [
        {
            "name": n.name,
            "op": n.op,
            "parameters": sum(_size(s) for p, s in parameter_shapes(n).items() if p in ("weight", "bias")),
            "macs": macs[n.name],
            "channels": channels_of(n.attrs),
        }
        for n in graph.layers
    ]


def channels_of(attrs: Mapping[str, Any]) -> int:
    """Output channels of a layer."""
    return int(attrs.get("out_channels", attrs.get("out_features", attrs.get("features", 0))))


def _size(shape: tuple[int, ...]) -> int:
    out = 1
    for n in shape:
        out *= n
    return out
