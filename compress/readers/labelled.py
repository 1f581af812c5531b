"""Inputs from the field with their labels: the folder that `edge-runtime queue export` writes, `compress label` fills.

queue.json     format, kind of input, classes
items.jsonl    one input a line: its id, its content (text, or the path of an .npy file), what the model said
labels.jsonl   one decision a line: {"id": ..., "label": "..." or null}; the last one of an id counts
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from edge_runtime.errors import EdgeError
from edge_runtime.files import read_file, read_npy
from edge_runtime.queue.export import FORMAT, FORMAT_VERSION

from compress.errors import DataError

KINDS = ("image", "window", "vector", "text")
LABELS_FILE = "labels.jsonl"
_MOST_BYTES = {"queue.json": 1 << 24, "items.jsonl": 1 << 30, LABELS_FILE: 1 << 28}
_MOST_ARRAY_BYTES = 1 << 26
_AGAIN = "export the queue again: edge-runtime queue export FILE FOLDER"


@dataclass(frozen=True)
class Item:
    """One input. predicted: class name, or None. array, view: paths in the folder; text: the text itself."""

    id: str
    predicted: str | None
    confidence: float
    array: str | None = None
    view: str | None = None
    text: str | None = None


@dataclass(frozen=True)
class Queue:
    """An exported queue. labels: class names in the model's order. items: by id, most telling first."""

    folder: Path
    name: str
    kind: str
    labels: tuple[str, ...]
    items: Mapping[str, Item]

    def decisions(self) -> dict[str, str]:
        """id -> label of what has been decided, in the order of the last decision on each.

        Raises:
            DataError: labels.jsonl is damaged, or names a class or an item that is not there.
        """
        out: dict[str, str] = {}
        for line, row in _lines(self.folder, LABELS_FILE, missing_ok=True):
            where = f"{self.folder / LABELS_FILE}:{line}"
            id, label = row.get("id"), row.get("label")
            if not isinstance(id, str) or id not in self.items:
                raise DataError(f"no item {ascii(id)[:60]}", where, "labels belong to the folder they were made in")
            out.pop(id, None)
            if label is not None:
                if label not in self.labels:
                    raise DataError(f"no class {ascii(label)[:60]}", where, f"use one of {_shown(self.labels)}")
                out[id] = label
        return out

    def decide(self, decisions: Iterable[tuple[str, str | None]]) -> None:
        """Add decisions to labels.jsonl; None takes one back. On the disk when this returns.

        Raises:
            DataError: an item or class is not there; nothing is written then. Or the disk does not take it.
        """
        rows = []
        for id, label in decisions:
            if id not in self.items or (label is not None and label not in self.labels):
                if id not in self.items:
                    fix = "labels belong to the folder they were made in"
                    raise DataError(f"no item {ascii(id)[:60]}", str(self.folder), fix)
                raise DataError(f"no class {ascii(label)[:60]}", str(self.folder), f"classes are {_shown(self.labels)}")
            rows.append(json.dumps({"id": id, "label": label, "time_s": round(time.time(), 3)}, ensure_ascii=False))
        path = self.folder / LABELS_FILE
        try:
            with path.open("ab") as file:
                data = "".join(f"{row}\n" for row in rows).encode()
                if file.tell() and not _ends_in_newline(path):  # a power cut may have left half a line
                    data = b"\n" + data
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            fix = "see that there is space left and that the folder is yours"
            raise DataError(f"the label cannot be written: {error.strerror}", str(path), fix) from error

    def array(self, item: Item) -> np.ndarray[Any, Any]:
        """The input itself, in raw units.

        Raises:
            DataError: the file is missing, damaged, or lies outside the folder.
        """
        if item.array is None:
            raise DataError(f"item {item.id} has no content", str(self.folder), 'the monitor kept "features" only')
        try:
            return read_npy(read_file(self.folder, item.array, largest=_MOST_ARRAY_BYTES))
        except (EdgeError, ValueError) as error:
            what = error.what if isinstance(error, EdgeError) else str(error)
            raise DataError(f"item {item.id}: {what}", str(self.folder / item.array), _AGAIN) from error


