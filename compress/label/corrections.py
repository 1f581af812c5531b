"""Labels that were made elsewhere: Label Studio's export, our own JSON lines, a spreadsheet's CSV."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compress.errors import DataError
from compress.readers.labelled import Queue

_MOST_BYTES = 1 << 28


def import_labels(queue: Queue, path: Path) -> int:
    """Take the decisions of a file into the folder's labels.jsonl; returns how many. All of them or none.

    .json: Label Studio's JSON or JSON-MIN export. .jsonl: {"id", "label"} a line. .csv: columns id and label, as
    items.csv. Rows without a label are passed over.

    Raises:
        DataError: the file is of none of these kinds, damaged, or names an item or class that the folder has not.
    """
    readers = {".json": _label_studio, ".jsonl": _json_lines, ".csv": _csv}
    if path.suffix.lower() not in readers:
        raise DataError("an unknown kind of file", str(path), "give .json (Label Studio), .jsonl or .csv")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"more than {_MOST_BYTES:,} bytes", str(path), "import it in parts")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"it cannot be read: {error}", str(path), "give a UTF-8 file") from error
    try:
        found = list(readers[path.suffix.lower()](text))
    except KeyError as error:
        what = f"it is damaged or of another kind: {error} is not there"
        raise DataError(what, str(path), "export it again") from error
    except (ValueError, TypeError, AttributeError, IndexError, csv.Error, RecursionError) as error:
        raise DataError(f"it is damaged or of another kind: {error}", str(path), "export it again") from error
    decided = [(id, label) for id, label in found if label]
    if not decided:
        raise DataError("it holds no labels", str(path), "label something first")
    queue.decide(decided)
    return len(decided)


def _label_studio(text: str) -> Iterator[tuple[str, str | None]]:
    """Tasks with annotations (JSON), or flat ones (JSON-MIN). The newest annotation that was not cancelled counts."""
    tasks = json.loads(text)
    if not isinstance(tasks, list):
        raise ValueError("not a list of tasks")
    for task in tasks:
        if "annotations" not in task:
            yield str(task["edge_id"]), _choice(task.get("label"))
            continue
        done = [a for a in task["annotations"] if not a.get("was_cancelled")]
        done.sort(key=lambda a: str(a.get("updated_at", a.get("created_at", ""))))
        results = [r for r in done[-1]["result"] if r.get("type") == "choices"] if done else []
        yield str(task["data"]["edge_id"]), _choice(results[-1]["value"]["choices"]) if results else None


def _choice(value: Any) -> str | None:
    if isinstance(value, list | dict):
        choices = value["choices"] if isinstance(value, dict) else value
        if len(choices) != 1:
            raise ValueError(f"{len(choices)} choices for one item")
        value = choices[0]
    return None if value is None else str(value)


def _json_lines(text: str) -> Iterator[tuple[str, str | None]]:
    for line in text.splitlines():
        if line.strip():
            row = json.loads(line)
            yield str(row["id"]), _choice(row.get("label"))


def _csv(text: str) -> Iterator[tuple[str, str | None]]:
    rows = csv.DictReader(text.splitlines())
    for row in rows:
        if row["label"] is None or row["id"] is None:
            raise ValueError(f"line {rows.line_num} has fewer cells than the first")
        label = row["label"].strip()
        # items.csv marks cells that a spreadsheet would run with an apostrophe
        yield row["id"], label.removeprefix("'") if label.startswith("'") and label[1:2] in tuple("=+-@") else label
