"""CSV, TSV and JSON-lines files: texts, numbers or windows of readings with a label, every problem with its line.

Nothing is guessed: a value that does not fit its column is an error.
"""

import contextlib
import difflib
import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from compress.errors import DataError
from compress.readers.problems import together
from compress.readers.raw import Array, Raw
from compress.readers.rows import Row, read_rows
from compress.readers.texts import Texts
from compress.readers.windows import cut_windows

MAX_CLASSES = 1000
_SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "test": "test",
}
_FLOAT32_MAX = 3e38
_NUMBERS = {int, float}
_SHOWN_COLUMNS = 12
_ABSENT = ("", "na", "n/a", "nan", "none", "null", "-", "?")


@dataclass(frozen=True, slots=True)
class Columns:
    """What each column is for.

    text: the column of texts, or None for a table of numbers. features: its number columns; empty takes every column
    without another role. classes: the labels in order; empty takes those found, sorted (numbers by value).
    split: a column of train, validation, test. group: a column whose equal values stay on one side of every split.
    window: (length, step) where rows are readings in time. A recording is a run of rows with one label, split, group
    and value of the series column, and of metadata: columns of facts about examples, which no model reads.
    """

    label: str
    text: str | None = None
    features: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    split: str | None = None
    group: str | None = None
    window: tuple[int, int] | None = None
    series: str | None = None
    metadata: tuple[str, ...] = field(default=(), repr=False)  # not part of a fingerprint where there is none

    @property
    def named(self) -> list[str]:
        """Every column that must be there."""
        return [
            c for c in (self.text, *self.features, self.label, self.split, self.group, self.series, *self.metadata)
            if c is not None
        ]  # fmt: skip


def read_table(path: Path, columns: Columns, test_file: Path | None = None) -> Raw:
    """Examples, labels and splits of a .csv, .tsv or .jsonl file.

    test_file: another file with the same columns that becomes the test split.

    Raises:
        DataError: with the line at fault.
    """
    table = _Table(path, columns)
    labels = dict(table.first_lines)
    found: dict[str, Any] = {}
    if test_file is not None:
        if "test" in table.splits:
            fix = f"leave test_file out, or the rows marked test in {columns.split}"
            raise DataError("it has test rows of its own beside the test file", str(path), fix)
        other = _Table(test_file, columns, table.features)
        labels |= other.first_lines
    classes = columns.classes or _classes(labels, str(path), columns.label)
    numbers = {c: i for i, c in enumerate(classes)}
    train, y, group, facts = table.part("train", numbers)
    if not len(y):
        raise DataError("no row is marked train", str(path), "give training examples")
    for name in ("validation", "test"):
        if name in table.splits:
            found[f"x_{name}"], found[f"y_{name}"], _, found[f"columns_{name}"] = table.part(name, numbers)
    if test_file is not None:
        found["x_test"], found["y_test"], _, found["columns_test"] = other.part(None, numbers)
    kind: Any = "table" if columns.window is None else "windows"
    return Raw(train, y, classes=classes, group=group, kind=kind, columns=facts, **found)


def table_shape(path: Path, columns: Columns) -> tuple[int, int]:
    """How many number columns (0 for texts) and classes; reads the labels only where the classes are not given.

    Raises:
        DataError: with the line at fault.
    """
    rows = read_rows(path)
    line, first = next(rows, (0, None))
    if first is None:
        raise DataError("it is empty", str(path), "give a file with a header and rows")
    features = _roles(first, columns, str(path), line)
    if columns.classes:
        return len(features), len(columns.classes)
    labels = {_label(first, columns, str(path), line): line}
    for line, row in rows:
        labels.setdefault(_label(row, columns, str(path), line), line)
    return len(features), len(_classes(labels, str(path), columns.label))


