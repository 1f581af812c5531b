"""A bundle's ONNX file as a folder that Hugging Face's Optimum opens: ORTModelFor...Classification.from_pretrained.

A bundle of texts is such a folder itself (`text_files` are in it). Of others the graph is the bundle's own; only its
input and output get the names that Optimum looks for, and config.json says what the labels are called. The architecture
that config.json names is the nearest one: the class that runs the file reads its labels and nothing else.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_runtime.errors import EdgeError
from edge_runtime.files import read_checked
from edge_runtime.manifest import Manifest, read_manifest
from edge_runtime.preprocessing import Preprocessing
from edge_runtime.text import TextPreprocessing

from compress.errors import ExportError

OUTPUT = "logits"
_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def write_huggingface(bundle: Path, folder: Path) -> str:
    """Write model.onnx, config.json and the preprocessor's or tokenizer's files; the class that opens it.

    Raises:
        ExportError: the bundle is damaged, holds no ONNX file, or is of a task for which Optimum has no such class;
            or the folder is not empty.
    """
    import onnx

    where = str(bundle)
    try:
        manifest = read_manifest(bundle)
        entry = manifest.model("onnx")
        if entry is None:
            raise ExportError("it holds no ONNX file", where, "export the recipe with `export: [onnx]`")
        model = onnx.load_from_string(read_checked(bundle, entry.path, manifest.files[entry.path]))
        name, files = _describe(manifest, bundle)
    except EdgeError as error:
        raise ExportError(error.what, error.where, error.fix) from error
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ExportError("it exists and is not empty", str(folder), "give a new folder")
    _rename(model, entry.input.name, _INPUTS[name], entry.output.name, OUTPUT)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    for path, content in files.items():
        if isinstance(content, Path):
            shutil.copyfile(content, folder / path)
        else:
            (folder / path).write_bytes(to_json(content))
    return name


_INPUTS = {"ORTModelForImageClassification": "pixel_values", "ORTModelForSequenceClassification": "input_ids"}


def text_files(labels: Sequence[str], p: TextPreprocessing, tokenizer: bytes) -> dict[str, dict[str, Any]]:
    """config.json and tokenizer_config.json, which make a folder with model.onnx and tokenizer.json one of Optimum's.

    The graph takes `input_ids` alone and masks what is padding itself, so the tokenizer is told to give nothing else.
    """
    known = {t["content"]: t["id"] for t in json.loads(tokenizer).get("added_tokens", [])}
    pad = next((t for t, i in known.items() if i == p.pad_id), "[PAD]")
    special = {f"{t.strip('[]').lower()}_token": t for t in _TOKENS[1:] if t in known}
    config = {**_labels(labels), "model_type": "bert", "architectures": ["BertForSequenceClassification"],
              "pad_token_id": p.pad_id, "max_position_embeddings": p.max_length}  # fmt: skip
    return {"config.json": config,
            "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": p.max_length,
                                      "pad_token": pad, "model_input_names": ["input_ids"], **special}}  # fmt: skip


def to_json(content: Any) -> bytes:
    """As these files are written."""
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def _labels(labels: Sequence[str]) -> dict[str, Any]:
    return {"id2label": {str(i): label for i, label in enumerate(labels)},
            "label2id": {label: i for i, label in enumerate(labels)}}  # fmt: skip


def _describe(manifest: Manifest, bundle: Path) -> tuple[str, dict[str, Any]]:
    """The class that opens it, and every file but the model: its content, or where it stands."""
    p = manifest.preprocessing
    if isinstance(p, Preprocessing) and p.kind == "image":
        config = {**_labels(manifest.labels), "model_type": "resnet", "num_channels": p.channels,
                  "architectures": ["ResNetForImageClassification"]}  # fmt: skip
        size = {"height": p.height, "width": p.width}
        processor = {
            "image_processor_type": "ViTImageProcessor", "do_resize": True, "size": size, "resample": 2,
            "do_rescale": True, "rescale_factor": p.scale, "do_normalize": True,
            "image_mean": _each(p.mean, p.channels or 1), "image_std": _each(p.std, p.channels or 1),
        }  # fmt: skip
        return "ORTModelForImageClassification", {"config.json": config, "preprocessor_config.json": processor}
    if isinstance(p, TextPreprocessing):
        tokenizer = read_checked(bundle, p.tokenizer, manifest.files[p.tokenizer])
        files = text_files(manifest.labels, p, tokenizer)
        return "ORTModelForSequenceClassification", {**files, "tokenizer.json": bundle / p.tokenizer}
    what = f"a bundle for {manifest.task} has no counterpart among Optimum's classes"
    raise ExportError(what, str(bundle), "use edge_runtime, or the ONNX file itself with onnxruntime")


def _each(values: tuple[float, ...], channels: int) -> list[float]:
    """One value a channel, where one stands for all."""
    return list(values) * (channels if len(values) == 1 else 1)


def _rename(model: Any, old_input: str, new_input: str, old_output: str, new_output: str) -> None:
    """Everywhere in the main graph; a tensor that happens to bear a new name gives way."""
    names = {old_input: new_input, old_output: new_output}
    taken = {n for node in model.graph.node for n in (*node.input, *node.output)} - set(names)
    names |= {n: f"{n}_inner" for n in (new_input, new_output) if n in taken}
    for node in model.graph.node:
        node.input[:] = [names.get(n, n) for n in node.input]
        node.output[:] = [names.get(n, n) for n in node.output]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer, *model.graph.value_info):
        value.name = names.get(value.name, value.name)
