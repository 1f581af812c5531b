"""CSV, TSV and JSON-lines files: texts or numbers with a label, read row by row, every problem with its line.

CSV as in RFC 4180: a header row, commas (tabs in a .tsv), fields with commas or line breaks in double quotes. JSON
lines: one object a line. Both UTF-8. Nothing is guessed: a value that does not fit its column is an error.
"""

import contextlib
import csv
import difflib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from compress.errors import DataError
from compress.readers.raw import Array, Raw
from compress.readers.texts import Texts

MAX_CLASSES = 1000
_MAX_LINE_BYTES = 1 << 24
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
_SHOWN_COLUMNS = 12
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Columns:
    """What each column is for.

    text: the column of texts, or None for a table of numbers. features: its number columns; empty takes every column
    without another role. classes: the labels in order; empty takes those found, sorted (numbers by value).
    split: a column of train, validation, test. group: a column whose equal values stay on one side of every split.
    """

    label: str
    text: str | None = None
    features: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    split: str | None = None
    group: str | None = None

    @property
    def named(self) -> list[str]:
        """Every column that must be there."""
        return [c for c in (self.text, *self.features, self.label, self.split, self.group) if c is not None]


def read_table(path: Path, columns: Columns, test_file: Path | None = None) -> Raw:
    """Examples, labels and splits of a .csv, .tsv or .jsonl file.

    test_file: another file with the same columns that becomes the test split.

    Raises:
        DataError: with the line at fault.
    """
    table = _Table(path, columns)
    other = _Table(test_file, columns, table.features) if test_file is not None else None
    if other is not None and table.splits["test"]:
        fix = f"leave test_file out, or the rows marked test in {columns.split}"
        raise DataError("it has test rows of its own beside the test file", str(path), fix)
    labels = {**table.labels, **(other.labels if other is not None else {})}
    classes = columns.classes or _classes(labels, str(path), columns.label)
    test, test_rows = (table, table.splits["test"]) if other is None else (other, range(len(other)))
    numbers = {c: i for i, c in enumerate(classes)}
    train = table.splits["train"]
    if not train:
        what = "no row is marked train" if columns.split is not None else "it has no rows below its header"
        raise DataError(what, str(path), "give training examples")
    found: dict[str, Any] = {}
    for name, source, rows in (("validation", table, table.splits["validation"]), ("test", test, test_rows)):
        if rows:
            found[f"x_{name}"], found[f"y_{name}"] = source.examples(rows), source.numbers(rows, numbers)
    group = np.array([table.groups[i] for i in train]) if columns.group is not None else None
    return Raw(table.examples(train), table.numbers(train, numbers), classes=classes, group=group, **found)


def table_shape(path: Path, columns: Columns) -> tuple[int, int]:
    """How many number columns (0 for texts) and classes; reads the labels only where the classes are not given.

    Raises:
        DataError: with the line at fault.
    """
    rows = _rows(path)
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
    """All rows of one file, values checked. labels: each distinct one -> the line it was first seen on."""

    def __init__(self, path: Path, columns: Columns, features: tuple[str, ...] = ()) -> None:
        self.path, self.columns, self.features = path, columns, features
        self.labels: dict[str, int] = {}
        self.splits: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
        self.groups: list[str] = []
        self._x: list[Any] = []
        self._y: list[str] = []
        for line, row in _rows(path):
            self._take(row, line)
        if not self._y:
            raise DataError("it is empty", str(path), "give a file with a header and rows")

    def __len__(self) -> int:
        return len(self._y)

    def _take(self, row: Row, line: int) -> None:
        where, c = f"{self.path}, line {line}", self.columns
        if not self._y:
            self.features = self.features or _roles(row, c, str(self.path), line)
        _want_columns(row, (*c.named, *self.features), where if self._y else str(self.path))
        label = _label(row, c, str(self.path), line)
        self.labels.setdefault(label, line)
        if c.text is not None:
            self._x.append(_text(row[c.text], c.text, where))
        else:
            self._x.append([_number(row[name], name, where) for name in self.features])
        if c.split is not None:
            name = _SPLITS.get(str(row[c.split]).strip().lower())
            if name is None:
                what = f"{c.split} is {_show(row[c.split])}"
                raise DataError(what, where, f"want one of {', '.join(_SPLITS)}")
        else:
            name = "train"
        if c.group is not None:
            self.groups.append(_key(row[c.group], c.group, where))
        self.splits[name].append(len(self))
        self._y.append(label)

    def examples(self, rows: Sequence[int]) -> Array | Texts:
        """Those rows' texts, or numbers (n, features) float32."""
        chosen = [self._x[i] for i in rows]
        return Texts(chosen) if self.columns.text is not None else np.array(chosen, np.float32)

    def numbers(self, rows: Sequence[int], classes: dict[str, int]) -> Array:
        """Those rows' class numbers."""
        return np.array([classes[self._y[i]] for i in rows], np.int64)


