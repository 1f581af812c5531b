"""`edge-runtime bench`."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime.commands._shared import Answer, add_bundle, add_engine, aligned, open_model, positive

if TYPE_CHECKING:
    from collections.abc import Callable

HELP = "time one example on this device"
_WARM_UP_RUNS, _WARM_UP_S = 20, 0.2


def arguments(parser: argparse.ArgumentParser) -> None:
    """BUNDLE, --engine, --threads, --trusted-key and --runs."""
    add_bundle(parser)
    add_engine(parser)
    parser.add_argument("--runs", type=positive, default=500, metavar="N", help="timed runs (default 500)")


def run(options: argparse.Namespace) -> Answer:
    """The engine's call alone, and with everything that an app's call costs besides."""
    with open_model(options) as model:
        example = model.reference()[0][0]
        prepared = model.prepare(example)
        whole = model.predict if model.manifest.labels else model.outputs
        calls: dict[str, Callable[[], object]] = {
            "engine call": lambda: model.run(prepared),
            whole.__name__: lambda: whole(example),
        }
        times_ms = {name: _times_ms(call, options.runs) for name, call in calls.items()}
        facts = {"engine": model.engine, "model": model.entry.path, "threads": options.threads, "runs": options.runs}
    columns = ("p50", "p90")
    answer: dict[str, Any] = {**facts, "kind": "measured"}
    rows = [(f"{facts['model']}, {facts['engine']}, threads {options.threads}", *(f"{c} ms" for c in columns))]
    for name, times in times_ms.items():
        p50, p90 = (float(v) for v in np.percentile(times, [50, 90]))
        answer[name.replace(" ", "_")] = {"p50_ms": p50, "p90_ms": p90}
        rows.append((name, f"{p50:.4f}", f"{p90:.4f}"))
    return answer, [*aligned(rows), f"{options.runs} runs each; measured on this machine as it was loaded"], 0


def _times_ms(call: Callable[[], object], runs: int) -> list[float]:
    clock, out = time.perf_counter, []
    end, done = clock() + _WARM_UP_S, 0
    while done < _WARM_UP_RUNS or clock() < end:
        call()
        done += 1
    for _ in range(runs):
        start = clock()
        call()
        out.append((clock() - start) * 1e3)
    return out
