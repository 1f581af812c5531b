"""Read a flatbuffer with every offset checked: flatbuffers.dev/internals. Nothing outside the data is ever touched."""

from __future__ import annotations

import struct

_MOST_ITEMS = 1 << 22


class Damaged(ValueError):
    """An offset or a length leads out of the data."""


class Table:
    """One table: its fields by number.

    A field that is absent, or lies beyond what the writer knew, has its default.
    """

    __slots__ = ("_at", "_size", "_slots", "data")

    def __init__(self, data: bytes, at: int) -> None:
        """at: where the table stands.

        Raises:
            Damaged: it, or the list of its fields, is not inside the data.
        """
        try:
            (back,) = struct.unpack_from("<i", data, at)
            listing = at - back
            if listing < 0 or at < 0:
                raise Damaged
            length, self._size = struct.unpack_from("<HH", data, listing)
            if length < 4 or length & 1 or self._size < 4 or at + self._size > len(data):
                raise Damaged
            self._slots = struct.unpack_from(f"<{length // 2 - 2}H", data, listing + 4)
        except (struct.error, OverflowError) as error:  # beyond what a 32-bit machine can count
            raise Damaged from error
        if self._slots and max(self._slots) >= self._size:
            raise Damaged
        self._at, self.data = at, data

    def has(self, field: int) -> bool:
        """Whether the field is there."""
        return field < len(self._slots) and self._slots[field] != 0

    def number(self, field: int, code: str, default: int = 0) -> int:
        """A scalar; code: of struct, for example "i"."""
        if not self.has(field):
            return default
        return _unpack(code, self.data, self._at + self._slots[field])[0]

    def table(self, field: int) -> Table | None:
        """A table that the field points to."""
        return Table(self.data, self._target(field)) if self.has(field) else None

    def count(self, field: int, item_bytes: int) -> int:
        """Length of a vector, all of which is inside the data."""
        return self._vector(field, item_bytes)[1] if self.has(field) else 0

    def numbers(self, field: int, code: str) -> tuple[int, ...]:
        """A vector of scalars."""
        if not self.has(field):
            return ()
        at, count = self._vector(field, struct.calcsize(code))
        return _unpack(f"{count}{code}", self.data, at)

    def tables(self, field: int) -> list[Table]:
        """A vector of tables."""
        if not self.has(field):
            return []
        at, count = self._vector(field, 4)
        offsets = _unpack(f"{count}I", self.data, at)
        return [Table(self.data, at + 4 * i + offset) for i, offset in enumerate(offsets)]

    def text(self, field: int) -> str:
        """A string; "" where it is absent.

        Raises:
            Damaged: also where it is not UTF-8.
        """
        if not self.has(field):
            return ""
        at, count = self._vector(field, 1)
        try:
            return self.data[at : at + count].decode()
        except UnicodeDecodeError as error:
            raise Damaged from error

    def _target(self, field: int) -> int:
        at = self._at + self._slots[field]
        return at + _unpack("I", self.data, at)[0]

    def _vector(self, field: int, item_bytes: int) -> tuple[int, int]:
        at = self._target(field)
        (count,) = _unpack("I", self.data, at)
        if at + 4 + count * item_bytes > len(self.data) or (item_bytes > 1 and count > _MOST_ITEMS):
            raise Damaged
        return at + 4, count


def _unpack(code: str, data: bytes, at: int) -> tuple[int, ...]:
    try:
        return struct.unpack_from(f"<{code}", data, at)
    except (struct.error, OverflowError) as error:
        raise Damaged from error
