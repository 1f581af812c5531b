"""reference.npz: raw examples and what the models made of them, packed into arrays of plain numbers.

kind of input    arrays
image, vector,   `inputs` (n, ...)
window
text             `text_bytes` uint8, all texts in UTF-8 one after the other; `text_ends` int64 (n,), where each one ends
tensors          `example_<k>_input_<i>`: input i, in the manifest's order, of example k; at most 64 examples

Answers: `logits_<format>` float32 (n, classes), or for the task tensors `example_<k>_<format>_output_<i>`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edge_runtime.manifest import Manifest

MOST_TENSOR_EXAMPLES = 64
Arrays = dict[str, "NDArray[Any]"]


def pack_inputs(manifest: Manifest, inputs: Any) -> Arrays:
    """Raw examples: an array, a sequence of str, or of dicts, as the kind of preprocessing has it."""
    kind = manifest.preprocessing.kind
    if kind == "text":
        encoded = [text.encode() for text in inputs]
        ends = np.cumsum([len(e) for e in encoded], dtype=np.int64)
        return {"text_bytes": np.frombuffer(b"".join(encoded), np.uint8), "text_ends": ends}
    if kind == "tensors":
        names = manifest.preprocessing.names  # type: ignore[union-attr]  # the kind says so
        return {f"example_{k}_input_{i}": np.asarray(e[n]) for k, e in enumerate(inputs) for i, n in enumerate(names)}
    return {"inputs": inputs}


def pack_outputs(outputs: Sequence[Mapping[str, NDArray[Any]]], format: str, names: Sequence[str]) -> Arrays:
    """What a model of the task tensors gave for each example."""
    return {
        f"example_{k}_{format}_output_{i}": np.asarray(found[n])
        for k, found in enumerate(outputs)
        for i, n in enumerate(names)
    }


def unpack_inputs(manifest: Manifest, arrays: Arrays) -> Any:
    """The inverse of pack_inputs.

    Raises:
        ValueError: what is missing or wrong.
    """
    kind = manifest.preprocessing.kind
    if kind == "text":
        return _texts(arrays)
    if kind == "tensors":
        names = manifest.preprocessing.names  # type: ignore[union-attr]
        examples: list[Arrays] = []
        while f"example_{len(examples)}_input_0" in arrays and len(examples) < MOST_TENSOR_EXAMPLES:
            k = len(examples)
            examples.append({n: _get(arrays, f"example_{k}_input_{i}") for i, n in enumerate(names)})
        if not examples:
            raise ValueError("want arrays `example_0_input_0` and so on")
        return examples
    inputs = _get(arrays, "inputs")
    if not inputs.ndim:
        raise ValueError("`inputs` is no list of examples")
    return inputs


def unpack_logits(arrays: Arrays, format: str, count: int, classes: int) -> NDArray[np.float32]:
    """The logits (n, classes) that a model gave.

    Raises:
        ValueError: what is missing or wrong.
    """
    key = f"logits_{format}"
    logits = _get(arrays, key)
    if logits.shape != (count, classes):
        raise ValueError(f"want `{key}` ({count}, {classes}), it is {logits.shape}")
    if logits.dtype != np.float32 or not np.isfinite(logits).all():
        raise ValueError(f"`{key}` is not finite float32")
    return logits


def unpack_outputs(arrays: Arrays, format: str, count: int, names: Sequence[str]) -> list[Arrays]:
    """The inverse of pack_outputs.

    Raises:
        ValueError: what is missing.
    """
    return [{n: _get(arrays, f"example_{k}_{format}_output_{i}") for i, n in enumerate(names)} for k in range(count)]


def _get(arrays: Arrays, key: str) -> NDArray[Any]:
    if key not in arrays:
        raise ValueError(f"want an array `{key}`")
    return arrays[key]


def _texts(arrays: Arrays) -> list[str]:
    data, ends = _get(arrays, "text_bytes"), _get(arrays, "text_ends")
    if data.dtype != np.uint8 or data.ndim != 1 or ends.dtype != np.int64 or ends.ndim != 1 or not len(ends):
        raise ValueError("want `text_bytes` uint8 and `text_ends` int64")
    edges = [0, *ends.tolist()]
    if edges != sorted(edges) or edges[-1] != len(data):
        raise ValueError("`text_ends` does not cut `text_bytes` into texts")
    content = data.tobytes()
    try:
        return [content[a:b].decode("utf-8") for a, b in zip(edges, edges[1:])]
    except UnicodeDecodeError as error:
        raise ValueError(f"`text_bytes` is not UTF-8: {error}") from error
