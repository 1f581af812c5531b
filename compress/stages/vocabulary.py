"""The vocabulary stage: a table of only those tokens that the training texts use, and narrower. Trains nothing."""

import json
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.data.dataset import Dataset, Split
from compress.errors import StageError
from compress.model.bert import TABLE, WIDENED, with_narrow_table
from compress.model.model import Model
from compress.model.tokenizer_files import fallback_tokens, is_word_piece
from compress.recipe.schema import VocabularyConfig
from compress.stages.base import Context, StageResult
from compress.stages.texts import TOKENS, fit_data


def vocabulary(model: Model, config: VocabularyConfig, context: Context) -> StageResult:
    """Keep the tokens that stand in at least min_count training texts, the special ones and all single characters.

    A text whose tokens all stay gets the same logits as before, bit for bit, unless a rank makes the table narrower.
    Metrics: `tokens` [before, after], and how validation texts, which had no say in the choice, are spelled:
    `validation_texts_respelled` of them hold a word that now falls back to pieces, `validation_unknown` tokens are
    unknown [before, after], and a text has `validation_mean_length` tokens [before, after]. With a rank:
    `table_parameters` [before, after], and `table_error`, the share of the table's squares that is lost, tokens
    weighted by how many training texts hold them.

    Raises:
        StageError: the model takes no texts, its tokenizer does not fall back to pieces, or no token is to go.
    """
    data = fit_data(context.data, model)
    content = getattr(data.preprocessing, "content", None)
    if model.graph.pad_id is None or content is None:
        raise StageError("the model takes no texts", "vocabulary", "leave the stage out")
    if not is_word_piece(content):
        kind = json.loads(content).get("model", {}).get("type")
        what = f"the tokenizer is of type {kind}; without some of its tokens it would spell all texts differently"
        raise StageError(what, "vocabulary", "leave the stage out; it takes WordPiece tokenizers (BERT, DistilBERT)")
    if model.graph.quantized:
        raise StageError("the model is quantized already", "vocabulary", "put vocabulary before quantize")
    before = model.graph.node(TABLE).attrs["vocabulary"]
    counts = Counter[int]()
    for row in data.inputs(data.train):
        counts.update(set(row.tolist()))
    keep = sorted({t for t, n in counts.items() if n >= config.min_count} | fallback_tokens(content))
    if len(keep) == before and config.rank is None:
        raise StageError(f"the training texts use all {before:,} tokens", "vocabulary", "leave the stage out")
    trimmed = with_tokens(model, np.array(keep, np.int32))
    metrics = _metrics(data, fit_data(context.data, trimmed), content, [before, len(keep)])
    if config.rank is not None:
        wide = model.weights[f"{TABLE}.weight"].shape[1]
        trimmed, error = narrowed(trimmed, config.rank, np.array([counts[t] for t in keep]))
        size = len(keep) * config.rank + config.rank * wide
        metrics |= {"table_parameters": [before * wide, size], "table_error": round(error, 4)}
    return StageResult(trimmed, True, metrics=metrics)


def narrowed(model: Model, rank: int, counts: NDArray[np.int64]) -> tuple[Model, float]:
    """The model with a table of `rank` features a token and a linear layer behind it, and the share of squares lost.

    counts: how many training texts hold each token. The truncated singular value decomposition of the table whose rows
    are scaled by sqrt(count + 1/2) loses least of what the training texts read; of unused tokens, most.
    """
    graph, table = with_narrow_table(model.graph, rank), model.weights[f"{TABLE}.weight"].astype(np.float64)
    weight = np.sqrt(counts + 0.5)[:, np.newaxis]
    _, _, directions = np.linalg.svd(table * weight, full_matrices=False)
    basis = directions[:rank]
    small = table @ basis.T
    error = (((small @ basis - table) * weight) ** 2).sum() / ((table * weight) ** 2).sum()
    new = {f"{TABLE}.weight": small.astype(np.float32), f"{WIDENED}.weight": basis.T.astype(np.float32)}
    new = {name: np.ascontiguousarray(array) for name, array in new.items()}
    return Model(graph, {**model.weights, **new}), float(error)


def with_tokens(model: Model, keep: NDArray[np.int32]) -> Model:
    """The model with some rows of its table; keep: ascending ids of the model's own vocabulary."""
    weights = dict(model.weights)
    original = weights.get(TOKENS, np.arange(model.graph.node(TABLE).attrs["vocabulary"], dtype=np.int32))
    weights[TOKENS] = np.ascontiguousarray(original[keep])
    weights[f"{TABLE}.weight"] = np.ascontiguousarray(weights[f"{TABLE}.weight"][keep])
    nodes = []
    for node in model.graph:
        if node.name == TABLE:
            node = node.with_attrs(vocabulary=len(keep), trimmed=True)
        elif node.op == "input":
            node = node.with_attrs(pad_id=int(np.searchsorted(keep, node.attrs["pad_id"])))
        nodes.append(node)
    return Model(model.graph.with_nodes(nodes), weights)


def in_vocabulary(teacher: Model, student: Model) -> Model:
    """The teacher reading the student's tokens: the same table rows, so that both see one sequence.

    Raises:
        StageError: the student has tokens that the teacher lacks.
    """
    if TOKENS not in student.weights:
        return teacher
    wanted = student.weights[TOKENS]
    size = teacher.graph.node(TABLE).attrs["vocabulary"]
    have = teacher.weights.get(TOKENS, np.arange(size, dtype=np.int32))
    places = np.searchsorted(have, wanted)
    if (places >= len(have)).any() or (have[np.minimum(places, len(have) - 1)] != wanted).any():
        what = "the student's vocabulary has tokens that the teacher's lacks"
        raise StageError(what, "distill", "use a teacher of the same tokenizer, trimmed no further than the student")
    return with_tokens(teacher, places.astype(np.int32))


def _metrics(before: Dataset, after: Dataset, content: bytes, tokens: list[int]) -> dict[str, Any]:
    split = before.validation
    first, second = _spelled(before, split), _spelled(after, split)
    doc = json.loads(content)
    unknown = doc["model"]["vocab"][doc["model"]["unk_token"]]
    left = json.loads(after.preprocessing.content)["model"]["vocab"][doc["model"]["unk_token"]]
    return {
        "tokens": tokens,
        "validation_texts": len(split),
        "validation_texts_respelled": sum(len(a) != len(b) for a, b in zip(first, second, strict=True)),
        "validation_unknown": [sum(r.count(unknown) for r in first), sum(r.count(left) for r in second)],
        "validation_mean_length": [round(float(np.mean([len(r) for r in rows])), 3) for rows in (first, second)],
    }


def _spelled(data: Dataset, split: Split) -> list[list[int]]:
    pad_id = data.preprocessing.pad_id
    return [row[row != pad_id].tolist() for row in data.inputs(split)]
