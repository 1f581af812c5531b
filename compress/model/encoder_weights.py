"""A text encoder's weights: out of a Hugging Face folder, or out of another encoder some of whose layers it keeps."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.errors import ModelError
from compress.model.bert import keep_layers
from compress.model.huggingface import HubModel, read_config, read_graph, weights_file
from compress.model.model import Model


def read_model(folder: Path, max_length: int, classes: int, seed: int) -> Model:
    """The encoder with its weights; its own classifier where it has one for as many classes, else a fresh one.

    Raises:
        ModelError: the folder has no safetensors weights, or they do not fit config.json.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    from compress.model.module import initial_model

    found, path = read_config(folder, max_length), weights_file(folder)
    try:
        stored = load_file(path)
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise ModelError(f"it cannot be read: {error}", str(path), "copy the file again from where it came") from error
    graph = read_graph(folder, max_length, classes)
    weights = dict(initial_model(graph, seed).weights)
    own_head = len(found.labels) == classes
    names = _bert_names(found) if found.family == "bert" else _distilbert_names(found)
    source = _without_prefix(stored, found.family)
    for mine, its in names.items():
        if mine.startswith(("classifier.", "pooler.")) and not own_head:
            continue
        if its not in source:
            raise ModelError(f"it has no tensor {its!r}", str(path), "give the weights that belong to its config.json")
        weights[mine] = np.asarray(source[its], np.float32)
    weights["positions.weight"] = _positions(source, found, path)
    try:
        return Model(graph, weights)
    except ModelError as error:
        raise ModelError(error.what, str(path), "give the weights that belong to its config.json") from error


def take_layers(model: Model, layers: Sequence[int]) -> Model:
    """A model that begins as some layers of another, with its table, norms and classifier.

    Raises:
        ModelError: it has no such layers.
    """
    graph, names = keep_layers(model.graph, layers)
    weights: dict[str, NDArray[Any]] = {}
    for name, array in model.weights.items():
        node, _, parameter = name.rpartition(".")
        weights |= {f"{new}.{parameter}": array for new, old in names.items() if old == node}
    return Model(graph, weights)


def _without_prefix(stored: Mapping[str, NDArray[Any]], family: str) -> dict[str, NDArray[Any]]:
    """Encoder names without the `bert.` that a model with a head puts before them; old names of norms renewed."""
    out = {}
    for name, array in stored.items():
        short = name.removeprefix(f"{family}.").replace("LayerNorm.gamma", "LayerNorm.weight")
        out[short.replace("LayerNorm.beta", "LayerNorm.bias")] = array
    return out


def _positions(source: Mapping[str, NDArray[Any]], found: HubModel, path: Path) -> NDArray[np.float32]:
    """The first max_length positions, with the embedding of the first segment added where there are segments."""
    name = "embeddings.position_embeddings.weight"
    if name not in source:
        raise ModelError(f"it has no tensor {name!r}", str(path), "give the weights that belong to its config.json")
    table = np.asarray(source[name], np.float32)[: found.shape.max_length]
    segments = source.get("embeddings.token_type_embeddings.weight")
    return table if segments is None else (table + np.asarray(segments, np.float32)[0]).astype(np.float32)


def _bert_names(found: HubModel) -> dict[str, str]:
    names = {"embedding": "embeddings.word_embeddings", "embedding_norm": "embeddings.LayerNorm"}
    for i in range(found.shape.layers):
        its = f"encoder.layer.{i}"
        names |= {
            **{f"layer{i + 1}_{n}": f"{its}.attention.self.{n}" for n in ("query", "key", "value")},
            f"layer{i + 1}_attention_out": f"{its}.attention.output.dense",
            f"layer{i + 1}_attention_norm": f"{its}.attention.output.LayerNorm",
            f"layer{i + 1}_ffn_in": f"{its}.intermediate.dense",
            f"layer{i + 1}_ffn_out": f"{its}.output.dense",
            f"layer{i + 1}_norm": f"{its}.output.LayerNorm",
        }
    if found.labels:
        names |= {"pooler": "pooler.dense", "classifier": "classifier"}
    return _parameters(names)


def _distilbert_names(found: HubModel) -> dict[str, str]:
    names = {"embedding": "embeddings.word_embeddings", "embedding_norm": "embeddings.LayerNorm"}
    for i in range(found.shape.layers):
        its = f"transformer.layer.{i}"
        names |= {
            **{f"layer{i + 1}_{n}": f"{its}.attention.{n[0]}_lin" for n in ("query", "key", "value")},
            f"layer{i + 1}_attention_out": f"{its}.attention.out_lin",
            f"layer{i + 1}_attention_norm": f"{its}.sa_layer_norm",
            f"layer{i + 1}_ffn_in": f"{its}.ffn.lin1",
            f"layer{i + 1}_ffn_out": f"{its}.ffn.lin2",
            f"layer{i + 1}_norm": f"{its}.output_layer_norm",
        }
    if found.labels:
        names |= {"pooler": "pre_classifier", "classifier": "classifier"}
    return _parameters(names)


def _parameters(names: Mapping[str, str]) -> dict[str, str]:
    out = {f"{mine}.{p}": f"{its}.{p}" for mine, its in names.items() for p in ("weight", "bias")}
    del out["embedding.bias"]
    return out
