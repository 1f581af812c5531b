"""recipes/text_sentiment_int8.yaml from nothing: what each step gave, the time, the memory, the speed by length.

    python benchmarks/text_sentiment.py            # makes the run, in a cache of its own
    python benchmarks/text_sentiment.py RUN        # takes a finished run; time and memory stay as they were
    python benchmarks/text_sentiment.py RUN WIDE   # and one with --set stages.1.vocabulary.rank=null

Accuracy, sizes and the speed on one sentence are those of the run's own result.json. Added here: the int8 files against
the teacher's float file at fixed numbers of tokens (batch 1, one thread, in turn, three fresh processes; a TFLite file
gets the shortest of its lengths that fits), how the trimmed tokenizer spells the held-out sentences, and what each step
says of those that hold a word it has to spell anew. Writes benchmarks/results/text_sentiment.json.
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from compress.benchmark.host import host_facts

ROOT = Path(__file__).resolve().parents[1]
RECIPE = "recipes/text_sentiment_int8.yaml"
RESULTS = Path(__file__).parent / "results" / "text_sentiment.json"
LENGTHS = (8, 16, 24, 32, 48, 64)
BLOCKS, RUNS, PROCESSES = 40, 10, 3
WORKER = """
import json, random, statistics, sys, time
import edge_runtime, numpy as np
folders, lengths, blocks, runs = json.loads(sys.stdin.read())
models = [edge_runtime.load(f, threads=1) for f in folders]
out = {}
for length in lengths:
    ids = []
    for model in models:
        known = [s.length for s in model.entry.signatures if s.length >= length]
        ids.append(np.full((1, min(known, default=length)), model.preprocessing.pad_id, model.entry.input.dtype))
        ids[-1][0, :length] = 5
    for model, x in zip(models, ids):
        for _ in range(20):
            model.run(x)
    medians = [[] for _ in models]
    for _ in range(blocks):
        for i in random.sample(range(len(models)), len(models)):
            times = []
            for _ in range(runs):
                began = time.perf_counter_ns()
                models[i].run(ids[i])
                times.append(time.perf_counter_ns() - began)
            medians[i].append(statistics.median(times) / 1e6)
    out[length] = medians
print(json.dumps(out))
"""


def run_recipe(folder: Path) -> tuple[Path, dict[str, Any]]:
    """A fresh run; its folder, its wall time and the peak memory of its largest process."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "compress", "run", RECIPE, "--out", str(folder / "run")]
    subprocess.run([*command, "--cache", str(folder / "cache")], check=True, cwd=ROOT)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    seconds = round(time.perf_counter() - began, 1)
    return folder / "run", {"wall_seconds": seconds, "peak_memory_bytes": peak, "recipe": (ROOT / RECIPE).read_text()}


def last_cost() -> dict[str, Any]:
    """Of the last run that trained everything, with the recipe it followed."""
    cost: dict[str, Any] = json.loads(RESULTS.read_text())["whole_run"]
    return cost


def by_length(run: Path, names: list[str]) -> dict[str, Any]:
    """Milliseconds of the files and, to the first, the ratio of neighbouring blocks, at fixed numbers of tokens."""
    folders = [str(run / "artefacts" / name) for name in names]
    job = json.dumps([folders, LENGTHS, BLOCKS, RUNS])
    raw = [
        json.loads(subprocess.run([sys.executable, "-c", WORKER], input=job, capture_output=True, text=True,
                                  check=True).stdout)
        for _ in range(PROCESSES)
    ]  # fmt: skip
    rows: dict[str, Any] = {}
    for length in map(str, LENGTHS):
        rows[length] = {}
        for i, name in enumerate(names):
            pairs = [zip(process[length][0], process[length][i], strict=True) for process in raw]
            ratios = [statistics.median(a / b for a, b in both) for both in pairs]
            rows[length][name] = {
                "ms": round(statistics.median(statistics.median(p[length][i]) for p in raw), 4),
                "best_ms": round(min(min(p[length][i]) for p in raw), 4),
                "ratio": round(statistics.median(ratios), 2),
                "ratio_by_process": [round(r, 2) for r in ratios],
            }
    return rows


