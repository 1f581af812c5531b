"""What a monitor costs: the same model with and without one, in turns.

    compress run recipes/distil_int8.yaml --out runs/distil_int8
    python benchmarks/monitor_cost.py runs/distil_int8

Models: the run's float teacher in ONNX (about 1 ms a call) and its shipped int8 file (about 0.05 ms), one thread. The
monitor writes its file from its own thread, as by default, and describes what its share allows. A block is 256 calls,
so that descriptions, which come every 64th, are in every block alike. Pairs of blocks, one with and one without the
monitor in random order; the cost is the median of the paired ratios, with a bootstrap interval: of CPU time of the
whole process, the monitor's own thread included, which other work on the machine does not blur, and of wall time,
which it does. Also the memory that a million calls add. Writes benchmarks/results/monitor_cost.json.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import edge_runtime
import numpy as np
from edge_runtime.statistics import Statistics

from compress.benchmark.host import host_facts
from compress.data.sources import open_data
from compress.recipe.load import recipe_from_json

RESULTS = Path(__file__).parent / "results" / "monitor_cost.json"
BLOCK, SECONDS = 256, 45.0
MEMORY_CALLS = 1_000_000


def cost(bundle: Path, statistics: Statistics, frames: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """Paired ratios of one model."""
    generator, clock = np.random.default_rng(0), time.perf_counter
    with tempfile.TemporaryDirectory() as folder, edge_runtime.load(bundle) as model:
        monitor = edge_runtime.Monitor(statistics, Path(folder) / "monitor.sqlite", **settings)

        def block(watched: bool, times: list[float]) -> tuple[float, float]:
            model.monitor = monitor if watched else None
            rows = generator.integers(0, len(frames), BLOCK).tolist()
            cpu_s, began = time.process_time(), clock()
            last = began
            for i in rows:
                model.predict(frames[i])
                now = clock()
                times.append(now - last)
                last = now
            return time.process_time() - cpu_s, last - began

        single: dict[bool, list[float]] = {True: [], False: []}
        for watched in (True, False) * 4:
            block(watched, [])
        cpu, wall = [], []
        end = clock() + SECONDS
        while clock() < end:
            order = (True, False) if generator.random() < 0.5 else (False, True)
            took = {watched: block(watched, single[watched]) for watched in order}
            cpu.append(took[True][0] / took[False][0])
            wall.append(took[True][1] / took[False][1])
        total = monitor.snapshot()["totals"]
        model.monitor = None
        monitor.close()
    quantiles = {
        word: {f"p{q}_ms": round(float(np.percentile(times, q)) * 1e3, 5) for q in (50, 90, 99)}
        for word, times in (("without", single[False]), ("with", single[True]))
    }
    row = {"pairs": len(cpu), "cpu": ratio(cpu), "wall": ratio(wall), **quantiles,
           "watched_share": total["watched"] / total["examples"], "own_share": total["monitor_s"] / total["busy_s"],
           "cpu_ratios": [round(r, 5) for r in cpu]}  # fmt: skip
    print(bundle, row["cpu"], row["wall"], quantiles, f"{row['watched_share']:.2f} described", flush=True)
    return row


def ratio(ratios: list[float]) -> dict[str, Any]:
    """Median of paired ratios and its 95 % bootstrap interval."""
    generator = np.random.default_rng(1)
    boot = np.median(generator.choice(ratios, (2000, len(ratios))), axis=1)
    low, high = np.quantile(boot, [0.025, 0.975])
    return {"ratio": round(float(np.median(ratios)), 4), "ci95": [round(float(low), 4), round(float(high), 4)]}


def memory(statistics: Statistics, frames: Any, bundle: Path) -> dict[str, Any]:
    """Resident memory before and after a million examples that go through a monitor with a queue."""
    with tempfile.TemporaryDirectory() as folder, edge_runtime.load(bundle) as model:
        x, logits = model.preprocessing(frames[:512]), model.logits(frames[:512])
        settings = {"interval_s": 1.0, "share": 1.0, "keep": "raw"}
        with edge_runtime.Monitor(statistics, Path(folder) / "monitor.sqlite", **settings) as monitor:
            found = []
            for step in range(11):
                for i in range(MEMORY_CALLS // 10 if step else 50_000):
                    monitor.seen(x[i % 512 : i % 512 + 1], logits[i % 512 : i % 512 + 1], 1.0)
                found.append(_resident_bytes())
        size = os.path.getsize(Path(folder) / "monitor.sqlite")
    print(
        f"memory grew by {(found[-1] - found[0]) / 1e6:.2f} MB over {MEMORY_CALLS:,} calls; file {size:,} bytes",
        flush=True,
    )
    return {"calls": MEMORY_CALLS, "resident_bytes": found, "growth_bytes": found[-1] - found[0], "file_bytes": size}


def _resident_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder of recipes/distil_int8.yaml")
    run = parser.parse_args().run
    recipe = recipe_from_json(json.loads((run / "result.json").read_text())["recipe"], run.name)
    frames = open_data(recipe.data, recipe.seed).load().test.x
    statistics = Statistics.from_bytes((run / "bundle" / "statistics.json").read_bytes())
    doc: dict[str, Any] = {
        "command": f"python benchmarks/monitor_cost.py runs/{run.name}",
        "label": "measured",
        "threads": 1,
    }
    doc["teacher"] = cost(run / "artefacts" / "00-teacher.onnx", statistics, frames, {})
    doc["shipped"] = cost(run / "bundle", statistics, frames, {})
    doc["memory"] = memory(statistics, frames, run / "bundle")
    doc["host"] = host_facts()
    RESULTS.write_text(json.dumps(doc, indent=1) + "\n")


if __name__ == "__main__":
    main()
