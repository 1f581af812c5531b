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
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WARMUP_RUNS = 20
FIRST_RUNS = 20  # of the start-up job, so that buffers grown on first use count as memory
MIN_BLOCK_RUNS = 2
P99_RUNS = 1000  # a 99th percentile of fewer is decided by fewer than ten runs


@dataclass
class Series:
    """One model's timings. blocks_ms: medians of the blocks; runs_ns: every single run; cpu_ns: CPU time they took."""

    blocks_ms: list[float] = field(default_factory=list)
    runs_ns: list[int] = field(default_factory=list)
    cpu_ns: int = 0


@dataclass(frozen=True)
class Timing:
    """How long to time.

    seconds: of timed inference for each model, and min_runs runs, but max_seconds in all. warmup_s: over all models.
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
    cpu_ns: Callable[[], int] = time.process_time_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Series]:
    """Time the calls in alternating blocks, each round in a fresh random order: a drift of the machine hits them all.

    A block is one untimed run, which brings the caches back, and then as many timed runs as last about block_ms.
    Block i of one series was timed in the same round as block i of every other.
    """
    runs = [MIN_BLOCK_RUNS] * len(calls)
    warm, series = [0] * len(calls), [Series() for _ in calls]

    def block(index: int) -> tuple[list[int], int]:
        if timing.rest_s:
            sleep(timing.rest_s)
        call, out = calls[index], []
        call()
        spent = cpu_ns()
        before = clock_ns()
        for _ in range(runs[index]):
            call()
            now = clock_ns()
            out.append(now - before)
            before = now
        return out, cpu_ns() - spent

    def rounds(done: Callable[[float], bool], keep: Callable[[int, list[int], int], None]) -> None:
        start = clock_ns()
        while not done((clock_ns() - start) / 1e9):
            for index in rng.sample(range(len(calls)), len(calls)):
                keep(index, *block(index))

    def learn(index: int, times: list[int], _: int) -> None:
        warm[index] += len(times)
        runs[index] = max(MIN_BLOCK_RUNS, round(timing.block_ms * 1e6 / max(1.0, statistics.median(times))))

    def record(index: int, times: list[int], spent: int) -> None:
        mine = series[index]
        mine.blocks_ms.append(round(statistics.median(times) / 1e6, 6))
        mine.runs_ns += times
        mine.cpu_ns += spent
        timed_s[index] += sum(times) / 1e9

    def warm_enough(elapsed: float) -> bool:
        return elapsed >= timing.max_seconds or (elapsed >= timing.warmup_s and min(warm) >= WARMUP_RUNS)

    def timed_enough(elapsed: float) -> bool:
        if not series[0].runs_ns:
            return False
        fewest = min(len(s.runs_ns) for s in series)
        enough = min(timed_s) >= timing.seconds and fewest >= timing.min_runs
        return enough or elapsed >= timing.max_seconds

    timed_s = [0.0] * len(calls)
    rounds(warm_enough, learn)
    rounds(timed_enough, record)
    return series


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


def timings(engine: str, found: Series) -> dict[str, Any]:
    """One model's series as plain data; p99_ms only where there are enough runs for one."""
    from edge_runtime.edge_stats import quantile

    runs = sorted(found.runs_ns)
    return {
        "engine": engine,
        "blocks_ms": found.blocks_ms,
        "runs": len(runs),
        "timed_s": round(sum(runs) / 1e9, 6),
        "cpu_s": round(found.cpu_ns / 1e9, 6),
        "p50_ms": round(quantile(runs, 0.5) / 1e6, 6),
        "p90_ms": round(quantile(runs, 0.9) / 1e6, 6),
        "p99_ms": round(quantile(runs, 0.99) / 1e6, 6) if len(runs) >= P99_RUNS else None,
    }


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
