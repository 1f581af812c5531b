"""One fresh process of a measurement: a JSON job on stdin, a JSON answer on stdout. Started by edge_bench.

What is timed is `Model.run(prepared)`: the engine call with the copies into and out of the engine, without the
preprocessing. Every run is stamped on its own; a stamp costs about 0.1 us. The process holds numpy, edge_runtime and
the bundle's engine, nothing else: what it measures is what an app would see.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import re
import resource
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

from edge_runtime.edge_timing import MIN_BLOCK_RUNS, Series, Timing, interleave, timings

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["JOBS", "Series", "Timing", "energy_windows", "interleave", "main", "memory_bytes", "timings"]

FIRST_RUNS = 20  # of the start-up job, so that buffers grown on first use count as memory


def time_models(job: dict[str, Any]) -> dict[str, Any]:
    """Load the job's models (one, or the reference and one more) in random order and time them interleaved."""
    rng = random.Random(job["seed"])  # noqa: S311  (an order of blocks, no secret)
    loaded = {s["name"]: opened(s, job["threads"]) for s in rng.sample(job["subjects"], len(job["subjects"]))}
    names = [s["name"] for s in job["subjects"]]
    calls = [engine_call(loaded[name]) for name in names]
    gc.collect()
    gc.disable()
    series = interleave(calls, Timing(**job["timing"]), rng)
    return {name: timings(loaded[name].engine, found) for name, found in zip(names, series)}


def start_model(job: dict[str, Any]) -> dict[str, Any]:
    """What an app waits for and what it occupies, in a process that holds this one model.

    load_ms: edge_runtime.load, that is the engine's import, the checksums and the engine's own preparation.
    first_ms: preprocessing and first run. peak_memory_bytes: VmHWM of the process after 20 runs: Python, numpy, the
    engine and the model together. base_memory_bytes: before the load.
    """
    from edge_runtime.model import load

    (subject,) = job["subjects"]
    base = memory_bytes("VmRSS")
    start = time.perf_counter_ns()
    model = load(subject["bundle"], engine=subject["engine"], threads=job["threads"])
    loaded = time.perf_counter_ns()
    example = first_example(model)
    given = time.perf_counter_ns()
    prepared = model.prepare(example)
    model.run(prepared)
    first = time.perf_counter_ns()
    for _ in range(FIRST_RUNS):
        model.run(prepared)
    return {
        subject["name"]: {
            "engine": model.engine,
            "load_ms": (loaded - start) / 1e6,
            "first_ms": (first - given) / 1e6,
            "base_memory_bytes": base,
            "peak_memory_bytes": memory_bytes("VmHWM"),
        }
    }


def throughput(job: dict[str, Any]) -> dict[str, Any]:
    """Inferences a second of one model: batches of job["batch"] one after the other for job["seconds"], twice.

    The first time warms up and is not counted.
    """
    import numpy as np

    (subject,) = job["subjects"]
    model = opened(subject, job["threads"])
    prepared, batch = model.prepare(first_example(model)), job["batch"]
    if isinstance(prepared, dict):
        batch = 1  # named arrays of a given file: which of their axes is the batch, if any, nobody says
    else:
        prepared = np.repeat(prepared, batch, axis=0)
    for _ in ("warm up", "measure"):
        count, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < job["seconds"] or not count:
            model.run(prepared)
            count += batch
    return {subject["name"]: {"batch": batch, "inferences": count, "seconds": elapsed}}


def blocks(job: dict[str, Any]) -> dict[str, Any]:
    """One model alone for job["seconds"]: [start, end, median ms] of every block, on the clock of all processes."""
    (subject,) = job["subjects"]
    call, out = engine_call(opened(subject, job["threads"])), []
    runs, end = MIN_BLOCK_RUNS, time.monotonic() + job["seconds"]
    while (start := time.monotonic()) < end:
        times = [_timed_ns(call) for _ in range(runs)]
        runs = max(MIN_BLOCK_RUNS, round(5e6 / max(1.0, statistics.median(times))))
        out.append([start, time.monotonic(), statistics.median(times) / 1e6])
    return {subject["name"]: {"blocks": out}}


def _timed_ns(call: Callable[[], object]) -> int:
    before = time.perf_counter_ns()
    call()
    return time.perf_counter_ns() - before


def energy(job: dict[str, Any]) -> dict[str, Any]:
    """One model's windows of work, for the coordinator, who reads the meter meanwhile."""
    (subject,) = job["subjects"]
    return {subject["name"]: energy_windows(engine_call(opened(subject, job["threads"])), job)}


