"""SIGKILL a monitor's process at random moments; after each: is the file whole, is anything lost that was written?

    python benchmarks/monitor_kill.py [--writes 150] [--exports 50] [--seed 0]

Writes: a process predicts, labels and flushes into one file without a pause, and says after each flush how many
examples are written by now; it is killed at a moment drawn uniformly over half a second of that. After each kill
SQLite's own integrity check must pass, the file must hold every example, prediction and label that had been said to be
written and at most those of the flush under way, every queued input must be readable, and the next process must go on
in the same file. Exports: `edge-runtime queue export` of a full queue is killed at a moment drawn over its duration,
after its imports. Every input must then be in the queue, or in a folder that is whole, or (killed between the two) in
both, and the next export must take the rest. Writes benchmarks/results/monitor_kill.json; exits 1 on any failure.

A kill leaves the kernel's cache alone; that commits reach the disk is SQLite's work (synchronous=FULL).
"""

import argparse
import json
import random
import shutil
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import edge_runtime
import numpy as np
from edge_runtime.errors import EdgeError
from edge_runtime.monitor.history import read_history
from edge_runtime.monitor.store import MOST_LABELS, MOST_PREDICTIONS
from edge_runtime.queue.payload import decode
from edge_runtime.queue.queue import read_items
from edge_runtime.statistics import Statistics
from random_bundle import SIDE, random_bundle
from store_kill import finished, kill, save, start

RESULTS = Path(__file__).parent / "results" / "monitor_kill.json"
ROUND, KEPT, WORK_S = 20, 60, 0.5  # examples a flush, inputs in the queue, seconds within which the kill comes
WRITE = f"""
import os, sys, edge_runtime, numpy as np
from pathlib import Path
from edge_runtime.statistics import Statistics
folder, seed = Path(sys.argv[1]), int(sys.argv[2])
statistics = Statistics.from_bytes((folder / "statistics.json").read_bytes())
how = dict(keep="raw", keep_items={KEPT}, share=1.0, background=False)
monitor = edge_runtime.Monitor(statistics, folder / "m.sqlite", **how)
model = edge_runtime.load(folder / "bundle", monitor=monitor)
images = np.random.default_rng(seed).integers(0, 256, (4000, {SIDE}, {SIDE}), np.uint8)
os.write(1, b"go\\n")
written = 0
while True:
    for image in images[written % 4000 :][:{ROUND}]:
        answer = model.predict(image)
    monitor.label(answer.id, answer.label)
    if not monitor.flush():
        os.write(1, b"! " + monitor.problem.encode() + b"\\n")
    written += {ROUND}
    os.write(1, b"%d\\n" % written)
"""
EXPORT = """
import sys
from edge_runtime.cli import main
import edge_runtime.queue.export, edge_runtime.monitor.store
print("go", flush=True)
sys.exit(main(["queue", "export", *sys.argv[1:]]))
"""


def totals(path: Path) -> dict[str, int]:
    """What a monitor's file holds: examples, predictions, labels.

    Raises:
        EdgeError, sqlite3.Error, ValueError: it is not whole.
    """
    with closing(sqlite3.connect(path)) as db:
        (word,) = db.execute("PRAGMA integrity_check").fetchone()
        if word != "ok":
            raise ValueError(word)
        for item in read_items(db):
            if item.payload is not None:
                decode(item.kind, item.payload)
        (predictions,) = db.execute("SELECT count(*) FROM predictions").fetchone()
    history = read_history(path)
    return {"examples": history.total().examples, "predictions": predictions, "labels": len(history.labels)}


