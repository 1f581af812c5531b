"""What a monitor's file says, as numbers for a page: points in time, features that moved, classes, alarms."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from edge_runtime.errors import EdgeError
from edge_runtime.monitor import histogram
from edge_runtime.monitor.counters import Counters
from edge_runtime.monitor.history import History, read_history

from compress.errors import UsageError

MOST_POINTS = 120
_SQLITE = b"SQLite format 3\0"


@dataclass(frozen=True, slots=True)
class Point:
    """A stretch of time. duration_s: that processes counted in it, which may be less than its width or more."""

    time_s: float
    duration_s: float
    counters: Counters


@dataclass(frozen=True)
class Watched:
    """A monitor's file, ready to be drawn. points: ascending in time; None where nobody counted."""

    path: Path
    history: History
    points: tuple[Point | None, ...]
    times_s: tuple[float, ...]

    @cached_property
    def shot(self) -> dict[str, Any]:
        """As `edge-runtime watch --json`."""
        return self.history.snapshot()

    def series(self, value: Callable[[Point], float | None]) -> tuple[float | None, ...]:
        """A figure of every point."""
        return tuple(None if p is None else _finite(value(p)) for p in self.points)

    def latency(self, share: float) -> tuple[float | None, ...]:
        """A quantile in ms."""
        return self.series(lambda p: histogram.quantile_ms(p.counters.latency, share) if p.counters.calls else None)

    def mean_of(self, feature: str) -> tuple[float | None, ...]:
        """The mean of a feature that the reference knows."""
        statistics = self.history.reference.statistics
        names = [f.name for f in statistics.features] if statistics else []
        if feature not in names:
            return tuple(None for _ in self.points)
        i = names.index(feature)
        return self.series(lambda p: float(p.counters.sums[i]) / p.counters.watched if p.counters.watched else None)

    def accuracy(self) -> tuple[float | None, ...]:
        """Of the labels that arrived in each stretch."""
        if not self.history.reference.classifies:
            return tuple(None for _ in self.points)
        out: list[float | None] = []
        for i, start in enumerate(self.times_s):
            end = self.times_s[i + 1] if i + 1 < len(self.times_s) else math.inf
            pairs = [(p, y) for t, p, y in self.history.labels if start <= t < end]
            out.append(sum(p == y for p, y in pairs) / len(pairs) if pairs else None)
        return tuple(out)


def is_monitor_file(path: Path) -> bool:
    """Whether a path is an SQLite file, by its first bytes."""
    try:
        with path.open("rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE
    except OSError:
        return False


def read_watched(path: Path) -> Watched:
    """Read a monitor's file and gather its intervals into at most 120 equal stretches of time.

    Intervals stand in the order of writing: where the clock jumped back, time stands still until it has caught up.

    Raises:
        UsageError: it is no monitor's file, damaged, or nothing has been counted yet.
    """
    try:
        history = read_history(path)
    except EdgeError as error:
        raise UsageError(error.what, error.where, error.fix) from error
    if not history.intervals:
        raise UsageError("nothing has been counted yet", str(path), "wait for the monitor's first write")
    latest, moments = -math.inf, []
    for interval in history.intervals:
        latest = max(latest, interval.start_s)
        moments.append(latest)
    first, last = moments[0], max(m + i.duration_s for m, i in zip(moments, history.intervals, strict=True))
    # A narrower stretch than the writes are apart would leave holes.
    apart = sorted(i.duration_s for i in history.intervals)[len(moments) // 2]
    width = max((last - first) / MOST_POINTS, 1.5 * apart, 1e-3)
    points: list[Point | None] = [None] * (int((last - first) / width) + 1)
    for moment, interval in zip(moments, history.intervals, strict=True):
        at = int((moment - first) / width)
        old = points[at] or Point(first + at * width, 0.0, history.total(()))
        old.counters.add(interval.counters)
        points[at] = Point(old.time_s, old.duration_s + interval.duration_s, old.counters)
    times_s = tuple(first + i * width for i in range(len(points)))
    return Watched(path, history, tuple(points), times_s)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
