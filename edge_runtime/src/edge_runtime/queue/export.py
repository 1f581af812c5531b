"""The queue as a folder for labelling: JSON lines, CSV, media, and an import file for Label Studio.

    queue.json          what this is: format, version, model, kind of input, classes
    items.jsonl         one item a line
    items.csv           the same for a spreadsheet, with an empty column `label`
    media/<id>.npy      the example in raw units; <id>.png and <id>.csv are for people to look at
    label_studio.json   tasks with predictions; label_studio.xml is the labelling interface that goes with them

`compress label FOLDER` shows it and writes labels.jsonl; a recipe's `data: {extra: [FOLDER]}` reads both.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

import numpy as np

from edge_runtime.errors import BundleError, InputError
from edge_runtime.files import write_atomic
from edge_runtime.queue.payload import decode, png
from edge_runtime.queue.queue import Item, forget, read_items, worth
from edge_runtime.store.durable import move_durable, sync_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_runtime.monitor.store import Store

FORMAT, FORMAT_VERSION = "edge-queue", 1
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would run such a cell


def export_queue(store: Store, folder: Path, *, most: int | None = None, keep: bool = False) -> int:
    """Write the queue into a new folder, most telling first; returns how many items.

    most: of them; None is all. keep: leave them in the queue; otherwise their content leaves the monitor's file.
    Whole or not at all: a folder appears under its name when everything is in it and on the disk, and only then do the
    items leave.

    Raises:
        InputError: the folder is there already, the queue is empty, or holds features alone.
        MonitorError, sqlite3.Error: the file cannot be read.
    """
    if folder.exists():
        raise InputError("there is something of that name already", str(folder), "give a new folder")
    facts = store.facts()
    labels: list[str] = facts.get("labels", [])
    with store.transaction() as db:
        items = sorted(read_items(db), key=worth, reverse=True)[:most]
        if not items:
            fix = 'give the monitor keep="raw" (or "features"), and wait for inputs that are worth a label'
            raise InputError("the queue is empty", str(folder), fix)
        work = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
        shutil.rmtree(work, ignore_errors=True)
        try:
            (work / "media").mkdir(parents=True)
            rows = [row for item in items if (row := _write_item(work, item, labels)) is not None]
            _write_lists(
                work, rows, {"name": facts.get("name", ""), "kind": items[0].kind, "labels": labels}, folder.name
            )
            sync_files(work)
            move_durable(work, folder)
        except OSError as error:
            fix = "give a folder on a disk with room, which you may write to"
            raise InputError(f"the folder cannot be written: {error.strerror or error}", str(folder), fix) from error
        finally:
            shutil.rmtree(work, ignore_errors=True)
        if not keep:
            forget(db, [item.id for item in items])
    store.empty_log()
    return len(rows)


def _write_item(work: Path, item: Item, labels: Sequence[str]) -> dict[str, Any] | None:
    """The item's line of items.jsonl; its media are written. None if what was kept of it is damaged."""
    known = 0 <= item.predicted < len(labels)
    row: dict[str, Any] = {
        "id": item.id,
        "time_s": round(item.time_s, 3),
        "predicted": labels[item.predicted] if known else item.predicted if item.predicted >= 0 else None,
        "confidence": round(item.confidence, 6),
        "uncertainty": round(item.uncertainty, 6),
        "novelty": round(item.novelty, 6),
    }
    if item.payload is None:
        return {**row, "features": [round(float(v), 4) for v in item.features]}
    try:
        content = decode(item.kind, item.payload)
    except BundleError:
        return None
    if item.kind == "text":
        return {**row, "text": content}
    stem = f"media/{item.id}"
    (work / f"{stem}.npy").write_bytes(item.payload)
    row["array"] = f"{stem}.npy"
    if item.kind == "image" and (content.ndim == 2 or content.shape[2] in (1, 3, 4)):
        (work / f"{stem}.png").write_bytes(png(_visible(content)))
        row["view"] = f"{stem}.png"
    elif item.kind == "window":
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(["t", *(f"c{i}" for i in range(content.shape[1]))])
        writer.writerows([i, *(f"{v:.6g}" for v in line)] for i, line in enumerate(content))
        (work / f"{stem}.csv").write_text(text.getvalue())
        row["view"] = f"{stem}.csv"
    return row


def _visible(pixels: Any) -> Any:
    """Pixels that are no bytes, stretched to 0..255."""
    if pixels.dtype == np.uint8:
        return pixels
    low, high = float(pixels.min()), float(pixels.max())
    return np.rint((pixels - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)


def _write_lists(work: Path, rows: list[dict[str, Any]], facts: dict[str, Any], name: str) -> None:
    head = {"format": FORMAT, "format_version": FORMAT_VERSION, **facts, "items": len(rows)}
    write_atomic(work / "queue.json", (json.dumps(head, indent=2, ensure_ascii=False) + "\n").encode())
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (work / "items.jsonl").write_text(lines, encoding="utf-8")
    columns = ("id", "text", "array", "view", "predicted", "confidence", "uncertainty", "novelty")
    with (work / "items.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "label"])
        writer.writerows([*(_cell(row.get(c, "")) for c in columns), ""] for row in rows)
    tasks = [_task(row, facts, name) for row in rows if "text" in row or "view" in row]
    if tasks:
        (work / "label_studio.json").write_text(json.dumps(tasks, indent=1, ensure_ascii=False), encoding="utf-8")
        (work / "label_studio.xml").write_text(_interface(facts, _channels(work, rows)), encoding="utf-8")


def _cell(value: Any) -> str:
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text


def _task(row: dict[str, Any], facts: dict[str, Any], name: str) -> dict[str, Any]:
    """A task of Label Studio's import format, with the model's answer as a prediction (labelstud.io/guide/predictions).

    Media are served from LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT, which is to be the folder that this one stands in.
    """
    shown = row["text"] if "text" in row else f"/data/local-files/?d={name}/{row['view']}"
    task: dict[str, Any] = {"data": {"input": shown, "edge_id": row["id"]}}
    if isinstance(row["predicted"], str):
        choice = {"from_name": "label", "to_name": "input", "type": "choices", "value": {"choices": [row["predicted"]]}}
        task["predictions"] = [{"model_version": facts["name"], "score": row["confidence"], "result": [choice]}]
    return task


def _channels(work: Path, rows: list[dict[str, Any]]) -> int:
    """Of windows: how many columns of readings the first one has."""
    first = next((row["view"] for row in rows if str(row.get("view", "")).endswith(".csv")), None)
    if first is None:
        return 0
    with (work / first).open() as file:
        return file.readline().count(",")


def _interface(facts: dict[str, Any], channels: int) -> str:
    """The labelling interface: what is shown, and the classes to choose from."""
    choices = "".join(f"<Choice value={quoteattr(label)}/>" for label in facts["labels"])
    if facts["kind"] == "text":
        shown = '<Text name="input" value="$input"/>'
    elif facts["kind"] == "image":
        shown = '<Image name="input" value="$input"/>'
    else:
        columns = "".join(f'<Channel column="c{i}"/>' for i in range(channels))
        shown = f'<TimeSeries name="input" value="$input" valueType="url" sep="," timeColumn="t">{columns}</TimeSeries>'
    return f'<View>{shown}<Choices name="label" toName="input" choice="single">{choices}</Choices></View>\n'
