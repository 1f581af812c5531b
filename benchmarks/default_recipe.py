"""What the default recipe gives and how long it takes, against the goals of the project.

    python benchmarks/default_recipe.py [--recipe recipes/distil_int8.yaml] [--keep DIR]

Runs the recipe from an empty cache, again (everything cached), as a smoke run, and `compress --help`; reads the figures
from the run's own result.json. Writes benchmarks/results/<recipe name>.json. Exits 1 if a goal is missed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from compress.benchmark.host import host_facts
from compress.result import Result, load_result

ROOT = Path(__file__).resolve().parents[1]


def timed(*arguments: str, cwd: Path, repeats: int = 1) -> list[float]:
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "compress", *arguments], cwd=cwd, capture_output=True, text=True)
        seconds.append(round(time.perf_counter() - started, 3))
        if done.returncode not in (0, 3):
            sys.exit(f"compress {' '.join(arguments)} failed with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return seconds


def figures(result: Result) -> dict[str, dict[str, float | str]]:
    """Each exported file against the teacher's; accuracy on the test split."""
    teacher = result.artefacts[0]
    out = {}
    for artefact in result.artefacts:
        test = next(a for a in artefact.accuracy if a.split == "test")
        (latency,) = artefact.latency
        out[artefact.id] = {
            "test_top1": test.top1,
            "count": test.count,
            "drop_points": round(-artefact.paired.difference_points, 3) if artefact.paired else 0.0,
            "size_bytes": artefact.size_bytes,
            "times_smaller": round(teacher.size_bytes / artefact.size_bytes, 2),
            "p50_ms": latency.p50_ms,
            "times_faster": round(latency.ratio or 1.0, 2),
            "times_faster_ci95": [round(v, 2) for v in latency.ratio_ci95 or (1.0, 1.0)],
            "bytes_per_parameter": round(artefact.size_bytes / artefact.parameters, 3),
            "kernels": str(artefact.kernels),
        }
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes" / "distil_int8.yaml")
    parser.add_argument("--keep", type=Path, help="keep the run folder here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="default-recipe-") as scratch:
        folder = Path(scratch)
        out = str(options.keep.resolve() if options.keep else folder / "run")
        recipe, cache = str(options.recipe.resolve()), str(folder / "cache")
        load_before = os.getloadavg()[0]
        (whole_s,) = timed("run", recipe, "--out", out, "--cache", cache, cwd=folder)
        result = load_result(Path(out) / "result.json")
        again_s = timed("run", recipe, "--out", out, "--cache", cache, cwd=folder, repeats=5)
        (smoke_s,) = timed("run", recipe, "--smoke", "--out", str(folder / "smoke"), "--cache", cache, cwd=folder)
        help_s = timed("--help", cwd=folder, repeats=10)
    rows = figures(result)
    int8, tflite = (rows[next(i for i in rows if i.endswith(f"-quantize.{f}"))] for f in ("onnx", "tflite"))
    hops = {h.target: h.agreement for h in result.ledger if h.kind == "conversion"}
    goals = {
        "int8 ONNX at most 1.0 point below the teacher": int8["drop_points"] <= 1.0,
        "int8 ONNX at least 20x smaller": int8["times_smaller"] >= 20,
        "int8 ONNX at least 10x faster, one thread": int8["times_faster"] >= 10,
        "int8 TFLite at most 1.0 point below the teacher": tflite["drop_points"] <= 1.0,
        "int8 TFLite at least 20x smaller": tflite["times_smaller"] >= 20,
        "int8 files agree with the fake-quant model on at least 99.5 %": min(
            v for k, v in hops.items() if "-quantize." in k
        ) >= 0.995,
        "whole run at most 300 s": whole_s <= 300,
        "smoke run at most 60 s": smoke_s <= 60,
        "finished re-run at most 1.5 s (median)": sorted(again_s)[2] <= 1.5,
        "compress --help at most 0.3 s (median)": sorted(help_s)[5] <= 0.3,
    }  # fmt: skip
    doc = {
        "command": " ".join(["python", "benchmarks/default_recipe.py", *sys.argv[1:]]),
        "recipe": result.name,
        "seconds": {"whole": whole_s, "finished_rerun": again_s, "smoke": smoke_s, "help": help_s},
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "load_1min_before": load_before,
        "files": rows,
        "argmax_agreement_with_the_model_before_export": hops,
        "shipped": result.shipped,
        "goals": goals,
        "versions": result.versions,
        "host": host_facts(),
    }
    (ROOT / "benchmarks" / "results" / f"{result.name}.json").write_text(json.dumps(doc, indent=1) + "\n")
    for goal, met in goals.items():
        print(f"{'met   ' if met else 'MISSED'}  {goal}")
    print(
        f"whole run {whole_s:.0f} s, re-run {sorted(again_s)[2]:.2f} s, "
        f"smoke {smoke_s:.0f} s, help {sorted(help_s)[5]:.2f} s"
    )
    return 0 if all(goals.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
