"""One benchmark process: `python -m compress.benchmark.worker` reads a JSON job on stdin and answers in JSON on stdout.

Imports numpy, edge_runtime and the bundle's own engine, nothing else: what it measures is what an app would see.
What is timed is `Model.run(prepared)`: the engine call with the copies into and out of the engine, without the
preprocessing. Every run is stamped on its own; the stamp itself costs about 0.1 us.
"""

import base64
import gc
import json
import os
import random
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")
WARMUP_RUNS = 20
FIRST_RUNS = 20  # of the start-up job, so that buffers grown on first use count as memory
MIN_BLOCK_RUNS = 2


@dataclass(slots=True)
class Series:
    """One model's timings: the median of each block in ms, and every single run in ns."""

    blocks_ms: list[float] = field(default_factory=list)
    runs_ns: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Timing:
    """How long to time, in seconds unless named otherwise.

    seconds: of timing, over all models together; goes on until every model had min_runs runs, at most max_seconds.
    rest_s: pause before each block, so that the thread pool of the model timed before has stopped spinning.
    """

    seconds: float
    warmup_s: float
    block_ms: float
    rest_s: float
    min_runs: int
    max_seconds: float


def interleave(
    calls: Sequence[Callable[[], object]],
    timing: Timing,
    rng: random.Random,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Series]:
    """Time the calls in alternating blocks, each round in a fresh random order: a drift of the machine hits them all.

    A block is one untimed run, which brings the caches back, and then as many timed runs as last about block_ms.
    Block i of one series was timed in the same round as block i of every other.
    """

    def block(index: int, runs: int) -> list[int]:
        if timing.rest_s:
            sleep(timing.rest_s)
        call = calls[index]
        call()
        out = []
        before = clock_ns()
        for _ in range(runs):
            call()
            now = clock_ns()
            out.append(now - before)
            before = now
        return out

    def rounds(done: Callable[[float], bool], keep: Callable[[int, list[int]], None]) -> None:
        start = clock_ns()
        while not done((clock_ns() - start) / 1e9):
            for index in shuffled(range(len(calls)), rng):
                keep(index, block(index, runs[index]))

    runs = [MIN_BLOCK_RUNS] * len(calls)
    warm = [0] * len(calls)

    def learn(index: int, times: list[int]) -> None:
        warm[index] += len(times)
        runs[index] = max(MIN_BLOCK_RUNS, round(timing.block_ms * 1e6 / max(1.0, float(np.median(times)))))

    series = [Series() for _ in calls]

    def record(index: int, times: list[int]) -> None:
        series[index].blocks_ms.append(round(float(np.median(times)) / 1e6, 6))
        series[index].runs_ns += times

    def warm_enough(elapsed: float) -> bool:
        return elapsed >= timing.max_seconds or (elapsed >= timing.warmup_s and min(warm) >= WARMUP_RUNS)

    def measured_enough(elapsed: float) -> bool:
        fewest = min(len(s.runs_ns) for s in series)
        return elapsed >= timing.max_seconds or (elapsed >= timing.seconds and fewest >= max(1, timing.min_runs))

    rounds(warm_enough, learn)
    rounds(lambda elapsed: bool(series[0].runs_ns) and measured_enough(elapsed), record)
    return series


def shuffled(items: Sequence[T], rng: random.Random) -> list[T]:
    """The items in a random order."""
    return rng.sample(items, len(items))


def time_models(job: dict[str, Any], example: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Load the job's bundles (one, or the reference and one more), in random order, and time them interleaved."""
    import edge_runtime

    rng = random.Random(job["seed"])  # noqa: S311  (an order of blocks, no secret)
    loaded = {name: edge_runtime.load(folder, threads=job["threads"]) for name, folder in shuffled(job["bundles"], rng)}
    models = {name: loaded[name] for name, _ in job["bundles"]}

    def call(model: Any) -> Callable[[], object]:
        prepared, run = model.prepare(example), model.run
        return lambda: run(prepared)

    gc.collect()
    gc.disable()
    series = interleave([call(m) for m in models.values()], Timing(**job["timing"]), rng)
    return {
        name: {
            "engine": model.engine,
            "blocks_ms": found.blocks_ms,
            "runs": len(found.runs_ns),
            "p90_ms": round(float(np.quantile(found.runs_ns, 0.9)) / 1e6, 6),
        }
        for (name, model), found in zip(models.items(), series, strict=True)
    }


def start_model(job: dict[str, Any], example: np.ndarray[Any, Any]) -> dict[str, Any]:
    """What an app waits for and what it occupies, in a process that holds this one bundle.

    load_ms: edge_runtime.load, that is the engine's import, the checksums and the engine's own preparation.
    first_ms: preprocessing and first run. peak_memory_bytes: VmHWM of the process after 20 runs: Python, numpy, the
    engine and the model together.
    """
    import edge_runtime

    ((name, folder),) = job["bundles"]
    start = time.perf_counter_ns()
    model = edge_runtime.load(folder, threads=job["threads"])
    loaded = time.perf_counter_ns()
    prepared = model.prepare(example)
    model.run(prepared)
    first = time.perf_counter_ns()
    for _ in range(FIRST_RUNS):
        model.run(prepared)
    return {
        name: {
            "engine": model.engine,
            "load_ms": (loaded - start) / 1e6,
            "first_ms": (first - loaded) / 1e6,
            "peak_memory_bytes": peak_memory_bytes(),
        }
    }


def peak_memory_bytes(status: str = "/proc/self/status") -> int | None:
    """Largest resident size of this process; None where the system does not tell.

    Not getrusage's ru_maxrss: on Linux a child inherits that from the parent, which may hold torch.
    """
    try:
        with open(status) as f:
            match = re.search(r"^VmHWM:\s*(\d+) kB$", f.read(), re.M)
    except OSError:
        return None
    return int(match[1]) * 1024 if match else None


def decode(example: dict[str, Any]) -> np.ndarray[Any, Any]:
    """An array from the JSON form that `latency.encode` gives it."""
    return np.frombuffer(base64.b64decode(example["data"]), dtype=example["dtype"]).reshape(example["shape"])


def main() -> None:
    """Do the job on stdin. Whatever an engine prints goes to stderr, so that stdout carries the answer alone."""
    answer_fd = os.dup(1)
    os.dup2(2, 1)
    job = json.load(sys.stdin)
    if job["cores"] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, job["cores"])  # before the engine starts any thread
    from edge_runtime.errors import EdgeError

    work = {"time": time_models, "start": start_model}[job["kind"]]
    try:
        answer = {"models": work(job, decode(job["example"]))}
    except EdgeError as error:
        answer = {"error": {"what": error.what, "where": error.where, "fix": error.fix}}
    with os.fdopen(answer_fd, "w") as out:
        json.dump(answer, out)


if __name__ == "__main__":
    main()
