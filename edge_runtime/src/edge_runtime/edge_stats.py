"""The few statistics of a measurement. Pure functions of numbers, standard library only: they run on the device too."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

# Two-sided 5 % points of Student's t with 1, 2, ... degrees of freedom.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
RESOLUTION = 0.004  # of a logarithm of a ratio; see docs/measuring.md
NO_DIFFERENCE = "no difference shown"


def student(freedom: int) -> float:
    """Two-sided 5 % point of Student's t; beyond the table by its expansion around the normal's, within 0.1 %."""
    return STUDENT[freedom - 1] if freedom <= len(STUDENT) else 1.96 + 2.372 / freedom + 2.823 / freedom**2


def quantile(values: Sequence[float], share: float) -> float:
    """Linear between the two nearest, as numpy's default.

    >>> quantile([1.0, 2.0, 3.0, 5.0], 0.5)
    2.5
    """
    ordered = sorted(values)
    at = share * (len(ordered) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def spread(medians: Sequence[float]) -> float:
    """How far the medians of processes lie apart: (largest - smallest) / median."""
    return (max(medians) - min(medians)) / statistics.median(medians)


def mean_interval(values: Sequence[float]) -> tuple[float, tuple[float, float] | None]:
    """Mean and its 95 % interval by Student's t; None for a single value, which says nothing about the scatter."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, None
    half = student(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return mean, (mean - half, mean + half)


def paired_ratio(
    reference: Sequence[Sequence[float]], this: Sequence[Sequence[float]]
) -> tuple[float, tuple[float, float] | None]:
    """How many times faster `this` is than `reference` (2.0: half the time), with a 95 % interval.

    Both: by process, then by block, ms per inference; block i of a process in `reference` was timed next to block i in
    `this`. A process gives one number, the median of the logarithms of its block ratios: the median shrugs off
    disturbed blocks. The estimate is the mean over processes, so that each counts alike however many blocks it had.

    The interval is Student's t over the processes. Blocks of one process share its memory layout and follow each other
    in time, so they are no independent witnesses, and no number of them stands for another process (Kalibera and Jones
    2013, Rigorous Benchmarking in Reasonable Time, ISMM). It is never narrower than RESOLUTION each way: a handful of
    processes can agree by chance far better than they should. None with a single process.
    """
    logs = [statistics.median(math.log(a / b) for a, b in zip(before, after)) for before, after in zip(reference, this)]
    estimate, interval = mean_interval(logs)
    if interval is None:
        return math.exp(estimate), None
    half = max(interval[1] - estimate, RESOLUTION)
    return math.exp(estimate), (math.exp(estimate - half), math.exp(estimate + half))


def verdict(ratio: float, interval: tuple[float, float] | None) -> str:
    """What may be said about a ratio.

    >>> verdict(1.004, (0.99, 1.02)), verdict(2.0, (1.9, 2.1)), verdict(0.5, (0.4, 0.6))
    ('no difference shown', '2.00x faster', '2.00x slower')
    """
    if interval is None:
        return "one process says nothing about a difference"
    if interval[0] <= 1.0 <= interval[1]:
        return NO_DIFFERENCE
    return f"{ratio:.2f}x faster" if ratio > 1 else f"{1 / ratio:.2f}x slower"


def summarize(model: dict[str, Any]) -> dict[str, Any]:
    """The figures of one model from its raw processes and starts; a figure without samples is None.

    p50_ms: median of all blocks. p90_ms, p99_ms: of single runs, median over processes. spread: of process medians.
    single_stream_ms: MLPerf Tiny's rule, the median over runs of seconds per inference; mlperf_tiny says whether there
    were five of at least 10 s and 10 inferences. cpu_ms: CPU time an inference takes over all threads.
    """
    timed, starts = model["processes"], model["starts"]
    found: dict[str, Any] = dict.fromkeys(
        ("p50_ms", "p90_ms", "p99_ms", "spread", "single_stream_ms", "cpu_ms", "load_ms", "first_ms")
    )
    found |= {"mlperf_tiny": False, "peak_memory_bytes": None, "throughput_per_s": None, "process_p50_ms": []}
    if timed:
        medians = [statistics.median(p["blocks_ms"]) for p in timed]
        tails = [p["p99_ms"] for p in timed if p["p99_ms"] is not None]
        long = [p for p in timed if p["timed_s"] >= 10 and p["runs"] >= 10]
        found["process_p50_ms"], found["spread"] = medians, spread(medians)
        found["p50_ms"] = statistics.median(b for p in timed for b in p["blocks_ms"])
        found["p90_ms"] = statistics.median(p["p90_ms"] for p in timed)
        found["p99_ms"] = statistics.median(tails) if len(tails) == len(timed) else None
        found["single_stream_ms"] = 1e3 * statistics.median(p["timed_s"] / p["runs"] for p in timed)
        found["mlperf_tiny"] = len(long) == len(timed) >= 5
        found["cpu_ms"] = 1e3 * sum(p["cpu_s"] for p in timed) / sum(p["runs"] for p in timed)
    if starts:
        memory = [s["peak_memory_bytes"] for s in starts if s["peak_memory_bytes"] is not None]
        found["load_ms"] = statistics.median(s["load_ms"] for s in starts)
        found["first_ms"] = statistics.median(s["first_ms"] for s in starts)
        found["peak_memory_bytes"] = max(memory) if memory else None
    if model["throughput"]:
        found["throughput_per_s"] = model["throughput"]["inferences"] / model["throughput"]["seconds"]
    return found
