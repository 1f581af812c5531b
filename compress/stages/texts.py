"""What is particular to texts: a model's own tokenizer, batches of about one length, altered copies. No torch."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from compress.data.copies import add_copies
from compress.data.dataset import Dataset
from compress.model.bert import TABLE
from compress.model.graph import Graph
from compress.model.model import Model
from compress.model.tokenizer_files import trim_tokenizer
from compress.recipe.schema import Training

TOKENS = f"{TABLE}.tokens"
_SORTED = 50  # batches that are sorted by length together; more would make batches alike from epoch to epoch


def is_text(data: Dataset) -> bool:
    """True if its examples are texts that have a tokenizer."""
    return getattr(data.preprocessing, "kind", "") == "text"


def fit_data(data: Dataset, model: Model) -> Dataset:
    """The data as this model reads it: with the tokenizer of its own vocabulary, if that was trimmed."""
    if TOKENS not in model.weights:
        return data
    tokens = model.weights[TOKENS]
    content = trim_tokenizer(data.preprocessing.content, [int(t) for t in tokens])
    preprocessing = replace(data.preprocessing, pad_id=model.graph.pad_id).with_tokenizer(content)
    return data.with_preprocessing(preprocessing, f"vocabulary {tokens.tobytes().hex()}")


def takes(graph: Graph, data: Dataset) -> bool:
    """True if the model reads what the data gives."""
    if graph.pad_id is None or not is_text(data):
        return graph.pad_id is None and not is_text(data) and graph.input_shape == data.input_shape
    preprocessing = data.preprocessing
    return bool(preprocessing.max_length <= graph.input_shape[0] and preprocessing.pad_id == graph.pad_id)


def with_copies(data: Dataset, config: Training, seed: int) -> Dataset:
    """The data with the altered copies of training texts that a stage asks for."""
    return add_copies(data, config.augment.text_copies if config.augment is not None else 0, seed)


def by_length(ids: NDArray[np.int64], pad_id: int, size: int) -> Iterator[NDArray[np.int64]]:
    """Places of texts of about one length, `size` at a time, short ones first."""
    order = np.argsort((ids != pad_id).sum(1), kind="stable")
    for start in range(0, len(order), size):
        yield order[start : start + size]


def batches_of_alike(
    order: NDArray[np.int64], lengths: NDArray[np.int64], steps: int, generator: np.random.Generator
) -> list[NDArray[np.int64]]:
    """A permutation cut into batches whose texts are of about one length: runs of batches are sorted, then shuffled."""
    batches: list[NDArray[np.int64]] = []
    whole = np.array_split(order, steps)
    for start in range(0, steps, _SORTED):
        run = whole[start : start + _SORTED]
        joined = np.concatenate(run)
        joined = joined[np.argsort(lengths[joined], kind="stable")]
        batches += np.split(joined, np.cumsum([len(b) for b in run])[:-1])
    return [batches[i] for i in generator.permutation(len(batches))]
