"""How often the drift alarm is false, and how soon it comes when the stream has changed.

    compress run recipes/distil_int8.yaml --out runs/distil_int8
    compress run recipes/fashion_mnist_int8.yaml --out runs/fashion_mnist_int8
    python benchmarks/drift.py runs/distil_int8 runs/fashion_mnist_int8

Streams are drawn with replacement from the test split, which neither the model nor the monitor's reference has seen,
and answered by the shipped file itself. They go through edge_runtime.Monitor as an app's calls do, one example a call.
Unchanged: 10 streams of 100,000. Changed: 1,000 unchanged examples, then the change, 20 streams for each; the delay
is how many changed examples had been seen when the hook was called. Writes benchmarks/results/drift.json.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import edge_runtime
import numpy as np
from numpy.typing import NDArray

from compress.benchmark.host import host_facts
from compress.data.sources import open_data
from compress.recipe.load import recipe_from_json

RESULTS = Path(__file__).parent / "results" / "drift.json"
CALM_STREAMS, CALM_LENGTH = 10, 100_000
CHANGED_STREAMS, BEFORE, AFTER = 20, 1000, 3000
WANTED_DELAY = 500
LATENCY_MS = 1000.0  # so slow a model that every example is described, however busy the machine


def changes(x: NDArray[np.uint8], generator: np.random.Generator) -> dict[str, NDArray[np.uint8]]:
    """Raw images that have changed in one way or another. Rotation by 90 degrees changes no pixel's value."""
    from scipy import ndimage

    out = {"rotated 90 degrees": np.rot90(x, axes=(1, 2))}
    for degrees in (15, 30):
        out[f"rotated {degrees} degrees"] = ndimage.rotate(x, degrees, axes=(1, 2), reshape=False, order=0)
    for sigma in (5, 10, 20, 40):
        noise = generator.normal(0, sigma, x.shape)
        out[f"noise, sigma {sigma} of 255"] = np.clip(np.rint(x + noise), 0, 255).astype(np.uint8)
    for factor in (0.9, 0.7):
        out[f"light x {factor}"] = np.rint(x * factor).astype(np.uint8)
    for pixels in (1, 2, 4):
        out[f"shifted {pixels} pixels"] = np.roll(x, pixels, axis=2)
    return out


class Stream:
    """Answers that the shipped file gave, to be played to a monitor."""

    def __init__(self, bundle: Path, x: NDArray[np.uint8]) -> None:
        with edge_runtime.load(bundle) as model:
            self.inputs = model.preprocessing(x)
            self.logits = np.concatenate([model.logits(x[i : i + 500]) for i in range(0, len(x), 500)])

    def play(self, monitor: edge_runtime.Monitor, rows: NDArray[np.int64], stop: list[Any] | None = None) -> int:
        """Feed rows one by one; returns how many before `stop` was filled."""
        for count, i in enumerate(rows.tolist()):
            monitor.seen(self.inputs[i : i + 1], self.logits[i : i + 1], LATENCY_MS)
            if stop:
                return count + 1
        return len(rows)


def watch(bundle: Path, alarms: list[Any]) -> edge_runtime.Monitor:
    """A monitor that describes every example and writes nothing."""
    return edge_runtime.Monitor(bundle, None, share=1.0, on_alarm=alarms.append)


def false_alarms(bundle: Path, calm: Stream) -> dict[str, Any]:
    rows = []
    for seed in range(CALM_STREAMS):
        alarms: list[Any] = []
        monitor, generator, level = watch(bundle, alarms), np.random.default_rng([seed, 1]), 0.0
        for _ in range(CALM_LENGTH // 10_000):
            calm.play(monitor, generator.integers(0, len(calm.inputs), 10_000))
            level = max(level, monitor.snapshot()["figures"]["drift_level"])
        raised = [a.cause for a in alarms if a.raised]
        rows.append({"seed": seed, "examples": CALM_LENGTH, "false_alarms": len(raised), "causes": raised,
                     "level_at_checks": round(level, 3)})  # fmt: skip
        monitor.close()
    return {"streams": rows, "false_alarms": sum(r["false_alarms"] for r in rows),
            "examples": CALM_STREAMS * CALM_LENGTH}  # fmt: skip


def delays(bundle: Path, calm: Stream, changed: Stream, shares: NDArray[np.float64] | None = None) -> dict[str, Any]:
    found, causes = [], []
    for seed in range(CHANGED_STREAMS):
        alarms: list[Any] = []
        monitor, generator = watch(bundle, alarms), np.random.default_rng([seed, 2])
        calm.play(monitor, generator.integers(0, len(calm.inputs), BEFORE))
        early = len(alarms)
        delay = changed.play(monitor, generator.choice(len(changed.inputs), AFTER, p=shares), alarms)
        if early or not alarms:
            delay = -1 if early else AFTER
        found.append(delay)
        causes += [a.cause for a in alarms[:1]]
        monitor.close()
    in_time = sum(0 <= d <= WANTED_DELAY for d in found)
    return {"delays": found, "median": float(np.median(found)), "worst": max(found), "within_500": in_time,
            "streams": CHANGED_STREAMS, "causes": {c: causes.count(c) for c in sorted(set(causes))}}  # fmt: skip


def benchmark(run: Path) -> dict[str, Any]:
    recipe = recipe_from_json(json.loads((run / "result.json").read_text())["recipe"], run.name)
    data = open_data(recipe.data, recipe.seed).load()
    bundle, x, y = run / "bundle", data.test.x, data.test.y
    calm = Stream(bundle, x)
    right = calm.logits.argmax(axis=1) == y
    out: dict[str, Any] = {"test_examples": len(x), "accuracy": float(right.mean())}
    started = time.monotonic()
    out["unchanged"] = false_alarms(bundle, calm)
    print(run.name, "false alarms", out["unchanged"]["false_alarms"], f"{time.monotonic() - started:.0f} s", flush=True)
    out["changed"] = {}
    for name, spoilt in changes(x, np.random.default_rng(0)).items():
        stream = Stream(bundle, np.ascontiguousarray(spoilt))
        row = delays(bundle, calm, stream)
        row["accuracy"] = float((stream.logits.argmax(axis=1) == y).mean())
        out["changed"][name] = row
        print(
            run.name,
            name,
            f"accuracy {row['accuracy']:.3f}",
            row["median"],
            row["worst"],
            row["within_500"],
            flush=True,
        )
    for share in (0.2, 0.3, 0.5):
        wanted = np.where(y == 0, share / (y == 0).sum(), (1 - share) / (y != 0).sum())
        out["changed"][f"class 0 from 10 % to {share:.0%}"] = delays(bundle, calm, calm, wanted / wanted.sum())
    gone = np.where(y < 5, 1.0, 0.0)
    out["changed"]["half of the classes gone"] = delays(bundle, calm, calm, gone / gone.sum())
    for name, row in list(out["changed"].items())[-4:]:
        print(run.name, name, row["median"], row["worst"], row["within_500"], flush=True)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders of compress")
    options = parser.parse_args()
    doc: dict[str, Any] = {"command": "python benchmarks/drift.py " + " ".join(f"runs/{r.name}" for r in options.runs)}
    doc |= {"settings": {"false_alarm_every": 1_000_000, "before": BEFORE, "at_most_after": AFTER}}
    doc |= {"runs": {run.name: benchmark(run) for run in options.runs}, "host": host_facts()}
    RESULTS.write_text(json.dumps(doc, indent=1) + "\n")


if __name__ == "__main__":
    main()
