"""Does the measuring protocol claim differences that are not there, and does it find one that is?

    python benchmarks/aa.py [--trials 20] [--lock FILE]       # about 85 minutes for 20 + 20 trials
    python benchmarks/aa.py --truth                           # the slower model's true ratio, from 8 longer processes

A trial is one measurement of the default profile on one pinned core (start-up, memory and throughput left out). A/A:
the same bundle against itself. A/B: a stack of 100 equal convolutions against one of 103, 3 % more multiply-
accumulates. Trials of both kinds take turns, so that both see the same day of this machine. Goals: every A/A ratio
within 0.98 to 1.02, at most one A/A trial in twenty claims a difference, the 3 % is found in at least 18 of 20.

Writes benchmarks/results/aa.json after every trial, goes on from there if started again, exits 1 if a goal is missed.
"""

import argparse
import contextlib
import fcntl
import json
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from edge_runtime.edge_host import host_facts, usable_cores
from edge_runtime.edge_protocol import PROFILES, Job, Subject, measure
from edge_runtime.edge_stats import NO_DIFFERENCE
from edge_runtime.preprocessing import Preprocessing
from onnx import TensorProto, helper, numpy_helper

from compress.export.bundle import write_bundle

RESULTS = Path(__file__).with_name("results") / "aa.json"
LAYERS = {"a": 100, "b": 103}
CHANNELS, SIDE = 16, 14
PROFILE = replace(PROFILES["default"], starts=0, throughput_s=0.0)
TRUTH = replace(PROFILE, processes=8, seconds=15.0)


def stack(layers: int) -> bytes:
    """A chain of 3x3 convolutions, 16 to 16 channels on 14x14, with ReLU, then a mean per channel."""
    rng = np.random.default_rng(0)
    first = rng.normal(0, 0.1, (CHANNELS, 1, 3, 3)).astype(np.float32)
    other = rng.normal(0, 0.1, (CHANNELS, CHANNELS, 3, 3)).astype(np.float32)
    nodes, weights, name = [], [], "input"
    for i in range(layers):
        weights.append(numpy_helper.from_array(first if i == 0 else other, f"w{i}"))
        nodes.append(helper.make_node("Conv", [name, f"w{i}"], [f"c{i}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"]))
        name = f"r{i}"
    nodes.append(helper.make_node("GlobalAveragePool", [name], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["logits"]))
    x = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 1, SIDE, SIDE])
    y = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", CHANNELS])
    graph = helper.make_graph(nodes, "stack", [x], [y], weights)
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def bundles(folder: Path) -> dict[str, str]:
    """Both stacks as bundles."""
    example = np.random.default_rng(1).integers(0, 256, (4, SIDE, SIDE), dtype=np.uint8)
    for name, layers in LAYERS.items():
        write_bundle(folder / name, name=name, task="image-classification", labels=[f"c{i}" for i in range(CHANNELS)],
                     preprocessing=Preprocessing("image", height=SIDE, width=SIDE, channels=1, scale=1 / 255),
                     files={"onnx": stack(layers)}, precision="float32", reference_inputs=example)  # fmt: skip
    return {name: str(folder / name) for name in LAYERS}


def trial(kind: str, number: int, folders: dict[str, str], core: int, profile: Any = PROFILE) -> dict[str, Any]:
    """One measurement; what it says of the second bundle against the first."""
    second = {"aa": "a", "ab": "b"}[kind]
    subjects = (Subject("first", folders["a"], "onnx"), Subject("second", folders[second], "onnx"))
    seed = 1000 * number + (kind == "ab")
    found = measure(Job(subjects, (("first", "second"),), profile, cores=(core,), seed=seed))
    (pair,) = found["pairs"]
    busy = [e["text"] for e in found["events"] if e["kind"] == "busy"]
    return {
        "ratio": round(pair["ratio"], 5),
        "ci95": [round(v, 5) for v in pair["ci95"]],
        "verdict": pair["verdict"],
        "p50_ms": [round(found["models"][n]["summary"]["p50_ms"], 5) for n in ("first", "second")],
        "process_p50_ms": {n: found["models"][n]["summary"]["process_p50_ms"] for n in ("first", "second")},
        "started": found["started"],
        "seconds": found["seconds"],
        "disturbed_processes": len(busy),
        "disturbed_at_worst": max((t.split(" (")[0] for t in busy), key=lambda t: int(t.split()[3]), default=""),
    }


def summary(doc: dict[str, Any]) -> dict[str, Any]:
    """The goals against the trials so far."""
    aa, ab = doc["trials"]["aa"], doc["trials"]["ab"]
    claims = sum(t["verdict"] != NO_DIFFERENCE for t in aa)
    found = sum(t["ci95"][1] < 1.0 for t in ab)
    ratios = [t["ratio"] for t in aa]
    return {
        "aa_trials": len(aa),
        "aa_ratio_from_to": [min(ratios), max(ratios)] if aa else None,
        "aa_claims": claims,
        "ab_trials": len(ab),
        "ab_found": found,
        "ab_ratio_from_to": [min(t["ratio"] for t in ab), max(t["ratio"] for t in ab)] if ab else None,
        "ab_intervals_that_hold_the_truth": sum(
            t["ci95"][0] <= doc["truth"]["ratio"] <= t["ci95"][1] for t in ab
        ) if "truth" in doc else None,
        "goals_met": bool(aa and ab) and claims * 20 <= len(aa) and found * 20 >= 18 * len(ab)
        and min(ratios) >= 0.98 and max(ratios) <= 1.02,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--core", type=int, default=max(usable_cores()))
    parser.add_argument("--lock", type=Path, help="a file to lock for each trial, shared with other benchmarks")
    parser.add_argument("--truth", action="store_true", help="measure the slower stack's true ratio, at length")
    options = parser.parse_args()
    doc: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"trials": {"aa": [], "ab": []}}
    doc |= {"command": "python benchmarks/aa.py", "label": "measured", "threads": 1, "batch": 1, "layers": LAYERS,
            "profile": repr(PROFILE), "core": options.core}  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        folders = bundles(Path(scratch))
        wanted = [("truth", 0)] if options.truth else [
            (kind, n) for n in range(options.trials) for kind in ("aa", "ab") if n >= len(doc["trials"][kind])
        ]  # fmt: skip
        for kind, number in wanted:
            with options.lock.open("a") if options.lock else contextlib.nullcontext() as handle:
                if handle:
                    fcntl.flock(handle, fcntl.LOCK_EX)
                if kind == "truth":
                    doc["truth"] = trial("ab", 10**6, folders, options.core, TRUTH)
                else:
                    doc["trials"][kind].append(trial(kind, number, folders, options.core))
            doc |= {"taken": datetime.now(UTC).isoformat(timespec="seconds"), "host": host_facts()}
            doc["summary"] = summary(doc)
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(doc, indent=1) + "\n")
            last = doc["truth"] if kind == "truth" else doc["trials"][kind][-1]
            print(kind, number, last["ratio"], last["ci95"], last["verdict"], last["disturbed_at_worst"], flush=True)
    return 0 if doc["summary"]["goals_met"] else 1


if __name__ == "__main__":
    sys.exit(main())