def energy_windows(call: Callable[[], object], job: dict[str, Any]) -> dict[str, Any]:
    """Windows of uninterrupted work between two idle ones.

    call: one inference of a loaded model. It is warm before the first idle window, so that idling means what it does
    between inferences.
    """

    def work(seconds: float) -> dict[str, Any]:
        start, count = time.monotonic(), 0
        while (now := time.monotonic()) < start + seconds or not count:
            call()
            count += 1
        return {"start": start, "end": now, "inferences": count}

    def idle() -> list[float]:
        start = time.monotonic()
        time.sleep(job["idle_s"])
        return [start, time.monotonic()]

    work(job["warmup_s"])
    before = idle()
    windows = [work(job["window_s"]) for _ in range(job["windows"])]
    return {"idle": [before, idle()], "windows": windows}


def inspect(job: dict[str, Any]) -> dict[str, Any]:
    """Does the model give here what it gave where it was made? And what stands in the manifest about it."""
    (subject,) = job["subjects"]
    model = opened(subject, job["threads"])
    report, entry = model.check(), model.entry
    info = model.manifest.files[entry.path]
    return {
        subject["name"]: {
            "bundle": model.manifest.name,
            "file": entry.path,
            "format": entry.format,
            "precision": entry.precision,
            "sha256": info.sha256,
            "size_bytes": info.size_bytes,
            "engine": model.engine,
            "check": {
                "ok": report.ok,
                "agreement": report.agreement,
                "largest_difference": report.largest_difference,
                "message": report.message,
            },
        }
    }


def operators(job: dict[str, Any]) -> dict[str, Any]:
    """Every operator of one model: its time where the engine tells, its arithmetic."""
    from edge_runtime import edge_operators

    (subject,) = job["subjects"]
    model = opened(subject, job["threads"])
    found = edge_operators.operators(model, first_example(model), job["threads"])
    verdict = edge_operators.verdict(model.entry.precision, found)
    return {subject["name"]: {**found, "verdict": verdict}}


def opened(subject: dict[str, Any], threads: int) -> Any:
    """The subject's model, opened as an app would."""
    from edge_runtime.model import load

    return load(subject["bundle"], engine=subject["engine"], threads=threads)


def first_example(model: Any) -> Any:
    """The bundle's first reference example, raw."""
    return model.reference()[0][0]


def engine_call(model: Any) -> Callable[[], object]:
    """One inference, its input prepared."""
    prepared, run = model.prepare(first_example(model)), model.run
    return lambda: run(prepared)


def memory_bytes(which: str, status: str = "/proc/self/status") -> int | None:
    """VmHWM (largest resident size so far) or VmRSS (now) of this process; None where the system does not tell.

    Not getrusage's ru_maxrss: on Linux a child inherits that from the parent, which may hold torch.
    """
    try:
        with open(status) as f:
            match = re.search(rf"^{which}:\s*(\d+) kB$", f.read(), re.M)
    except OSError:
        return None
    return int(match[1]) * 1024 if match else None


JOBS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "time": time_models,
    "start": start_model,
    "throughput": throughput,
    "blocks": blocks,
    "energy": energy,
    "operators": operators,
    "inspect": inspect,
}


def main() -> None:
    """Do the job on stdin. Whatever an engine prints goes to stderr, so that stdout carries the answer alone."""
    answer_fd = os.dup(1)
    os.dup2(2, 1)
    job = json.load(sys.stdin)
    if job["cores"] and hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(OSError):  # the emulator and some containers refuse; the coordinator says so
            os.sched_setaffinity(0, job["cores"])  # before the engine starts any thread
    from edge_runtime.errors import EdgeError, EngineError

    answer: dict[str, Any]
    try:
        answer = {"models": JOBS[job["kind"]](job)}
    except EdgeError as error:
        engine = isinstance(error, EngineError)
        answer = {"error": {"what": error.what, "where": error.where, "fix": error.fix, "engine": engine}}
    usage = resource.getrusage(resource.RUSAGE_SELF)
    pinned = hasattr(os, "sched_getaffinity") and sorted(os.sched_getaffinity(0)) == sorted(job["cores"])
    answer["process"] = {"cpu_s": usage.ru_utime + usage.ru_stime, "preempted": usage.ru_nivcsw, "pinned": pinned}
    with os.fdopen(answer_fd, "w") as out:
        json.dump(answer, out)


if __name__ == "__main__":
    main()