def check_writes(folder: Path, tries: int, moments: random.Random) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    before = {"examples": 0, "predictions": 0, "labels": 0}
    while len(rows) < tries:
        process, after_s = start(WRITE, str(folder), str(len(rows))), moments.uniform(0.0, WORK_S)
        time.sleep(after_s)
        process.kill()
        assert process.stdout is not None
        said = process.stdout.read().decode().split("\n")[:-1]
        finished(process)
        written = int(said[-1]) if said else 0
        wrong = [line for line in said if line.startswith("!")]
        try:
            found = totals(folder / "m.sqlite")
        except (EdgeError, sqlite3.Error, ValueError) as error:
            wrong.append(str(error))
            found = before
        more = {key: found[key] - before[key] for key in found}
        bounds = {"examples": (written, ROUND), "predictions": (written, ROUND), "labels": (written // ROUND, 1)}
        for key, (least, extra) in bounds.items():
            most = {"predictions": MOST_PREDICTIONS, "labels": MOST_LABELS}.get(key)
            shortened = most is not None and found[key] >= most
            if not shortened and not least <= more[key] <= least + extra:
                wrong.append(f"{key}: {least} were written, {more[key]} are there")
        word = "as said" if more["examples"] == written else "and the flush under way"
        rows.append({"kind": "write", "killed_after_s": round(after_s, 4), "written": written, "found": word,
                     "faults": wrong})  # fmt: skip
        before = found
        if wrong or len(rows) % 25 == 0:
            print(f"write {len(rows)}: {written} examples, {word} {wrong or ''}", flush=True)
    return rows


def queued(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as db:
        return {item.id for item in read_items(db)}


def exported(folder: Path) -> set[str]:
    """The items of a folder, if it is there; each with its media."""
    if not folder.exists():
        return set()
    items = [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]
    for item in items:
        np.load(folder / item["array"])
    json.loads((folder / "label_studio.json").read_text())
    return {item["id"] for item in items}


def check_exports(full: Path, scratch: Path, tries: int, moments: random.Random) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    everything, place = queued(full), scratch / "export"
    whole_s = 0.0
    while len(rows) < tries:
        place.mkdir()
        path, folder = place / "m.sqlite", place / "to_label"
        shutil.copy(full, path)
        process, began = start(EXPORT, str(path), str(folder)), time.monotonic()
        if not whole_s:
            if finished(process):
                sys.exit("an undisturbed export fails")
            whole_s = time.monotonic() - began
            print(f"undisturbed export of {len(everything)}: {whole_s:.3f} s", flush=True)
        else:
            after_s = moments.uniform(0.0, whole_s)
            if kill(process, after_s):
                there, out = queued(path), exported(folder)
                word = "in both" if there & out else "in the folder" if out else "in the queue"
                wrong = [] if there | out == everything else [f"{len(everything - there - out)} inputs are lost"]
                if there and finished(start(EXPORT, str(path), str(place / "again"))):
                    wrong.append("the next export fails")
                if out | exported(place / "again") != everything or queued(path):
                    wrong.append("the next export does not take the rest")
                rows.append({"kind": "export", "killed_after_s": round(after_s, 4), "found": word, "faults": wrong})
                if wrong or len(rows) % 25 == 0:
                    print(f"export {len(rows)}: {word} {wrong or ''}", flush=True)
        shutil.rmtree(place)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--writes", type=int, default=150)
    parser.add_argument("--exports", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    moments = random.Random(options.seed)  # noqa: S311
    with tempfile.TemporaryDirectory(prefix="monitor-kill-") as name:
        scratch = Path(name)
        bundle = random_bundle(scratch / "bundle", "mlp", {}, 1)
        images = np.random.default_rng(1).integers(0, 256, (1000, SIDE, SIDE), np.uint8)
        with edge_runtime.load(bundle) as model:
            statistics = Statistics.of(model.preprocessing(images), model.logits(images), kind="image")
        (scratch / "statistics.json").write_bytes(statistics.to_bytes())
        rows = check_writes(scratch, options.writes, moments)
        with closing(sqlite3.connect(scratch / "m.sqlite")) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        rows += check_exports(scratch / "m.sqlite", scratch, options.exports, moments)
    return save(rows, RESULTS)


if __name__ == "__main__":
    sys.exit(main())