class _Table:
    """All examples of one file, values checked.

    first_lines: each distinct label -> the line it was first seen on. features: the number columns.
    splits: the names of the splits that rows were marked as.
    """

    def __init__(self, path: Path, columns: Columns, features: tuple[str, ...] = ()) -> None:
        self.path, self.columns, self.features = path, columns, features
        self.first_lines: dict[str, int] = {}
        self._texts: list[str] = []
        self._numbers = array("d")  # row after row; lists of lists would keep the garbage collector busy
        self._path = str(path)
        self._rows: list[tuple[str, ...]] = []  # label, split, and group, series and metadata if there are such columns
        self._starts: list[int] = []  # lines that recordings begin on
        self._wanted: frozenset[str] = frozenset()
        problems: list[DataError] = []
        for line, row in read_rows(path):
            try:
                self._take(row, line)
            except DataError as error:
                problems.append(error)
                if not self._wanted:  # the header itself is wrong, and with it every row
                    break
        if problems:
            raise together(problems)
        if not self._rows:
            raise DataError("it is empty", str(path), "give a file with a header and rows")
        self.splits = {row[1] for row in self._rows}
        self._examples, self._row = self._cut()

    def part(
        self, split: str | None, classes: dict[str, int]
    ) -> tuple[Array | Texts, Array, Array | None, dict[str, Array]]:
        """Examples, class numbers, groups and metadata of one split; None takes all."""
        rows = [self._rows[i] for i in self._row]
        chosen = np.array([split is None or row[1] == split for row in rows], bool)
        y = np.array([classes[row[0]] for row in rows], np.int64)
        c = self.columns
        group = None if c.group is None else np.array([row[2] for row in rows])[chosen]
        names = enumerate(c.metadata, start=2 + (c.group is not None) + (c.series is not None))
        facts = {name: np.array([row[i] for row in rows])[chosen] for i, name in names}
        return self._examples[chosen], y[chosen], group, facts

    def _cut(self) -> tuple[Array | Texts, Sequence[int]]:
        """The examples, and the row each one begins on."""
        if self.columns.text is not None:
            return Texts(self._texts), range(len(self._texts))
        x = np.array(self._numbers).reshape(len(self._rows), -1).astype(np.float32)
        if self.columns.window is None:
            return x, range(len(x))
        starts = [i for i, row in enumerate(self._rows) if i == 0 or row != self._rows[i - 1]]
        names = [f"the recording from line {self._starts[i]} on" for i in range(len(starts))]
        windows, owner = cut_windows(np.split(x, starts[1:]), *self.columns.window, names, str(self.path))
        return windows, [starts[i] for i in owner]

    def _take(self, row: Row, line: int) -> None:
        c, path = self.columns, self._path
        if not self._wanted:
            self.features = self.features or _roles(row, c, path, line)
            self._wanted = frozenset((*c.named, *self.features))
            self._keys = [k for k in (c.group, c.series, *c.metadata) if k is not None]
        if not self._wanted <= row.keys():
            _want_columns(row, (*c.named, *self.features), f"{path}, line {line}" if self._rows else path)
        label = _label(row, c, path, line)
        if label not in self.first_lines:
            self.first_lines[label] = line
        if c.text is not None:
            self._texts.append(_text(row[c.text], c.text, path, line))
        else:
            self._numbers.extend(_numbers(row, self.features, path, line))
        split = "train" if c.split is None else _split(row[c.split], c.split, path, line)
        facts = (label, split, *[_key(row[name], name, path, line) for name in self._keys])
        if not self._rows or facts != self._rows[-1]:
            self._starts.append(line)
        self._rows.append(facts)


def _roles(row: Row, columns: Columns, where: str, line: int) -> tuple[str, ...]:
    """The number columns, once the header is known."""
    _want_columns(row, columns.named, where)
    if columns.text is not None:
        return ()
    taken = {columns.label, columns.split, columns.group, columns.series, *columns.metadata}
    features = columns.features or tuple(c for c in row if c not in taken)
    if not features:
        raise DataError("no column is left for numbers", where, "name a text column, or give more columns")
    if not columns.features:
        for name in features:
            try:
                _number(row[name], name, where, line)
            except DataError as error:
                fix = "name the number columns in data.features, or the column of texts in data.text"
                raise DataError(
                    f"{error.what}, and every column without another role is a number", where, fix
                ) from None
    return features