def spelling(run: Path, names: list[str]) -> dict[str, Any]:
    """The held-out sentences in the first and the last file's tokenizer; how right all are on those spelled anew."""
    import numpy as np
    from tokenizers import Tokenizer

    from compress.readers.movie_sentences import find_archive, read_movie_sentences

    texts = list(read_movie_sentences(find_archive()).x_test or ())
    rows = []
    first, last = names[0], names[-1]
    for name in (first, last):
        tokenizer = Tokenizer.from_file(str(run / "artefacts" / name / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        rows.append([tokenizer.encode(t).tokens for t in texts])
    anew = np.array([a != b for a, b in zip(*rows, strict=True)])
    y = np.load(run / "predictions" / "labels.npy")
    right = {name: np.load(run / "predictions" / f"{name}.npy").argmax(1) == y for name in names}
    return {
        "held_out_texts": len(texts),
        "respelled": int(anew.sum()),
        "accuracy_of_respelled": {name: round(float(hits[anew].mean()), 4) for name, hits in right.items()},
        "accuracy_of_others": {name: round(float(hits[~anew].mean()), 4) for name, hits in right.items()},
        "mean_tokens": [round(float(np.mean([len(r) for r in row])), 2) for row in rows],
        "unknown_tokens": [sum(r.count("[UNK]") for r in row) for row in rows],
        "tokenizer_bytes": [(run / "artefacts" / n / "tokenizer.json").stat().st_size for n in (first, last)],
    }


def step_row(artefact: dict[str, Any], teacher: dict[str, Any], steps: dict[str, Any]) -> dict[str, Any]:
    """What the table of the docs says of one file."""
    test = next(a for a in artefact["accuracy"] if a["split"] == "test")
    own = next(a for a in teacher["accuracy"] if a["split"] == "test")
    latency = artefact["latency"][0]
    return {
        "role": artefact["role"],
        "validation_accuracy": next(a["top1"] for a in artefact["accuracy"] if a["split"] == "validation"),
        "test_accuracy": test["top1"],
        "test_ci95": test["ci95"],
        "share_of_the_teacher_s_accuracy": round(test["top1"] / own["top1"], 4),
        "size_bytes": artefact["size_bytes"],
        "times_smaller": round(teacher["size_bytes"] / artefact["size_bytes"], 2),
        "p50_ms": latency["p50_ms"],
        "times_faster": latency["ratio"],
        "times_faster_ci95": latency["ratio_ci95"],
        "parameters": artefact["parameters"],
        "macs": artefact["macs"],
        "kernels": artefact["kernels"],
        "step_seconds": steps[artefact["step"]]["seconds"],
    }


def steps_of(doc: dict[str, Any]) -> dict[str, Any]:
    """A row for every file of a result.json."""
    steps = {s["name"]: s for s in doc["steps"]}
    return {a["id"]: step_row(a, doc["artefacts"][0], steps) for a in doc["artefacts"]}


def wide_table() -> dict[str, Any]:
    """The files behind a table of the full width: of the second run, else those of the last time."""
    if len(sys.argv) > 2:
        rows = steps_of(json.loads((Path(sys.argv[2]) / "result.json").read_text()))
        return {name: row for name, row in rows.items() if name[:2] in ("02", "03", "04")}
    last: dict[str, Any] = json.loads(RESULTS.read_text())["with_a_wide_table"]
    return last


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        run, cost = (Path(sys.argv[1]), last_cost()) if len(sys.argv) > 1 else run_recipe(Path(scratch))
        doc = json.loads((run / "result.json").read_text())
        teacher, last = doc["artefacts"][0], doc["artefacts"][-1]
        steps = {s["name"]: s for s in doc["steps"]}
        files = [a["id"] for a in doc["artefacts"]]
        final = [a["id"] for a in doc["artefacts"] if a["step"] == last["step"]]
        out = {
            "command": f"python benchmarks/text_sentiment.py, from {RECIPE}",
            "label": "measured",
            "threads": 1,
            "whole_run": cost,
            "steps_seconds": doc["seconds"],
            "steps": steps_of(doc),
            "with_a_wide_table": wide_table(),
            "paired_with_the_teacher": last["paired"],
            "vocabulary": steps["02-vocabulary"]["metrics"],
            "spelling": spelling(run, files),
            "by_length": by_length(run, [teacher["id"], *final]),
            "budget": doc["budget"],
            "versions": doc["versions"],
            "host": host_facts(),
        }
    RESULTS.write_text(json.dumps(out, indent=1) + "\n")
    print(json.dumps({k: out[k] for k in ("steps", "spelling", "by_length")}, indent=1))


if __name__ == "__main__":
    main()