def _roles(row: Row, columns: Columns, where: str, line: int) -> tuple[str, ...]:
    """The number columns, once the header is known."""
    _want_columns(row, columns.named, where)
    if columns.text is not None:
        return ()
    taken = {columns.label, columns.split, columns.group}
    features = columns.features or tuple(c for c in row if c not in taken)
    if not features:
        raise DataError("no column is left for numbers", where, "name a text column, or give more columns")
    if not columns.features:
        for name in features:
            try:
                _number(row[name], name, f"{where}, line {line}")
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
    label = _key(row[columns.label], columns.label, f"{path}, line {line}")
    if columns.classes and label not in columns.classes:
        near = difflib.get_close_matches(label, columns.classes, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        what = f"label {_show(label)} is none of the classes {', '.join(columns.classes[:_SHOWN_COLUMNS])}{hint}"
        raise DataError(what, f"{path}, line {line}", "correct it, or add it to data.classes")
    return label


def _key(value: Any, column: str, where: str) -> str:
    """A label or a group as text; 1 and 1.0 of JSON are the same."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, (str, int)):
        raise DataError(f"{column} is {_show(value)}", where, "give a text or a whole number")
    text = str(value).strip()
    if not text:
        raise DataError(f"{column} is empty", where, "fill it in, or drop the row")
    return text


def _text(value: Any, column: str, where: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{column} is {_show(value)}", where, "give text; put it in quotes")
    if "\0" in value:
        raise DataError(f"{column} holds a zero byte", where, "this looks like a binary file; give text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DataError(f"{column} holds half a surrogate pair", where, "repair or drop it") from None
    return value


def _number(value: Any, column: str, where: str) -> float:
    number = math.nan
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        number = float(value) if abs(value) < _FLOAT32_MAX else math.inf
    elif isinstance(value, str) and "_" not in value:  # 1_000 is Python's spelling, not a file's
        with contextlib.suppress(ValueError):
            number = float(value)
    if not abs(number) < _FLOAT32_MAX:  # NaN too
        raise DataError(f"{column} is {_show(value)}", where, "give a finite number, with a point for decimals")
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


# -- rows of a file -------------------------------------------------------------------------------------------------


def _rows(path: Path) -> Iterator[tuple[int, Row]]:
    """(line, row) of each row; lines count from 1 as editors do, a row's is the one it begins on."""
    if not path.is_file():
        raise DataError("there is no such file", str(path), "give the path of a .csv, .tsv or .jsonl file")
    read: Callable[[Path], Iterator[tuple[int, Row]]] = _json_rows if path.suffix == ".jsonl" else _csv_rows
    try:
        yield from read(path)
    except UnicodeDecodeError:
        _raise_encoding(path)
    except OSError as error:
        raise DataError(f"it cannot be read: {error.strerror}", str(path), "check the file") from error


def _raise_encoding(path: Path) -> NoReturn:
    """Say which line is not UTF-8."""
    with path.open("rb") as file:
        for line, data in enumerate(file, 1):
            try:
                data.decode()
            except UnicodeDecodeError as error:
                wide = line == 1 and data[:2] in (b"\xff\xfe", b"\xfe\xff")
                what = "it is UTF-16" if wide else f"byte {data[error.start]:#04x} is not UTF-8"
                where = f"{path}, line {line}"
                raise DataError(what, where, "save the file as UTF-8 (iconv -t UTF-8)") from None
    raise DataError("it is not UTF-8", str(path), "save the file as UTF-8 (iconv -t UTF-8)")


def _csv_rows(path: Path) -> Iterator[tuple[int, Row]]:
    delimiter = "\t" if path.suffix == ".tsv" else ","
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        header: list[str] = []
        before = 0
        try:
            for fields in reader:
                line, before = before + 1, reader.line_num
                if not fields:
                    continue
                if not header:
                    header = [name.strip() for name in fields]
                    _check_header(header, str(path), line)
                elif len(fields) != len(header):
                    what = f"it has {len(fields)} fields, the header {len(header)}"
                    fix = "put fields that hold a comma, a quote or a line break in double quotes"
                    raise DataError(what, f"{path}, line {line}", fix)
                else:
                    yield line, dict(zip(header, fields, strict=True))
        except csv.Error as error:
            fix = "close every double quote, and double those inside a quoted field"
            raise DataError(f"it is no CSV: {error}", f"{path}, line {before + 1}", fix) from error


def _check_header(header: list[str], path: str, line: int) -> None:
    for i, name in enumerate(header):
        if not name:
            raise DataError(f"column {i + 1} has no name", f"{path}, line {line}", "the first row names the columns")
        if name in header[:i]:
            raise DataError(f"two columns are called {name!r}", f"{path}, line {line}", "rename one")


def _json_rows(path: Path) -> Iterator[tuple[int, Row]]:
    with path.open("rb") as file:
        line, fix = 0, 'give one JSON object a line, such as {"text": "good", "label": 1}'
        while data := file.readline(_MAX_LINE_BYTES + 1):
            line += 1
            where = f"{path}, line {line}"
            if len(data) > _MAX_LINE_BYTES:
                raise DataError(f"the line is longer than {_MAX_LINE_BYTES >> 20} MiB", where, fix)
            if not data.strip():
                continue
            try:
                row = json.loads(data.decode("utf-8-sig" if line == 1 else "utf-8"), object_pairs_hook=_object)
            except UnicodeDecodeError:
                raise
            except (ValueError, RecursionError) as error:
                raise DataError(f"it is no JSON: {error}", where, fix) from error
            if not isinstance(row, dict):
                raise DataError(f"it holds {type(row).__name__}, not an object", where, fix)
            yield line, row


def _object(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError("a key stands there twice")
    return row
