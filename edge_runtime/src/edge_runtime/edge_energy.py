"""Energy of an inference from a meter: windows of work between two idle ones. Standard library only.

The worker works and waits; it says when each window began and ended. Meanwhile a thread here reads the meter, and the
joules of a window are cut out afterwards. Both use time.monotonic, which is one clock for all processes of a machine.
"""

from __future__ import annotations

import contextlib
import math
import os
import statistics
import threading
import time
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Any, Callable

from edge_runtime.edge_meters import MeterError, Samples, Source
from edge_runtime.edge_stats import mean_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

IDLE_DRIFT = 0.05  # of the power under load that the two idle windows may differ by unmentioned
LATE_S = 5.0  # how long a log may lag behind


class Sampler:
    """Reads a meter in a thread, on other cores than those that are timed where there are any."""

    def __init__(
        self, source: Source, away_from: Sequence[int], pause: Callable[[float], bool] = lambda now: False
    ) -> None:
        self.source = source
        self.samples: Samples = []
        self.error: MeterError | None = None
        self._away, self._pause = set(away_from), pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="energy sampler", daemon=True)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Go on until a lagging log has caught up."""
        now, end = time.monotonic(), time.monotonic() + LATE_S
        while not self.error and time.monotonic() < end and (not self.samples or self.samples[-1][0] < now):
            time.sleep(0.05)
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        if hasattr(os, "sched_setaffinity"):
            others = os.sched_getaffinity(0) - self._away
            with contextlib.suppress(OSError):
                os.sched_setaffinity(0, others or os.sched_getaffinity(0))  # of this thread alone
        while not self._stop.wait(1 / self.source.rate_hz):
            if self._pause(time.monotonic()):
                continue
            try:
                self.samples += self.source.poll()
            except MeterError as error:
                self.error = error
                return


def joules(samples: Samples, source: Source, start: float, end: float) -> float:
    """Energy between two moments. Watts by trapezoids, counters by their difference, ends interpolated.

    Raises:
        MeterError: the meter was silent for longer than it may be, or a counter stood still.
    """
    times = [t for t, _ in samples]
    first, last = bisect_right(times, start) - 1, bisect_left(times, end)
    if first < 0 or last >= len(times):
        raise MeterError("the meter gave nothing for a part of the window", source.scope, _STOPPED)
    inside = samples[first : last + 1]
    gap = max((b[0] - a[0] for a, b in zip(inside, inside[1:])), default=math.inf)
    if gap > source.gap_s:
        raise MeterError(f"the meter was silent for {gap:.1f} s", source.scope, _STOPPED)
    points = [(start, _at(samples, times, start)), *inside[1:-1], (end, _at(samples, times, end))]
    if source.quantity == "J":
        if inside[-1][1] == inside[0][1]:
            raise MeterError("the counter stood still", source.scope, _STOPPED)
        return points[-1][1] - points[0][1]
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in zip(points, points[1:]))


_STOPPED = "see whether the meter still runs, and measure again"


def _at(samples: Samples, times: Sequence[float], moment: float) -> float:
    after = bisect_left(times, moment)
    (t0, v0), (t1, v1) = samples[max(after - 1, 0)], samples[after]
    return v1 if t1 == t0 else v0 + (v1 - v0) * (moment - t0) / (t1 - t0)


def account(samples: Samples, source: Source, work: dict[str, Any]) -> dict[str, Any]:
    """Millijoules of an inference, in all and above idle, with 95 % intervals.

    work: the worker's idle windows [start, end] before and after, and windows with start, end and inferences.
    total: Student's t over windows. net: less the mean idle power times the seconds of an inference; its interval also
    holds half the difference between the two idle windows, which is what is not known about idling in between.

    Raises:
        MeterError: as joules.
    """
    idle = [{"seconds": b - a, "joules": joules(samples, source, a, b)} for a, b in work["idle"]]
    windows = [
        {"seconds": w["end"] - w["start"], "inferences": w["inferences"],
         "joules": joules(samples, source, w["start"], w["end"])} for w in work["windows"]
    ]  # fmt: skip
    idle_w = [i["joules"] / i["seconds"] for i in idle]
    base_w, unknown_w = statistics.fmean(idle_w), (max(idle_w) - min(idle_w)) / 2
    total, total_ci = mean_interval([1e3 * w["joules"] / w["inferences"] for w in windows])
    net, net_ci = mean_interval([1e3 * (w["joules"] - base_w * w["seconds"]) / w["inferences"] for w in windows])
    if net_ci is not None:
        drift = 1e3 * unknown_w * statistics.fmean(w["seconds"] / w["inferences"] for w in windows)
        half = math.hypot(net_ci[1] - net, drift)
        net_ci = (net - half, net + half)
    power = sum(w["joules"] for w in windows) / sum(w["seconds"] for w in windows)
    return {
        "label": "measured",
        "meter": {"kind": source.kind, "scope": source.scope, "rate_hz": source.rate_hz},
        "windows": windows,
        "idle": idle,
        "idle_w": base_w,
        "load_w": power,
        "total_mj": total,
        "total_ci95": total_ci,
        "net_mj": net,
        "net_ci95": net_ci,
        "steady_idle": 2 * unknown_w <= IDLE_DRIFT * power,
    }


def resting(now: float) -> bool:
    """Half of each second, in which the meter is left alone to see whether reading it disturbs."""
    return int(2 * now) % 2 == 1


def with_and_without(blocks: Sequence[Sequence[float]]) -> dict[str, float] | None:
    """Median latency of blocks (start, end, ms) in the half seconds with the meter read and in those without.

    None where there are too few to say. Blocks on a border count for neither.
    """
    groups: dict[bool, list[float]] = {True: [], False: []}
    for start, end, ms in blocks:
        if int(2 * start) == int(2 * end):
            groups[resting(start)].append(ms)
    if min(map(len, groups.values())) < 5:
        return None
    without, read = statistics.median(groups[True]), statistics.median(groups[False])
    return {"with_ms": read, "without_ms": without, "ratio": read / without}
