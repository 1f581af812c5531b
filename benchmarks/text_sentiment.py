"""recipes/text_sentiment_int8.yaml from nothing: what each step gave, the time, the memory, the speed by length.

    python benchmarks/text_sentiment.py            # makes the run, in a cache of its own
    python benchmarks/text_sentiment.py RUN        # takes a finished run folder, without time and memory

Accuracy, sizes and the speed on one sentence are those of the run's own result.json. Added here: the int8 file against
the teacher's float file at fixed numbers of tokens (batch 1, one thread, the two in turn, three fresh processes), and
how the trimmed tokenizer spells the held-out sentences. Writes benchmarks/results/text_sentiment.json.
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
    ids = [np.full((1, length), 1, np.int64) for _ in models]
    for model, x in zip(models, ids):
        for _ in range(20):
            model.run(x)
    medians = [[], []]
    for _ in range(blocks):
        for i in random.sample([0, 1], 2):
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
    return folder / "run", {"wall_seconds": round(time.perf_counter() - began, 1), "peak_memory_bytes": peak}


def by_length(run: Path, first: str, last: str) -> dict[str, Any]:
    """Milliseconds of both files and the ratio of neighbouring blocks, at fixed numbers of tokens."""
    folders = [str(run / "artefacts" / name) for name in (first, last)]
    job = json.dumps([folders, LENGTHS, BLOCKS, RUNS])
    raw = [
        json.loads(subprocess.run([sys.executable, "-c", WORKER], input=job, capture_output=True, text=True,
                                  check=True).stdout)
        for _ in range(PROCESSES)
    ]  # fmt: skip
    rows = {}
    for length in map(str, LENGTHS):
        ratios = [statistics.median(a / b for a, b in zip(*process[length], strict=True)) for process in raw]
        medians = [statistics.median(statistics.median(p[length][i]) for p in raw) for i in (0, 1)]
        rows[length] = {
            "teacher_ms": round(medians[0], 4),
            "int8_ms": round(medians[1], 4),
            "ratio": round(statistics.median(ratios), 2),
            "ratio_by_process": [round(r, 2) for r in ratios],
        }
    return rows


def spelling(run: Path, first: str, last: str) -> dict[str, Any]:
    """The held-out sentences in the teacher's tokenizer and in the bundle's."""
    import numpy as np
    from tokenizers import Tokenizer

    from compress.readers.movie_sentences import find_archive, read_movie_sentences

    texts = list(read_movie_sentences(find_archive()).x_test or ())
    rows = []
    for name in (first, last):
        tokenizer = Tokenizer.from_file(str(run / "artefacts" / name / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        rows.append([tokenizer.encode(t).tokens for t in texts])
    return {
        "held_out_texts": len(texts),
        "respelled": sum(a != b for a, b in zip(*rows, strict=True)),
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


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        run, cost = (Path(sys.argv[1]), {}) if len(sys.argv) > 1 else run_recipe(Path(scratch))
        doc = json.loads((run / "result.json").read_text())
        teacher, last = doc["artefacts"][0], doc["artefacts"][-1]
        steps = {s["name"]: s for s in doc["steps"]}
        out = {
            "command": f"python benchmarks/text_sentiment.py, from {RECIPE}",
            "label": "measured",
            "threads": 1,
            **cost,
            "steps_seconds": doc["seconds"],
            "steps": {a["id"]: step_row(a, teacher, steps) for a in doc["artefacts"]},
            "paired_with_the_teacher": last["paired"],
            "vocabulary": steps["02-vocabulary"]["metrics"],
            "spelling": spelling(run, teacher["id"], last["id"]),
            "by_length": by_length(run, teacher["id"], last["id"]),
            "budget": doc["budget"],
            "versions": doc["versions"],
            "host": host_facts(),
        }
    RESULTS.write_text(json.dumps(out, indent=1) + "\n")
    print(json.dumps({k: out[k] for k in ("steps", "spelling", "by_length")}, indent=1))


if __name__ == "__main__":
    main()
