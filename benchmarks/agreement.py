"""Does edge-bench say what a plain onnxruntime loop says?

    python benchmarks/agreement.py [--lock FILE]        # about 6 minutes

For each model, fresh processes take turns: the measuring protocol with one model, and twenty lines that only use
onnxruntime: a session with one thread, a warm-up, then `session.run` stamped run by run. Same file, same input, same
core. The goal: the median of the processes' p50 within 3 %. Writes benchmarks/results/agreement.json, exits 1 if
it is missed.
"""

import argparse
import contextlib
import fcntl
import json
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from edge_runtime import load
from edge_runtime.edge_host import host_facts, usable_cores
from edge_runtime.edge_protocol import Job, Profile, Subject, measure
from edge_runtime.preprocessing import Preprocessing

from compress.export.bundle import write_bundle
from compress.export.onnx import to_onnx
from compress.model.module import initial_model
from compress.model.nets import build_net

RESULTS = Path(__file__).with_name("results") / "agreement.json"
NETS: dict[str, dict[str, Any]] = {"resnet8": {}, "ds-cnn": {}, "resnet8-wide": {}}
PROCESSES, SECONDS, WARMUP_S, LIMIT = 10, 4.0, 1.5, 0.03
SHAPE, CLASSES = (1, 28, 28), 10

PLAIN = """
import os, sys, time, json, statistics
core, path, inputs = int(sys.argv[1]), sys.argv[2], sys.argv[3]
seconds, warm_up = float(sys.argv[4]), float(sys.argv[5])
os.sched_setaffinity(0, [core])
import numpy as np, onnxruntime as ort
options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
feed = {session.get_inputs()[0].name: np.load(inputs)}
end = time.perf_counter() + warm_up
while time.perf_counter() < end:
    session.run(None, feed)
times, end = [], time.perf_counter() + seconds
while time.perf_counter() < end:
    start = time.perf_counter_ns()
    session.run(None, feed)
    times.append(time.perf_counter_ns() - start)
print(json.dumps({"p50_ms": statistics.median(times) / 1e6, "runs": len(times)}))
"""


def plain(core: int, folder: Path, inputs: Path) -> float:
    """p50 in ms by onnxruntime alone, in a fresh process."""
    arguments = [str(core), str(folder / "model.onnx"), str(inputs), str(SECONDS), str(WARMUP_S)]
    done = subprocess.run([sys.executable, "-c", PLAIN, *arguments], capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout)["p50_ms"])


def ours(core: int, folder: Path, seed: int) -> float:
    """p50 in ms by one process of the protocol."""
    profile = Profile(1, SECONDS, WARMUP_S, 100, starts=0, throughput_s=0.0)
    found = measure(Job((Subject("it", str(folder), "onnx"),), (), profile, cores=(core,), seed=seed))
    return float(found["models"]["it"]["summary"]["p50_ms"])


def compared(net: str, core: int, scratch: Path) -> dict[str, Any]:
    """Both ways in turns, who begins changing."""
    folder, inputs = scratch / net, scratch / f"{net}.npy"
    model = initial_model(build_net(net, NETS[net], SHAPE, CLASSES), seed=0)
    example = np.random.default_rng(0).integers(0, 256, (4, *SHAPE[1:]), dtype=np.uint8)
    write_bundle(folder, name=net, task="image-classification", labels=[str(i) for i in range(CLASSES)],
                 preprocessing=Preprocessing("image", height=28, width=28, channels=1, scale=1 / 255),
                 files={"onnx": to_onnx(model, name=net)}, precision="float32", reference_inputs=example)  # fmt: skip
    with load(folder) as opened:
        np.save(inputs, opened.prepare(example[0]))
    found: dict[str, list[float]] = {"edge_bench_ms": [], "onnxruntime_ms": []}
    for process in range(PROCESSES):
        for way in sorted(found, reverse=bool(process % 2)):
            p50_ms = ours(core, folder, process) if way == "edge_bench_ms" else plain(core, folder, inputs)
            found[way].append(p50_ms)
    medians = {name: statistics.median(values) for name, values in found.items()}
    ratio = medians["edge_bench_ms"] / medians["onnxruntime_ms"]
    return {"p50": medians, "ratio": round(ratio, 4), "ok": abs(ratio - 1) <= LIMIT, "processes": found}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lock", type=Path, help="a file to lock for each model, shared with other benchmarks")
    parser.add_argument("--core", type=int, default=max(usable_cores()))
    options = parser.parse_args()
    models: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for net in NETS:
            with options.lock.open("a") if options.lock else contextlib.nullcontext() as handle:
                if handle:
                    fcntl.flock(handle, fcntl.LOCK_EX)
                models[net] = compared(net, options.core, Path(scratch))
            print(net, models[net]["p50"], models[net]["ratio"], flush=True)
    doc = {"command": "python benchmarks/agreement.py", "label": "measured", "threads": 1, "batch": 1,
           "taken": datetime.now(UTC).isoformat(timespec="seconds"), "onnxruntime": onnxruntime.__version__,
           "limit": LIMIT, "models": models, "host": host_facts()}  # fmt: skip
    RESULTS.write_text(json.dumps(doc, indent=1) + "\n")
    return 0 if all(m["ok"] for m in models.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
