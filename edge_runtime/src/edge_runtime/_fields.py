"""Typed fields out of parsed JSON: every problem is noted, none is raised, so that one reading shows them all."""

from __future__ import annotations

import math
from typing import Any

_MOST_UNKNOWN, _LONGEST_KEY = 20, 60  # a hostile document must cost neither time nor screens of text
_ABSENT = object()  # stands for a nested object whose absence has been noted


class Fields:
    """One JSON object under inspection.

    Each reader returns a harmless value of the right type where the field is wrong, and notes why. The caller builds
    its object only if `problems` is still empty.

    where: the path of this object in the document, "" for the top.
    problems: shared by all objects of one document.
    """

    def __init__(self, doc: Any, where: str, problems: list[str], known: tuple[str, ...]) -> None:
        self.where, self.problems = where, problems
        self.doc: dict[str, Any] = doc if isinstance(doc, dict) else {}
        self._readable = isinstance(doc, dict)  # one complaint is enough for an object that is none
        if not self._readable and doc is not _ABSENT:
            self.note("", f"{_show(doc)} is not an object")
        unknown = sorted(set(self.doc) - set(known))[:_MOST_UNKNOWN]
        if unknown:
            import difflib
        for key in unknown:
            near = difflib.get_close_matches(key[:_LONGEST_KEY], known, n=1)
            self.note(key, "unknown" + (f"; did you mean {near[0]!r}?" if near else ""))

    def at(self, key: str) -> str:
        """The path of a field."""
        shown = key if key.isprintable() and len(key) <= _LONGEST_KEY else ascii(key)[:_LONGEST_KEY]
        return f"{self.where}.{shown}".strip(".") or "the document"

    def note(self, key: str, problem: str) -> None:
        """Remember a problem of one field."""
        self.problems.append(f"{self.at(key)}: {problem}")

    def has(self, key: str) -> bool:
        """Whether the key is there; noted as missing where it is not."""
        if key not in self.doc and self._readable:
            self.note(key, "missing")
        return key in self.doc

    def text(self, key: str, *, longest: int = 200, one_of: tuple[str, ...] = ()) -> str:
        """A string of 1 to `longest` printable characters, from `one_of` where that is given."""
        if not self.has(key):
            return ""
        value = self.doc[key]
        problem = text_problem(value, longest)
        if not problem and one_of and value not in one_of:
            problem = f"{_show(value)} is none of {', '.join(one_of)}"
        if problem:
            self.note(key, problem)
            return ""
        return str(value)

    def integer(self, key: str, low: int, high: int, *, optional: bool = False) -> int | None:
        """An int in low..high (a bool is none); None only where `optional`."""
        if not self.has(key) or (optional and self.doc[key] is None):
            return None
        value = self.doc[key]
        if type(value) is not int or not low <= value <= high:
            self.note(key, f"{_show(value)} is not a whole number from {low} to {high}")
            return None
        return value

    def number(self, key: str, low: float, high: float, *, optional: bool = False) -> float | None:
        """A finite number in low..high, as a float; None only where `optional`."""
        if not self.has(key) or (optional and self.doc[key] is None):
            return None
        value = self.doc[key]
        if not is_number(value) or not low <= value <= high:
            self.note(key, f"{_show(value)} is not a number from {low:g} to {high:g}")
            return None
        return float(value)

    def items(self, key: str, *, fewest: int = 0, most: int) -> list[Any]:
        """A list of `fewest` to `most` items."""
        if not self.has(key):
            return []
        value = self.doc[key]
        if not isinstance(value, list) or not fewest <= len(value) <= most:
            self.note(key, f"{_show(value)} is not a list of {fewest} to {most} items")
            return []
        return value

    def table(self, key: str) -> Any:
        """A nested object, for another Fields to inspect."""
        return self.doc[key] if self.has(key) else _ABSENT


def is_number(value: Any) -> bool:
    """True for a finite int or float; a bool is none."""
    return type(value) in (int, float) and abs(value) <= 1e300 and math.isfinite(value)


def text_problem(value: Any, longest: int) -> str:
    """Why this is not a usable string, or ""."""
    if not isinstance(value, str):
        return f"{_show(value)} is not a string"
    if not 1 <= len(value) <= longest:
        return f"{len(value)} characters; 1 to {longest} are allowed"
    if not value.isprintable():  # also lone surrogates, which no file or terminal can take
        return f"{ascii(value)[:80]} holds characters that cannot be printed"
    return ""


def _show(value: Any) -> str:
    text = ascii(value) if isinstance(value, (str, int, float, bool, type(None))) else f"a {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."
