"""A column of texts that is cut and picked from as an array of examples is."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from compress.errors import DataError


class Texts(Sequence[str]):
    """Immutable texts. An index gives one; a slice, an array of places or a mask of booleans gives Texts.

    Not a numpy array: `<U` pads every text to the longest one's length, and an object array needs a pickle to be saved.

    Raises:
        DataError: an entry is no text, or holds half a surrogate pair, which no UTF-8 can spell.

    >>> Texts(["good", "bad", "so so"])[np.array([2, 0])]
    Texts(['so so', 'good'])
    """

    __slots__ = ("_items",)

    def __init__(self, items: Iterable[str]) -> None:
        self._items = tuple(items)
        for i, item in enumerate(self._items):
            if not isinstance(item, str):
                raise DataError(f"example {i} is {type(item).__name__}", "texts", "give text for every example")
            if not _has_utf8(item):
                raise DataError(f"example {i} holds half a surrogate pair", "texts", "repair or drop it")

    @classmethod
    def _of(cls, items: tuple[str, ...]) -> "Texts":
        """Without looking at entries that have been looked at."""
        texts = object.__new__(cls)
        texts._items = items
        return texts

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Texts) and self._items == other._items

    def __hash__(self) -> int:
        return hash(self._items)

    def __repr__(self) -> str:
        more = f" and {len(self) - 3} more" if len(self) > 3 else ""
        return f"Texts({list(self._items[:3])}{more})"

    @overload
    def __getitem__(self, index: int | np.integer[Any]) -> str: ...
    @overload
    def __getitem__(self, index: slice | NDArray[Any]) -> "Texts": ...
    def __getitem__(self, index: Any) -> "str | Texts":
        """One text, or those that a slice, an integer array or a boolean mask chooses."""
        if isinstance(index, slice):
            return self._of(self._items[index])
        if not isinstance(index, np.ndarray) or index.ndim == 0:
            return self._items[index]
        if index.dtype == bool:
            if index.shape != (len(self),):
                raise IndexError(f"a mask of shape {index.shape} for {len(self)} texts")
            index = np.flatnonzero(index)
        elif index.dtype.kind not in "ui" or index.ndim != 1:
            raise IndexError(f"texts are picked by whole numbers, got {index.dtype} of shape {index.shape}")
        return self._of(tuple(self._items[i] for i in index))

    def digest(self) -> str:
        """sha256 over the texts and where each one ends."""
        h = hashlib.sha256()
        for text in self._items:
            data = text.encode()
            h.update(len(data).to_bytes(8, "little"))
            h.update(data)
        return h.hexdigest()


def _has_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
