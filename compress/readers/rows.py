"""Rows of CSV, TSV and JSON-lines files, each with the line it begins on.

CSV as in RFC 4180: a header row, commas (tabs in a .tsv), fields with commas or line breaks in double quotes. JSON
lines: one object a line. Both UTF-8.
"""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from compress.errors import DataError

_MAX_LINE_BYTES = 1 << 24
_TAB = "\t"
Row = dict[str, Any]


def read_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """(line, row) of each row; lines count from 1 as editors do, a row's is the one it begins on."""
    if not path.is_file():
        what = "it is a folder" if path.is_dir() else "there is no such file"
        raise DataError(what, str(path), "give the path of a .csv, .tsv or .jsonl file")
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
    if len(header) == 1 and (other := next((c for c in ";\t|," if c in header[0]), "")):
        what = f"its header is one column that holds {'tabs' if other == _TAB else repr(other)}"
        fix = "separate columns with commas (tabs in a .tsv), and write decimals with a point"
        raise DataError(what, f"{path}, line {line}", fix)
    for i, name in enumerate(header):
        if not name:
            raise DataError(f"column {i + 1} has no name", f"{path}, line {line}", "the first row names the columns")
        if name in header[:i]:
            raise DataError(f"two columns are called {name!r}", f"{path}, line {line}", "rename one")


def _json_rows(path: Path) -> Iterator[tuple[int, Row]]:
    with path.open("rb") as file:
        decode = json.JSONDecoder(object_pairs_hook=_object).decode  # json.loads would make one a line
        line, fix = 0, 'give one JSON object a line, such as {"text": "good", "label": 1}'
        while data := file.readline(_MAX_LINE_BYTES + 1):
            line += 1
            where = f"{path}, line {line}"
            if len(data) > _MAX_LINE_BYTES:
                raise DataError(f"the line is longer than {_MAX_LINE_BYTES >> 20} MiB", where, fix)
            if not data.strip():
                continue
            try:
                row = decode(data.decode("utf-8-sig" if line == 1 else "utf-8"))
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
