"""Text classifiers and encoders of the Hugging Face libraries as their config.json describes them.

Nothing of theirs is imported: the architecture is rebuilt as a graph (`bert.py`), and `encoder_weights.py` renames the
weights. So a folder is only ever data. Families: BERT (MiniLM too) and DistilBERT.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.errors import ModelError
from compress.model.bert import BertShape, Head, Pooling, bert_graph
from compress.model.graph import Graph

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
PICKLED = ("pytorch_model.bin", "model.bin", "pytorch_model.pt")
_CONVERT = (
    'python -c "from transformers import AutoConfig, AutoTokenizer; import transformers as t; '
    "c = AutoConfig.from_pretrained('{0}'); m = getattr(t, c.architectures[0]).from_pretrained('{0}'); "
    "m.save_pretrained('converted'); AutoTokenizer.from_pretrained('{0}').save_pretrained('converted')\""
)
_HEADS: dict[str, tuple[Pooling, Head]] = {  # architecture -> how its classifier reads the encoder
    "BertForSequenceClassification": ("first", "tanh-linear"),
    "DistilBertForSequenceClassification": ("first", "relu-linear"),
}


@dataclass(frozen=True, slots=True)
class HubModel:
    """What config.json says. shape: of encoder and head. labels: of its trained classifier, empty if it has none.

    family: "bert" or "distilbert". vocabulary: rows of the embedding table.
    """

    family: str
    shape: BertShape
    labels: tuple[str, ...]

    @property
    def vocabulary(self) -> int:
        """Rows of the embedding table."""
        return self.shape.vocabulary


def read_config(folder: Path, max_length: int) -> HubModel:
    """Read config.json for texts of at most max_length tokens.

    Raises:
        ModelError: it is missing, malformed, of another family, or has fewer positions than max_length.
    """
    where = f"{folder}"
    config = _config(folder)
    family = config.get("model_type")
    if not isinstance(family, str) or family not in _FAMILIES:
        fix = f"use a model of type {' or '.join(_FAMILIES)}, or export it to ONNX and give `teacher: {{onnx: FILE}}`"
        raise ModelError(f"its type is {family!r}", where, fix)
    try:
        shape, act, position = _FAMILIES[family](config)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"config.json lacks or garbles {error}", where, "copy the whole model folder again") from error
    if act != "gelu" or position not in (None, "absolute"):
        what = f"it has activation {act!r} and {position!r} positions"
        raise ModelError(what, where, "use a model with gelu and absolute positions")
    if max_length > shape["max_length"]:
        what = f"it reads at most {shape['max_length']} tokens, the recipe wants {max_length}"
        raise ModelError(what, where, f"set data.max_length to {shape['max_length']} or less")
    architecture = (config.get("architectures") or ["?"])[0]
    pooling, head = _HEADS.get(architecture, (pooling_of(folder), "linear"))
    labels = _labels(config, where) if architecture in _HEADS else ()
    shape |= {"max_length": max_length, "pooling": pooling, "head": head}
    try:
        return HubModel(family, BertShape(**shape), labels)
    except TypeError as error:
        raise ModelError(f"config.json is malformed: {error}", where, "copy the whole model folder again") from error


def read_graph(folder: Path, max_length: int, classes: int) -> Graph:
    """The graph of a folder's model with a classifier for `classes` classes; reads no weights.

    Raises:
        ModelError: see read_config.
    """
    found = read_config(folder, max_length)
    try:
        return bert_graph(found.shape, classes)
    except (TypeError, ValueError) as error:
        raise ModelError(f"config.json makes no net: {error}", str(folder), "copy the whole folder again") from error


def weights_file(folder: Path) -> Path:
    """The safetensors file of a model folder.

    Raises:
        ModelError: there is none; pickled weights are refused with the command that converts them.
    """
    path = folder / WEIGHTS
    if path.is_file():
        return path
    if (folder / f"{WEIGHTS}.index.json").is_file():
        command = _CONVERT.format(folder).replace("('converted')", "('converted', max_shard_size='9GB')", 1)
        fix = f"save it in one piece: {command}"
        raise ModelError("its weights are spread over several files", str(folder), fix)
    for name in PICKLED:
        if (folder / name).is_file():
            raise pickled(str(folder), name)
    raise ModelError(f"it holds no {WEIGHTS}", str(folder), f"give a folder with {CONFIG}, {WEIGHTS} and {TOKENIZER}")


def pickled(model: str, file: str) -> ModelError:
    """The error for a model, a folder or a hub id, that has pickled weights alone."""
    what = f"its weights are pickled ({file}); a pickle can run any code when it is opened, so it is not opened"
    return ModelError(what, model, f"if you trust where it came from, convert it once: {_CONVERT.format(model)}")


def _config(folder: Path) -> dict[str, Any]:
    path, fix = folder / CONFIG, f"give a model folder with {CONFIG}, {WEIGHTS} and {TOKENIZER}"
    if not folder.is_dir():
        raise ModelError("there is no such folder", str(folder), fix)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"it holds no {CONFIG}", str(folder), fix) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"it cannot be read: {error}", str(path), "copy the file again") from error
    if not isinstance(config, dict):
        raise ModelError("it is no JSON object", str(path), "copy the file again")
    return config


def pooling_of(folder: Path) -> Pooling:
    """Of an encoder without a classifier: what sentence-transformers' own file says, else the mean."""
    try:
        doc = json.loads((folder / "1_Pooling" / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "mean"
    return "first" if isinstance(doc, dict) and doc.get("pooling_mode_cls_token") is True else "mean"


def _labels(config: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """Label texts in the order of the outputs."""
    table = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    try:
        return tuple(str(table[str(i)]) for i in range(len(table)))
    except (KeyError, TypeError) as error:
        raise ModelError(f"id2label does not count 0, 1, 2, ...: {error}", where, "mend config.json") from error


def _of_bert(c: Mapping[str, Any]) -> tuple[dict[str, Any], Any, Any]:
    shape = {"vocabulary": c["vocab_size"], "layers": c["num_hidden_layers"], "width": c["hidden_size"],
             "heads": c["num_attention_heads"], "ffn": c["intermediate_size"], "pad_id": c.get("pad_token_id") or 0,
             "max_length": c["max_position_embeddings"], "eps": float(c.get("layer_norm_eps", 1e-12))}  # fmt: skip
    return _whole(shape), c.get("hidden_act", "gelu"), c.get("position_embedding_type")


def _of_distilbert(c: Mapping[str, Any]) -> tuple[dict[str, Any], Any, Any]:
    shape = {"vocabulary": c["vocab_size"], "layers": c["n_layers"], "width": c["dim"], "heads": c["n_heads"],
             "ffn": c["hidden_dim"], "pad_id": c.get("pad_token_id") or 0,
             "max_length": c["max_position_embeddings"], "eps": 1e-12}  # fmt: skip
    return _whole(shape), c.get("activation", "gelu"), None


_FAMILIES: dict[str, Callable[[Mapping[str, Any]], tuple[dict[str, Any], Any, Any]]] = {
    "bert": _of_bert,
    "distilbert": _of_distilbert,
}


def _whole(shape: dict[str, Any]) -> dict[str, Any]:
    for key, value in shape.items():
        if key != "eps" and (type(value) is not int or value < (key != "pad_id")):
            raise ValueError(f"{key} ({value!r})")
    return shape