def _want_columns(row: Row, wanted: Sequence[str], where: str) -> None:
    for name in wanted:
        if name not in row:
            near = difflib.get_close_matches(name, list(row), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            columns = ", ".join(list(row)[:_SHOWN_COLUMNS]) + (" ..." if len(row) > _SHOWN_COLUMNS else "")
            raise DataError(f"there is no column {name!r}{hint}", where, f"its columns are {columns}")


def _label(row: Row, columns: Columns, path: str, line: int) -> str:
    if columns.label not in row:
        _want_columns(row, [columns.label], path if line <= 2 else f"{path}, line {line}")
    label = _key(row[columns.label], columns.label, path, line)
    if columns.classes and label not in columns.classes:
        near = difflib.get_close_matches(label, columns.classes, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        what = f"label {_show(label)} is none of the classes {', '.join(columns.classes[:_SHOWN_COLUMNS])}{hint}"
        raise DataError(what, f"{path}, line {line}", "correct it, or add it to data.classes")
    return label


def _split(value: Any, column: str, path: str, line: int) -> str:
    split = _SPLITS.get(str(value).strip().lower())
    if split is None:
        raise DataError(f"{column} is {_show(value)}", f"{path}, line {line}", f"want one of {', '.join(_SPLITS)}")
    return split


def _key(value: Any, column: str, path: str, line: int) -> str:
    """A label or a group as text; 1 and 1.0 of JSON are the same."""
    if type(value) is str and (text := value.strip()):
        return text
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, (str, int)):
        raise DataError(f"{column} is {_show(value)}", f"{path}, line {line}", "give a text or a whole number")
    text = str(value).strip()
    if not text:
        raise DataError(f"{column} is empty", f"{path}, line {line}", "fill it in, or drop the row")
    return text


def _text(value: Any, column: str, path: str, line: int) -> str:
    where = f"{path}, line {line}"
    if not isinstance(value, str):
        raise DataError(f"{column} is {_show(value)}", where, "give text; put it in quotes")
    if "\0" in value:
        raise DataError(f"{column} holds a zero byte", where, "this looks like a binary file; give text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DataError(f"{column} holds half a surrogate pair", where, "repair or drop it") from None
    return value


def _numbers(row: Row, names: Sequence[str], path: str, line: int) -> list[float]:
    """The columns of one row: all at once where all are plain texts or plain numbers, else one by one."""
    values = [row[name] for name in names]
    try:
        plain = "_" not in "".join(values)
    except TypeError:
        plain = set(map(type, values)) <= _NUMBERS
    if plain:
        try:
            numbers = list(map(float, values))
            if sum(map(abs, numbers)) < _FLOAT32_MAX:  # so each of them is; not where one is NaN
                return numbers
        except (ValueError, OverflowError):
            pass  # told below, by its column
    return [_number(value, name, path, line) for value, name in zip(values, names, strict=True)]


def _number(value: Any, column: str, path: str, line: int) -> float:
    number = math.nan
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        number = float(value) if abs(value) < _FLOAT32_MAX else math.inf
    elif isinstance(value, str) and "_" not in value:  # 1_000 is Python's spelling, not a file's
        with contextlib.suppress(ValueError):
            number = float(value)
    if not abs(number) < _FLOAT32_MAX:  # NaN too
        fix = "give a finite number, with a point for decimals"
        if value is None or str(value).strip().lower() in _ABSENT:
            fix = "fill it in, or drop its row or recording"
        raise DataError(f"{column} is {_show(value)}", f"{path}, line {line}", fix)
    return number


def _show(value: Any) -> str:
    text = "empty" if value == "" else repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _classes(labels: dict[str, int], where: str, column: str) -> tuple[str, ...]:
    """Labels in order: whole numbers by value, others by the alphabet."""
    if len(labels) > MAX_CLASSES:
        what = f"{column} has {len(labels)} different values, more than {MAX_CLASSES}"
        raise DataError(what, where, "name the column of labels in data.label")
    whole = all(x.removeprefix("-").isdecimal() and len(x) < 18 for x in labels)
    return tuple(sorted(labels, key=lambda x: (int(x), x)) if whole else sorted(labels))
