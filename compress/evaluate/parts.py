"""An example in a few parts that can be taken away: patches of an image, words, stretches of a signal, columns.

What a part is replaced by should say nothing: for numbers the average of the test examples there, for words nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

MOST_PARTS = 64
PATCHES = 7  # a side
STRETCHES = 16


@dataclass(frozen=True, slots=True)
class Parts:
    """kind, rows, columns: of the grid that the parts make (words and columns: one row). labels: words as shown.

    without(present) gives the raw examples, (b, ...) or texts, that hold only some parts: present is (b, parts) bool.
    """

    kind: Literal["patches", "words", "stretches", "columns"]
    rows: int
    columns: int
    labels: tuple[str, ...]
    example: Any
    average: Any
    owner: NDArray[np.int64] | None  # part of each element of the example

    @property
    def count(self) -> int:
        """How many there are."""
        return self.rows * self.columns

    def without(self, present: NDArray[np.bool_]) -> Any:
        """The example once a row, less the parts that are not present."""
        if self.owner is None:
            return [" ".join(w for w, p in zip(self.labels, row, strict=True) if p) for row in present]
        kept = present[:, self.owner]  # (b, *example.shape[:owner.ndim])
        kept = kept.reshape(kept.shape + (1,) * (self.example.ndim - self.owner.ndim))
        mixed = np.where(kept, self.example[np.newaxis], self.average[np.newaxis])
        return mixed.astype(self.example.dtype)


def average_of(examples: Any) -> Any:
    """What stands for a part that is taken away; None for texts."""
    if not isinstance(examples, np.ndarray):
        return None
    mean = examples.mean(axis=0, dtype=np.float64)
    return np.rint(mean) if examples.dtype.kind in "ui" else mean


def parts_of(example: Any, kind: str, average: Any) -> Parts:
    """Cut one raw example. kind: of compress.evaluate.invariance.kind_of, which tells windows from images."""
    if isinstance(example, str):
        return _words(example)
    array = np.asarray(example)
    if array.ndim == 1:
        count = min(len(array), MOST_PARTS)
        return Parts("columns", 1, count, (), array, average, _cut(len(array), count))
    if kind == "window":
        length, channels = array.shape
        stretches = max(2, min(STRETCHES, MOST_PARTS // channels, length))
        owner = _cut(length, stretches)[:, np.newaxis] + stretches * np.arange(channels)[np.newaxis]
        return Parts("stretches", channels, stretches, (), array, average, owner)
    height, width = array.shape[:2]
    rows, columns = min(PATCHES, height), min(PATCHES, width)
    owner = columns * _cut(height, rows)[:, np.newaxis] + _cut(width, columns)[np.newaxis]
    return Parts("patches", rows, columns, (), array, average, owner)


def _words(text: str) -> Parts:
    words = text.split() or [""]
    if len(words) > MOST_PARTS:  # neighbours stand together
        words = [" ".join(part) for part in _chunks(words, MOST_PARTS)]
    return Parts("words", 1, len(words), tuple(words), text, None, None)


def _chunks(items: Sequence[str], count: int) -> list[list[str]]:
    owner = _cut(len(items), count).tolist()
    out: list[list[str]] = [[] for _ in range(count)]
    for item, i in zip(items, owner, strict=True):
        out[i].append(item)
    return out


def _cut(length: int, count: int) -> NDArray[np.int64]:
    """Part of each of `length` places, in `count` stretches of about equal size."""
    return np.arange(length, dtype=np.int64) * count // length