def open_queue(folder: Path) -> Queue:
    """Read queue.json and items.jsonl; no media.

    Raises:
        DataError: it is no exported queue, of a newer format, or damaged.
    """
    where = str(folder / "queue.json")
    if not folder.is_dir():
        raise DataError("no such folder", str(folder), "give what `edge-runtime queue export` wrote")
    head = _json(_read(folder, "queue.json"), where)
    if head.get("format") != FORMAT or type(head.get("format_version")) is not int:
        raise DataError("not an exported queue", where, "give what `edge-runtime queue export` wrote")
    if head["format_version"] > FORMAT_VERSION:
        what = f"a queue of format {head['format_version']}; this compress reads {FORMAT_VERSION}"
        raise DataError(what, where, "pip install --upgrade compress-edge")
    labels = head.get("labels")
    if head.get("kind") not in KINDS or not isinstance(labels, list) or not all(isinstance(x, str) for x in labels):
        raise DataError("kind or labels are damaged", where, _AGAIN)
    if not labels:
        raise DataError("the queue names no classes", where, "give the Monitor the bundle, which knows them")
    items = {}
    for line, row in _lines(folder, "items.jsonl"):
        item = _item(row, f"{folder / 'items.jsonl'}:{line}")
        items[item.id] = item
    return Queue(folder, str(head.get("name", "")), head["kind"], tuple(labels), items)


def digest_queue(folder: Path) -> str:
    """sha256 over what a recipe would use of the folder: its decisions and the content that they are about."""
    queue = open_queue(folder)
    h = hashlib.sha256(json.dumps([queue.kind, queue.labels]).encode())
    for id, label in sorted(queue.decisions().items()):
        item = queue.items[id]
        content = (item.text or "").encode("utf-8", "replace")
        if item.array is not None:
            content = queue.array(item).tobytes()
        h.update(json.dumps([id, label, len(content)]).encode() + content)
    return h.hexdigest()


def _item(row: dict[str, Any], where: str) -> Item:
    id, predicted, confidence = row.get("id"), row.get("predicted"), row.get("confidence", 0.0)
    texts = [row.get(key) for key in ("array", "view", "text")]
    if not isinstance(id, str) or not 1 <= len(id) <= 100 or any(not isinstance(t, str | None) for t in texts):
        raise DataError("a damaged item", where, _AGAIN)
    if not isinstance(confidence, int | float):
        raise DataError("a damaged item: confidence is no number", where, _AGAIN)
    return Item(id, predicted if isinstance(predicted, str) else None, float(confidence), *texts)


def _read(folder: Path, name: str) -> bytes:
    try:
        return read_file(folder, name, largest=_MOST_BYTES[name])
    except EdgeError as error:
        raise DataError(error.what, str(folder / name), _AGAIN) from error


def _json(data: bytes, where: str) -> dict[str, Any]:
    try:
        doc = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"not valid JSON: {error}", where, _AGAIN) from error
    if not isinstance(doc, dict):
        raise DataError("not a JSON object", where, _AGAIN)
    return doc


def _lines(folder: Path, name: str, *, missing_ok: bool = False) -> Iterable[tuple[int, dict[str, Any]]]:
    if missing_ok and not (folder / name).exists():
        return
    rows = _read(folder, name).split(b"\n")
    for i, line in enumerate(rows):
        if line.strip():
            try:
                yield i + 1, _json(line, f"{folder / name}:{i + 1}")
            except DataError:
                if i + 1 < len(rows) and name != LABELS_FILE:
                    raise
                continue  # half a line that a power cut left: that decision was not made


def _ends_in_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _shown(labels: tuple[str, ...]) -> str:
    return ", ".join(labels[:12]) + (", ..." if len(labels) > 12 else "")
