"""Calls timed beside each other: alternating blocks in random order, every run stamped on its own."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edge_runtime.edge_stats import quantile

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

WARMUP_RUNS = 20
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


def timings(engine: str, found: Series) -> dict[str, Any]:
    """One model's series as plain data; p99_ms only where there are enough runs for one."""
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
