"""What a monitor holds in one process: what waits to be described, what has been counted, what waits to be written."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from edge_runtime.features import output_features
from edge_runtime.monitor import histogram
from edge_runtime.monitor.counters import Counters
from edge_runtime.monitor.rules import Alarm
from edge_runtime.monitor.store import MOST_PREDICTIONS
from edge_runtime.monitor.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge_runtime.statistics import Statistics

T = TypeVar("T")
BATCH = 64  # examples described at a time: numpy's cost per call is spread over them
_MOST_WAITING = 4096  # while another thread describes; beyond it examples are counted as dropped
_LARGEST_STEP = 4096
_LARGEST_BLOCK = 8  # times BATCH
_MOST_ALARMS = 1000


class Described(NamedTuple):
    """A described batch, for the queue to consider. features: inputs' and outputs'. raws: what the app gave."""

    ids: Sequence[str]
    inputs: Sequence[NDArray[Any]]
    features: NDArray[np.float32]
    logits: NDArray[np.float32] | None
    raws: Sequence[Any]


class Process:
    """Counts of one process, safe for its threads. A forked child starts a new one.

    every: describe each n-th example at most; share: of the calls' own time that describing may take.
    """

    def __init__(
        self, statistics: Statistics | None, *, every: int, share: float, false_alarm_every: float, window: int
    ) -> None:
        self.pid = os.getpid()
        self.source = f"{self.pid:x}-{os.urandom(4).hex()}"
        self.lock = threading.Lock()
        self._false_alarm_every, self._window = false_alarm_every, window
        self.watcher: Watcher | None
        self._empty: tuple[int, int, str]
        self._refer_to(statistics)
        self.now, self.before, self.total = self.fresh(), self.fresh(), self.fresh()
        self.unwritten = self.fresh()
        self.predictions: deque[tuple[str, float, float, float]] = deque(maxlen=MOST_PREDICTIONS)
        self.alarms: list[Alarm] = []
        self.drifting = False
        self.step, self._every, self._share = every, every, share
        self._cost_s, self._call_s = 0.0, 0.0
        self._number = itertools.count()
        # Threads append without a lock, so these are never replaced: what is appended to a list just let go is lost.
        self._calls: deque[tuple[float, int]] = deque()
        self._waiting: deque[tuple[str, Any, Any, Any]] = deque()

    def fresh(self) -> Counters:
        """Empty counters that fit the reference."""
        return Counters(*self._empty)

    def refer_to(self, statistics: Statistics | None) -> None:
        """Go on with another reference: its detector starts calm, and what it does not describe is kept."""
        with self.lock:
            self._refer_to(statistics)
            for name in ("now", "before", "total", "unwritten"):
                kept = self.fresh()
                kept.add(getattr(self, name))
                setattr(self, name, kept)

    def _refer_to(self, statistics: Statistics | None) -> None:
        self.statistics, self.watcher, self._empty = statistics, None, (0, 1, "")
        if statistics is not None:
            like = Counters.like(statistics)
            self._empty = (*like.bins.shape, like.reference)
            self.watcher = Watcher(statistics, false_alarm_every=self._false_alarm_every, window=self._window)

    def take(self, inputs: Any, logits: NDArray[np.float32] | None, latency_ms: float, raw: Any) -> list[str]:
        """One call's examples into the waiting lists; their ids. Appends only: any thread, no lock.

        Of what the app gave (`raw`) only texts are held on to: they cannot change, arrays can.
        """
        known = isinstance(inputs, np.ndarray)
        count = len(logits) if logits is not None else len(inputs) if known else 1
        ids = []
        texts = raw if isinstance(raw, (list, tuple)) and len(raw) == count and isinstance(raw[0], str) else None
        for i in range(count):
            n = next(self._number)
            id = f"{self.source}-{n:x}"
            ids.append(id)
            watched = known and n % self.step == 0
            row = None if logits is None else logits[i]
            self._waiting.append((id, inputs[i] if watched else None, row, texts and texts[i]))
        self._calls.append((latency_ms, count))
        return ids

    @property
    def full(self) -> bool:
        """Whether it is time to fold."""
        return len(self._waiting) >= BATCH * min(self.step, _LARGEST_BLOCK)

    def number(self, value: float, latency_ms: float) -> str:
        """A numeric answer, for labels to be compared with; its id."""
        id = f"{self.source}-{next(self._number):x}"
        with self.lock:
            self.predictions.append((id, time.time(), value, 1.0))
        self._calls.append((latency_ms, 1))
        return id

    def fold(self, *, wait: bool) -> tuple[list[Alarm], list[Described]]:
        """Describe and count what waits, unless another thread is at it: the alarms and batches that gives."""
        if not self.lock.acquire(blocking=wait):
            if len(self._waiting) > _MOST_WAITING:
                self.now.dropped += len(_taken(self._waiting, len(self._waiting) - _MOST_WAITING // 2))
            return [], []
        try:
            began = time.perf_counter()
            calls = _taken(self._calls, len(self._calls))
            waiting = _taken(self._waiting, len(self._waiting))
            if not calls and not waiting:
                return [], []
            latencies = [ms for ms, _ in calls]
            busy_s, examples = sum(latencies) / 1e3, sum(count for _, count in calls)
            self.now.calls += len(calls)
            self.now.examples += examples
            self.now.busy_s += busy_s
            self.now.latency += histogram.buckets(latencies)
            alarms, described = self._describe(waiting)
            spent_s = time.perf_counter() - began
            self.now.monitor_s += spent_s
            self._adapt(spent_s, sum(len(d.ids) for d in described), busy_s, examples)
            self.alarms = (self.alarms + alarms)[-_MOST_ALARMS:]
            return alarms, described
        finally:
            self.lock.release()

    def _describe(self, waiting: list[tuple[str, Any, Any, Any]]) -> tuple[list[Alarm], list[Described]]:
        """A batch at a time: remember each answer for the labels that may come, describe what is to be watched."""
        alarms, described = [], []
        size = BATCH * min(self.step, _LARGEST_BLOCK)  # of which every step-th is described
        for start in range(0, len(waiting), size):
            ids, inputs, logits, raws = zip(*waiting[start : start + size])
            rows = answers = None
            if all(row is not None and row.shape == logits[-1].shape for row in logits):
                rows = np.stack(logits)
                answers = (output_features(rows), rows.argmax(axis=1))
                score, now = answers[0][:, 0].tolist(), time.time()
                self.predictions.extend(zip(ids, (now,) * len(ids), answers[1].tolist(), score))
            chosen = [i for i, x in enumerate(inputs) if x is not None]
            if self.watcher is None or not chosen:
                continue
            if not self.watcher.takes_texts:  # after a switch to another model its predecessor's inputs may differ
                chosen = [i for i in chosen if inputs[i].shape == inputs[chosen[-1]].shape]
            if len(chosen) < len(ids):
                ids, inputs, raws = (tuple(column[i] for i in chosen) for column in (ids, inputs, raws))
                rows = None if rows is None else rows[chosen]
                answers = None if answers is None else (answers[0][chosen], answers[1][chosen])
            features = self.watcher.take(inputs, answers, self.now)
            described.append(Described(ids, inputs, features, rows, raws))
            if alarm := self._drift_alarm():
                alarms.append(alarm)
        return alarms, described

    def _drift_alarm(self) -> Alarm | None:
        """Raised where the detector reaches its threshold; ended at half of it."""
        assert self.watcher is not None
        detector = self.watcher.detector
        level = detector.level
        wanted = level >= (0.5 if self.drifting else 1.0)
        if wanted == self.drifting:
            return None
        self.drifting = wanted
        cause = detector.cause if wanted else "inputs and answers are as in the reference again"
        return Alarm(time.time(), "drift", wanted, level, 1.0 if wanted else 0.5, cause)

    def _adapt(self, spent_s: float, described: int, busy_s: float, examples: int) -> None:
        """Describe so few examples that it costs no more than its share of the calls' own time."""
        if not described or not examples:
            return
        blend = 0.2 if self._cost_s else 1.0
        self._cost_s += blend * (spent_s / described - self._cost_s)
        self._call_s += blend * (busy_s / examples - self._call_s)
        if self._call_s > 0:
            wanted = math.ceil(self._cost_s / (self._share * self._call_s))
            self.step = max(self._every, min(wanted, _LARGEST_STEP))


def _taken(queue: deque[T], most: int) -> list[T]:
    """The oldest of a queue, taken out; fewer where another thread takes some, too."""
    out: list[T] = []
    with contextlib.suppress(IndexError):
        for _ in range(most):
            out.append(queue.popleft())
    return out
