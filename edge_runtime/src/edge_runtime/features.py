"""A few numbers that describe an input and an answer: what drift is looked for in, and what novelty is measured in.

The penultimate layer of a deployed file is out of reach, so the description is made of what is at hand: summaries of
the preprocessed input (level, spread, extremes, roughness, a coarse grid) and of the logits (confidence, margin,
entropy, energy). They are engine independent: a float and an int8 file see the same inputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime._fields import Fields

if TYPE_CHECKING:
    from numpy.typing import NDArray

KINDS = ("image", "window", "vector", "text", "none")
OUTPUT_NAMES = ("confidence", "margin", "entropy", "energy")
_SIDE = 64  # larger images are thinned to this, so that the cost is bounded
_MOST_CHANNELS = 16
_LEVELS = ("level", "spread", "lowest", "highest")  # mean, standard deviation, least and greatest value
_MOST_ELEMENTS = 32  # a vector up to this long is described element by element
_LARGEST = {"window": 1 << 20, "vector": 1 << 22}  # values a channel; images are thinned
_BUCKETS = 16  # of hashed token counts


@dataclass(frozen=True)
class InputFeatures:
    """Describes preprocessed inputs by `names`.

    kind: "image" or "window" take (n, channels, h, w), "vector" (n, length), "text" token ids (n, length),
        "none" describes nothing.
    shape: of one input; for text () since lengths vary.
    pad_id: the id that fills short texts. seen: the ids that occurred in training, ascending (text only).
    """

    kind: str
    shape: tuple[int, ...] = ()
    pad_id: int = 0
    seen: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "_grid", self._pooling())
        known = np.zeros(max(self.seen, default=-1) + 2, bool)  # the last entry stands for every larger id
        known[list(self.seen)] = True
        object.__setattr__(self, "_known", known)

    @property
    def names(self) -> tuple[str, ...]:
        """One name a number, in the order of the columns."""
        if self.kind == "none":
            return ()
        if self.kind == "text":
            return ("length", "unseen", *(f"tokens_{i}" for i in range(_BUCKETS)))
        if self.kind == "vector":
            if self.shape[0] <= _MOST_ELEMENTS:
                return tuple(f"x{i}" for i in range(self.shape[0]))
            return (*_LEVELS, "roughness", *(f"part_{i}" for i in range(16)))
        channels = range(min(self.shape[0], _MOST_CHANNELS))
        mark = [""] if self.shape[0] == 1 else [f"_{c}" for c in channels]
        levels = [f"{what}{mark[c]}" for what in _LEVELS for c in channels]
        rows, columns = self._cells()
        rough = ["roughness_x"] + (["roughness_y"] if self.shape[1] > 1 else [])
        return (*levels, *rough, *(f"grid_{r}_{c}" for r in range(rows) for c in range(columns)))

    def __call__(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Features (n, len(names)), float32, of inputs (n, ...)."""
        if self.kind == "none":
            return np.empty((len(x), 0), np.float32)
        if self.kind == "text":
            return self._text(x)
        if self.kind == "vector":
            if x.shape[1] <= _MOST_ELEMENTS:
                return np.asarray(x, np.float32)
            rough = np.abs(np.diff(x, axis=1)).mean(axis=1)
            return np.column_stack([*_levels(x, 1), rough, x @ self._grid]).astype(np.float32)  # type: ignore[attr-defined]
        x = thin(x)
        rough_x = np.abs(x[..., 1:] - x[..., :-1]).mean(axis=(1, 2, 3)) if x.shape[3] > 1 else np.zeros(len(x))
        columns = [*(part[:, :_MOST_CHANNELS] for part in _levels(x, (2, 3))), rough_x]
        if self.shape[1] > 1:
            columns.append(np.abs(x[:, :, 1:] - x[:, :, :-1]).mean(axis=(1, 2, 3)))
        flat = x[:, 0] if x.shape[1] == 1 else x.mean(axis=1)
        columns.append(flat.reshape(len(x), -1) @ self._grid)  # type: ignore[attr-defined]
        return np.column_stack(columns).astype(np.float32, copy=False)

    def _text(self, ids: NDArray[Any]) -> NDArray[np.float32]:
        used = ids != self.pad_id
        length = used.sum(axis=1)
        whole = np.maximum(length, 1)
        known = self._known[np.clip(ids, 0, len(self._known) - 1)]  # type: ignore[attr-defined]
        unseen = (used & ~known).sum(axis=1) / whole
        # Feature hashing (Weinberger et al. 2009, arXiv:0902.2206): a bag of words in a few columns.
        bucket = (ids.astype(np.uint32) * np.uint32(2654435761)) >> np.uint32(28)
        out = np.empty((len(ids), 2 + _BUCKETS), np.float32)
        out[:, 0], out[:, 1] = length, unseen
        for b in range(_BUCKETS):
            out[:, 2 + b] = (used & (bucket == b)).sum(axis=1) / whole
        return out

    def _cells(self) -> tuple[int, int]:
        """Rows and columns of the coarse grid."""
        height, width = self.shape[1:]
        return min(4, height), min(4 if height > 1 else 8, width)

    def _pooling(self) -> NDArray[np.float32] | None:
        """(elements, cells): a matrix that takes cell means."""
        if self.kind == "vector" and self.shape[0] > _MOST_ELEMENTS:
            return _means(self.shape[0], 16)
        if self.kind not in ("image", "window"):
            return None
        height, width = (len(range(0, n, -(-n // _SIDE))) for n in self.shape[1:])
        if self.kind == "window":
            width = self.shape[2]
        rows, columns = self._cells()
        return np.kron(_means(height, rows), _means(width, columns)).astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        """Plain data, the inverse of from_json. `seen` as hexadecimal bits, since it may be long."""
        bits = np.zeros(max(self.seen, default=-1) + 1, bool)
        bits[list(self.seen)] = True
        packed = np.packbits(bits).tobytes().hex()
        return {"kind": self.kind, "shape": list(self.shape), "pad_id": self.pad_id, "seen": packed}

    @staticmethod
    def from_json(doc: Any, problems: list[str]) -> InputFeatures:
        """Rebuild from to_json's data; what is wrong goes to `problems`, and something harmless comes back."""
        fields = Fields(doc, "inputs", problems, ("kind", "shape", "pad_id", "seen"))
        kind = fields.text("kind", one_of=KINDS)
        shape = fields.items("shape", most=3)
        pad_id = fields.integer("pad_id", 0, 1 << 24)
        seen: Any = fields.doc.get("seen")
        ranks = {"image": 3, "window": 3, "vector": 1, "text": 0, "none": 0}
        if kind and (len(shape) != ranks[kind] or not all(type(d) is int and 1 <= d <= 1 << 24 for d in shape)):
            fields.note("shape", f"does not fit kind {kind}")
        elif kind in _LARGEST and math.prod(shape[1:] or shape) > _LARGEST[kind]:  # before a matrix is made for it
            fields.note("shape", f"larger than any {kind}")
        ids: tuple[int, ...] = ()
        if not isinstance(seen, str) or len(seen) > 1 << 20:
            fields.note("seen", "want hexadecimal digits")
        else:
            try:
                bits = np.unpackbits(np.frombuffer(bytes.fromhex(seen), np.uint8))
                ids = tuple(int(i) for i in np.flatnonzero(bits))
            except ValueError:
                fields.note("seen", "want hexadecimal digits")
        if problems:
            return InputFeatures("none")
        return InputFeatures(kind, tuple(shape), pad_id or 0, ids)


def describe_inputs(x: NDArray[Any], kind: str, pad_id: int = 0) -> InputFeatures:
    """The description that suits training inputs x (n, ...): for text it learns which ids there are."""
    if kind == "text":
        ids = np.unique(x)
        return InputFeatures("text", (), pad_id, tuple(int(i) for i in ids[ids >= 0]))
    return InputFeatures(kind, x.shape[1:])


def thin(x: NDArray[Any]) -> NDArray[Any]:
    """Images (n, channels, h, w) with at most 64 rows and columns of their pixels; a view. Windows stay whole."""
    if x.shape[2] == 1:
        return x
    rows, columns = (-(-n // _SIDE) for n in x.shape[2:])
    return x if rows == columns == 1 else x[:, :, ::rows, ::columns]


def output_features(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, 4) of logits (n, classes): confidence, margin, entropy (0..1), energy.

    confidence: the highest softmax probability; margin: it minus the second; entropy: of the softmax, over its
    maximum; energy: log sum exp of the logits, low for what the model has not seen (Liu et al. 2020, arXiv:2010.03759).
    """
    top = logits.max(axis=1, keepdims=True)
    with np.errstate(under="ignore", divide="ignore", invalid="ignore"):
        exponentials = np.exp(logits - top)
        total = exponentials.sum(axis=1)
        p = exponentials / total[:, np.newaxis]
        log_total = np.log(total)
        # -sum p log p, with log p = logit - top - log_total
        entropy = log_total - (p * (logits - top)).sum(axis=1)
    out = np.empty((len(logits), 4), np.float32)
    if logits.shape[1] > 1:
        best = np.partition(p, -2, axis=1)[:, -2:]
        out[:, 0], out[:, 1] = best[:, 1], best[:, 1] - best[:, 0]
        out[:, 2] = entropy / np.log(logits.shape[1])
    else:
        out[:, :3] = (1.0, 1.0, 0.0)
    out[:, 3] = log_total + top[:, 0]
    return out


def _levels(x: NDArray[Any], axis: Any) -> tuple[NDArray[Any], ...]:
    return x.mean(axis=axis), x.std(axis=axis), x.min(axis=axis), x.max(axis=axis)


def _means(size: int, cells: int) -> NDArray[np.float32]:
    """(size, cells): the mean of each of `cells` equal stretches."""
    owner = np.arange(size) * cells // size
    matrix = (owner[:, np.newaxis] == np.arange(cells)).astype(np.float32)
    out: NDArray[np.float32] = matrix / matrix.sum(axis=0)
    return out
