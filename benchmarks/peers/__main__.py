"""python -m benchmarks.peers: make every file and judge it, time them all in one run, write the tables."""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_runtime.edge_host import host_facts

from benchmarks.peers import envs, table
from benchmarks.peers.contestants import OURS, PEERS, Peer, ToolFailed, make, ours
from benchmarks.peers.measure import Subject, WorkerError, kernels, predict, quality, time_all
from benchmarks.peers.tasks import COMPARISONS, ROOT, TASKS, Kit, finished_run, make_kit
from compress.errors import CompressError

RESULTS = ROOT / "benchmarks" / "results" / "peers"
FORMAT, VERSION = "compress-peers", 1
STEPS = ("make", "time", "table")
REFERENCE = "float-onnx"


def main() -> int:
    options = _arguments()
    with tempfile.TemporaryDirectory() as scratch:
        work = options.work or Path(scratch)
        for name in options.task or TASKS:
            for comparison in options.comparison or COMPARISONS:
                if "make" in options.step:
                    judge_all(name, comparison, work, options)
                if "time" in options.step:
                    time_rows(name, comparison, work, options)
    if "table" in options.step:
        for path, text in table.pages(RESULTS, ROOT).items():
            path.write_text(text)
            print(f"wrote {path}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__.partition(": ")[2])
    parser.add_argument("--task", action="append", choices=list(TASKS), help="default: all")
    parser.add_argument("--comparison", action="append", choices=COMPARISONS, help="default: both")
    parser.add_argument("--peer", action="append", choices=[OURS, *(p.key for p in PEERS)],
                        help="these again and keep the other rows; default: all")  # fmt: skip
    parser.add_argument("--step", action="append", choices=STEPS, help="default: all")
    parser.add_argument("--envs", type=Path, default=envs.HOME, help=f"of the tools; default: {envs.HOME}")
    parser.add_argument("--work", type=Path, help="keep runs and files here; default: a temporary folder")
    parser.add_argument("--processes", type=int, default=5, help="fresh pairs of processes for each latency")
    parser.add_argument("--seconds", type=float, default=1.0, help="of timing each file in each process")
    options = parser.parse_args()
    options.step = options.step or list(STEPS)
    if options.work is None and "time" in options.step and "make" not in options.step:
        parser.error("--step time needs --work, where --step make left its files")
    return options


def judge_all(name: str, comparison: str, work: Path, options: argparse.Namespace) -> None:
    """Make the files of one comparison and judge all but their speed. Written after each tool: some take long."""
    task = TASKS[name]
    run = finished_run(task, work / "runs" / name, work / "cache")
    kit = make_kit(task, comparison, run, work / name / comparison)
    path, judge = RESULTS / f"{name}-{comparison}.json", Judge(kit, options.envs)
    keep = options.peer and path.exists()
    rows = {r["key"]: r for r in json.loads(path.read_text())["rows"]} if keep else {}
    judge.subjects = read_subjects(kit.folder) if keep else {}
    rows = {row["key"]: row for row in judge.floats()} | rows
    if not options.peer or OURS in options.peer:
        rows = {k: r for k, r in rows.items() if r["tool"] != OURS}
        rows |= {r["key"]: r for r in judge.ours(name, comparison)}
    for peer in PEERS:
        if (not options.peer or peer.key in options.peer) and ("text" if judge.text else "image") in peer.kinds:
            rows[peer.key] = judge.peer(peer)
            save(path, name, comparison, judge, rows)
    save(path, name, comparison, judge, rows)


def save(path: Path, name: str, comparison: str, judge: "Judge", rows: dict[str, dict[str, Any]]) -> None:
    """The result so far, without timings, and what time_rows needs."""
    task, kit = TASKS[name], judge.kit
    order = [REFERENCE, "float-tflite", *(k for k in rows if rows[k]["tool"] == OURS), *(p.key for p in PEERS)]
    doc = {
        "format": FORMAT, "version": VERSION, "task": name, "title": task.title, "comparison": comparison,
        "why": task.why, "command": f"python -m benchmarks.peers --task {name} --comparison {comparison}",
        "recipe": task.recipe, "overrides": list(task.overrides),
        "data": {"fingerprint": kit.data.fingerprint, "calibration": len(kit.data.calibration),
                 "validation": len(kit.data.validation), "test": len(kit.data.test)},
        "example_shape": judge.example_shape, "timing": None, "host": host_facts(),
        "rows": [rows[k] for k in order if k in rows],
    }  # fmt: skip
    subjects = {k: asdict(s) for k, s in judge.subjects.items()}
    (kit.folder / "subjects.json").write_text(json.dumps(subjects, default=str, indent=1))
    write(path, doc)


def time_rows(name: str, comparison: str, work: Path, options: argparse.Namespace) -> None:
    """Time every file of one comparison beside the float ONNX file, in one run."""
    path, folder = RESULTS / f"{name}-{comparison}.json", work / name / comparison
    doc, subjects = json.loads(path.read_text()), read_subjects(folder)
    wanted = options.peer or [r["key"] if r["tool"] != OURS else OURS for r in doc["rows"]]
    timed = {r["key"]: subjects[r["key"]] for r in doc["rows"]
             if r["key"] in subjects and r["key"] != REFERENCE and "accuracy" in r
             and ("latency" not in r or (OURS if r["tool"] == OURS else r["key"]) in wanted)}  # fmt: skip
    found, load = time_all(subjects[REFERENCE], timed, processes=options.processes, seconds=options.seconds)
    for row in doc["rows"]:
        if row["key"] in found:
            row.pop("latency", None)
            row |= {"error": None} | found[row["key"]]
    doc["timing"] = {"taken": time.strftime("%Y-%m-%d"), "threads": 1, "batch": 1, "processes": options.processes,
                     "seconds": options.seconds, "load_1min": load}  # fmt: skip
    doc["host"] = host_facts()
    write(path, doc)


def read_subjects(folder: Path) -> dict[str, Subject]:
    """What judge_all left for time_rows."""
    doc = json.loads((folder / "subjects.json").read_text())
    return {k: Subject(Path(s["file"]), s["engine"], Path(s["python"]), Path(s["inputs"])) for k, s in doc.items()}


def write(path: Path, doc: dict[str, Any]) -> None:
    """One row a line, so that a changed row is a changed line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(doc, separators=(",", ":")).replace('{"key"', '\n{"key"') + "\n")


class Judge:
    """Accuracy, size and kernels of whatever it is handed, beside the float ONNX file of one kit."""

    def __init__(self, kit: Kit, home: Path) -> None:
        import numpy as np

        self.kit, self.home, self.subjects = kit, home, {}  # type: Kit, Path, dict[str, Subject]
        self.text = kit.recipe.task == "text-classification"
        self.reference = Subject(kit.folder / "float.onnx", "onnx", Path(sys.executable), kit.folder)
        with np.load(kit.folder / "example.npz") as example:
            self.example_shape = [1, *(example["lengths"][:1].tolist() if self.text else example["x"].shape[1:])]
        self.logits, _ = predict(self.reference)

    def floats(self) -> Iterator[dict[str, Any]]:
        """The model that all start from."""
        yield self.row(REFERENCE, table.FLOAT, "ONNX", self.reference, {})
        tflite = Subject(self.kit.folder / "float.tflite", "tflite", Path(sys.executable), self.kit.folder)
        yield self.row("float-tflite", table.FLOAT, "TFLite", tflite, {})

    def ours(self, name: str, comparison: str) -> Iterator[dict[str, Any]]:
        """Our rows; a failure of ours is one too."""
        try:
            for key, how, subject, facts in ours(TASKS[name], comparison, self.kit):
                yield self.row(key, OURS, how, subject, facts)
        except CompressError as error:
            yield failed(f"{OURS}-failed", OURS, "", str(error))

    def peer(self, peer: Peer) -> dict[str, Any]:
        """A tool that fails gets a row with its message."""
        self.subjects.pop(peer.key, None)
        try:
            subject, facts = make(peer, self.kit, envs.ready(peer.env, self.home))
        except (ToolFailed, envs.EnvironmentFailed) as error:
            return failed(peer.key, peer.tool, peer.how, str(error))
        return self.row(peer.key, peer.tool, peer.how, subject, facts)

    def row(self, key: str, tool: str, how: str, subject: Subject, facts: dict[str, Any]) -> dict[str, Any]:
        """A file that exists but does not run keeps its size and gets the engine's message."""
        row = {"key": key, "tool": tool, "how": how, "engine": subject.engine, "error": None,
               "size_bytes": subject.file.stat().st_size, **facts}  # fmt: skip
        try:
            logits, row["runs_on"] = predict(subject)
            row |= quality(logits, self.logits, self.kit.data.test.y, self.kit.data.classes)
            row["kernels"] = kernels(subject)
        except (WorkerError, CompressError) as error:
            return row | failed(key, tool, how, str(error))
        self.subjects[key] = subject
        print(f"{key}: {100 * row['accuracy']['top1']:.2f} %, {row['size_bytes']:,} bytes", file=sys.stderr)
        return row


def failed(key: str, tool: str, how: str, message: str) -> dict[str, Any]:
    print(f"{key}: {message}", file=sys.stderr)
    return {"key": key, "tool": tool, "how": how, "error": message}


if __name__ == "__main__":
    sys.exit(main())
