"""Watch a model at work: next to nothing in the calling thread, a file that survives anything, alarms that mean it."""

from __future__ import annotations

import atexit
import dataclasses
import functools
import os
import sqlite3
import threading
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_runtime.errors import InputError
from edge_runtime.monitor.process import Process
from edge_runtime.monitor.quality import classes_right, numbers_right
from edge_runtime.monitor.reference import Reference, open_reference
from edge_runtime.monitor.rules import Alarm, Limit, Rule
from edge_runtime.monitor.settings import check_settings, kind_of_refusal
from edge_runtime.monitor.snapshot import prometheus, snapshot
from edge_runtime.monitor.store import CLOCK_JUMP_S, MonitorError, Store
from edge_runtime.queue import Queue
from edge_runtime.statistics import Statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from edge_runtime.model import Model
    from edge_runtime.monitor.counters import Counters

_RECENT_LABELS = 2000


class Monitor:
    """Counts calls, describes inputs and answers, compares them with the reference, keeps it all in one SQLite file.

        monitor = edge_runtime.Monitor("bundle", "monitor.sqlite", on_alarm=print)
        model = edge_runtime.load("bundle", monitor=monitor)

    Threads may share it; a forked child goes on with counts of its own in the same file. `close` (or leaving a `with`)
    writes what has gathered; a kill loses at most `interval_s`.
    """

    def __init__(
        self,
        reference: str | os.PathLike[str] | Statistics | Model,
        path: str | os.PathLike[str] | None = None,
        *,
        every: int = 1,
        share: float = 0.02,
        interval_s: float = 10.0,
        window: int = 1000,
        false_alarm_every: float = 1e6,
        limits: Sequence[Limit] = (),
        on_alarm: Callable[[Alarm], object] | None = None,
        background: bool = True,
        keep: str = "off",
        keep_items: int = 200,
        keep_bytes: int = 20_000_000,
    ) -> None:
        """reference: a bundle's folder, a loaded model, or Statistics. path: of the file; None keeps all in memory.

        every: describe every n-th example; more than 1 where neighbours resemble each other, as frames of a video do.
        share: of the calls' own time that describing may cost; for a model too quick for that, fewer are described.
        interval_s: between two writes. window: examples that PSI and KS look back on.
        false_alarm_every: least expected number of unchanged examples between two false drift alarms.
        limits: further alarms, on figures. on_alarm: called with an Alarm, in the thread that noticed; let it be quick.
        background: write from a thread of its own; False writes in the calling thread, for hosts that want no threads.
        keep: of uncertain and novel inputs, for labelling: "off" nothing, "features" the numbers that describe them,
            "raw" the inputs themselves as the model saw them. keep_items, keep_bytes: at most.

        Raises:
            InputError: a setting makes no sense.
            BundleError: the reference cannot be read.
            MonitorError: the file is something else, damaged, or cannot be opened.
        """
        check_settings(every, share, interval_s, window, false_alarm_every)
        self.reference: Reference = open_reference(reference)
        self._given = isinstance(reference, Statistics)
        self.on_alarm = on_alarm
        self.queue = Queue(keep, keep_items, keep_bytes)
        self.problem = ""  # why nothing can be written at present, or what a hook raised; "" while all is well
        self._settings: dict[str, Any] = {
            "every": every, "share": share, "false_alarm_every": false_alarm_every, "window": window,
        }  # fmt: skip
        self._interval_s, self._background = interval_s, background
        self._rules = [Rule(limit) for limit in limits]
        self._path = None if path is None else Path(path).absolute()
        self._abandoned: list[Store | None] = []
        self._store: Store | None = None
        self._begin()
        self._reopen()
        self._at_exit = functools.partial(_close, weakref.ref(self))
        atexit.register(self._at_exit)

    def _begin(self) -> None:
        """The state of one process."""
        self._process = Process(self.reference.statistics, **self._settings)
        self._io = threading.RLock()
        self._labels: dict[str, tuple[float, float, float, float]] = {}
        self._started_s, self._clock_s = time.time(), time.monotonic()
        self._unwritten_from: tuple[float, float] | None = None  # wall clock, duration of what earlier writes left
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False

    def __repr__(self) -> str:
        where = str(self._path) if self._path else "in memory"
        return f"Monitor({self.reference.name!r}, {where}{', closed' if self._closed else ''})"

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def watch(self, model: Model) -> Model:
        """Have a loaded model tell this monitor of each call from now on; returns the model.

        Its bundle becomes the reference, as after a store's switch to another version, unless the monitor was given
        Statistics. What was counted by the one before is written; drift begins anew.

        Raises:
            BundleError: the reference in the model's bundle is damaged.
        """
        found = open_reference(model)
        if self._given:
            found = dataclasses.replace(found, statistics=self.reference.statistics)
        if found.statistics != self.reference.statistics:
            self.flush()
            self._own().refer_to(found.statistics)
        if found != self.reference:
            self.reference = found
            if self._store is not None:
                self._store.describe_again()
        model.monitor = self
        return model

    def seen(self, inputs: Any, logits: NDArray[Any] | None, latency_ms: float, *, raw: Any = None) -> list[str]:
        """Take one call in: what a Model does after each. Returns an id for each example.

        inputs: preprocessed, (n, ...), not written to afterwards; something else than an array is not described.
        logits: (n, classes) or None. raw: what the app gave, for the queue to keep texts of.
        """
        process = self._own()
        ids = process.take(inputs, logits, latency_ms, raw)
        if process.full:
            self._fold(wait=False)
        if self._thread is None:
            self._keep_writing()
        return ids

    def refused(self, error: BaseException) -> None:
        """Count a call that raised instead of answering: what a Model does."""
        process = self._own()
        with process.lock:
            process.now.note(process.now.refused, kind_of_refusal(error))
        if self._thread is None:
            self._keep_writing()

    def number(self, value: float, latency_ms: float = 0.0) -> str:
        """Take a numeric answer in, such as a regression's; returns the id to label it by."""
        id = self._own().number(float(value), latency_ms)
        if self._thread is None:
            self._keep_writing()
        return id

    def label(self, id: str, label: str | float) -> None:
        """Say what a prediction should have been: a class's name or index, or a number for what `number` took in.

        Raises:
            InputError: the id is unknown or too old (the newest 20,000 are kept), or no such class exists.
        """
        self._own()
        self._fold(wait=True)
        found = self._try(lambda store: store.prediction(id))
        if found is None:  # of the last few seconds, perhaps
            known = [p for p in list(self._process.predictions) if p[0] == id]
            found = known[-1][2:] if known else None
        if found is None:
            fix = "give the id that predict returned; the newest 20,000 predictions are kept"
            raise InputError(f"no prediction {ascii(id)[:60]}", "label", fix)
        value = self._class_index(label) if isinstance(label, str) else float(label)
        with self._io:
            self._labels[id] = (time.time(), found[0], value, found[1])
        if len(self._labels) >= _RECENT_LABELS:
            self.flush()

    def figures(self) -> dict[str, float]:
        """Every figure that a limit can stand on, over the last one to two intervals."""
        found: dict[str, float] = self.snapshot()["figures"]
        return found

    def snapshot(self) -> dict[str, Any]:
        """Totals since the start, recent figures, drift by feature, quality and standing alarms, as plain data."""
        quality = self.quality()
        self._fold(wait=True)
        process = self._process
        with process.lock:
            recent, total = process.fresh(), process.fresh()
            for part in (process.before, process.now):
                recent.add(part)
            for part in (process.total, process.now):
                total.add(part)
            duration_s = time.monotonic() - self._clock_s + (self._interval_s if process.before else 0.0)
            watcher = process.watcher
            drift = [] if watcher is None else watcher.recent()
            level = 0.0 if watcher is None else watcher.detector.level
            standing = ["drift"] * process.drifting + [r.limit.figure for r in self._rules if r.raised]
        return snapshot(self.reference, total, recent, duration_s, quality, drift=drift, level=level,
                        standing=standing, problem=self.problem)  # fmt: skip

    def prometheus(self) -> str:
        """The snapshot as Prometheus scrapes it."""
        return prometheus(self.snapshot())

    def drift(self) -> list[dict[str, float | str]]:
        """PSI and KS of each feature over the last `window` described examples, with what chance alone would give."""
        self._fold(wait=True)
        with self._process.lock:
            return [] if self._process.watcher is None else self._process.watcher.recent()

    def quality(self) -> dict[str, Any]:
        """Accuracy, precision, recall and F1 (or RMSE, MAE and bias) over the newest 2,000 labels."""
        with self._io:
            waiting = [(p, y) for _, p, y, _ in self._labels.values()]
        stored = self._try(lambda store: store.labels(_RECENT_LABELS)) or []
        pairs = ([(p, y) for _, p, y in stored] + waiting)[-_RECENT_LABELS:]
        return classes_right(pairs) if self.reference.classifies else numbers_right(pairs)

    def flush(self) -> bool:
        """Look at the limits and write what has gathered. True if it is on the disk; if not, `problem` says why."""
        self._fold(wait=True)
        with self._io:
            now_s = time.time()
            found = self.figures() if self._rules else {}
            raised = [a for rule in self._rules if (a := rule.look(found.get(rule.limit.figure, float("nan")), now_s))]
            done = self._write(raised)
        self._tell(raised)
        return done

    def close(self) -> None:
        """Write what has gathered and give the file back. Later calls are still counted, but no longer written."""
        if self._closed or self._process.pid != os.getpid():
            return
        self.flush()
        self._closed = True
        self._wake.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=10)
        with self._io:
            if self._store is not None:
                self._store.close()
        atexit.unregister(self._at_exit)

    def _gathered(
        self, raised: list[Alarm]
    ) -> tuple[tuple[float, float, Counters] | None, list[tuple[str, float, float, float]], list[Alarm]]:
        """What is to be written, as Store.write takes it; a new stretch begins."""
        process = self._process
        with process.lock:
            wall_s, clock_s = time.time(), time.monotonic()
            duration_s = clock_s - self._clock_s
            jumped_s = wall_s - self._started_s - duration_s
            process.alarms += raised
            if abs(jumped_s) > CLOCK_JUMP_S:
                cause = f"the clock was set {'forward' if jumped_s > 0 else 'back'} by {abs(jumped_s):.0f} s"
                process.alarms.append(Alarm(wall_s, "clock", True, jumped_s, CLOCK_JUMP_S, cause))
            start_s, earlier_s = self._unwritten_from or (self._started_s, 0.0)
            self._unwritten_from = (start_s, earlier_s + duration_s)
            process.unwritten.add(process.now)
            process.total.add(process.now)
            process.before, process.now = process.now, process.fresh()
            self._started_s, self._clock_s = wall_s, clock_s
            interval = (*self._unwritten_from, process.unwritten) if process.unwritten else None
            return interval, list(process.predictions), list(process.alarms)

    def _write(self, raised: list[Alarm]) -> bool:
        process, labels = self._process, dict(self._labels)
        interval, predictions, alarms = self._gathered(raised)
        if interval is None and not (predictions or alarms or labels):
            self._unwritten_from = None
            return bool(self._try(self.queue.store))
        meta = {"name": self.reference.name, "labels": list(self.reference.labels), "interval_s": self._interval_s}
        statistics = self.reference.statistics

        def write(store: Store) -> bool:
            store.describe(meta, statistics)
            store.write(process.source, interval, predictions, labels, alarms)  # the last that can fail
            return True

        if not self._try(write):
            return False
        with process.lock:
            process.unwritten, self._unwritten_from = process.fresh(), None
            for _ in range(min(len(predictions), len(process.predictions))):
                process.predictions.popleft()
            for id in labels:
                self._labels.pop(id, None)
            del process.alarms[: len(alarms)]
        return bool(self._try(self.queue.store))

    def _fold(self, *, wait: bool) -> None:
        alarms: Sequence[Alarm] = ()
        try:
            alarms, described = self._process.fold(wait=wait)
            for batch in described:
                self.queue.consider(batch, self.reference)
        except Exception as error:  # the app asked for a prediction, which it has; what could not be watched is told
            self.problem = f"some examples could not be described: {type(error).__name__}: {error}"[:300]
        self._tell(alarms)

    def _tell(self, alarms: Sequence[Alarm]) -> None:
        """Call the hook. What it raises must not reach the app's predict."""
        for alarm in alarms:
            if self.on_alarm is not None:
                try:
                    self.on_alarm(alarm)
                except Exception as error:
                    self.problem = f"the alarm hook raised {type(error).__name__}: {error}"[:300]

    def _try(self, action: Callable[[Store], Any]) -> Any:
        """What an action on the file gives; None, with the reason in `problem`, where the disk does not let it."""
        with self._io:
            if self._closed:
                return None
            try:
                if self._store is None:
                    self._reopen()
                if self._store is None:
                    return None
                out = action(self._store)
            except MonitorError as error:
                self.problem = f"{error.where}: {error.what}"
                return None
            except (sqlite3.Error, OSError) as error:
                self.problem = f"{self._path or 'memory'}: {error}; what gathers is kept in memory and tried again"
                return None
            self.problem = ""
            return out

    def _class_index(self, label: str) -> float:
        if label not in self.reference.labels:
            shown = ", ".join(self.reference.labels[:10]) or "the bundle names none: give an index"
            raise InputError(f"no class {ascii(label)[:60]}", "label", f"use one of {shown}")
        return float(self.reference.labels.index(label))

    def _keep_writing(self) -> None:
        """Start the thread that writes, or write now where there is to be none."""
        if self._closed or self._path is None:
            return
        if not self._background:
            if time.monotonic() - self._clock_s >= self._interval_s:
                self.flush()
            return
        with self._io:
            if self._thread is None:
                arguments = (weakref.ref(self), self._wake, self._interval_s)
                self._thread = threading.Thread(target=_write_on, args=arguments, name="edge-monitor", daemon=True)
                self._thread.start()

    def _own(self) -> Process:
        """The state of this process. A forked child begins its own: it has none of the parent's threads, and must not
        touch its connection, not even to close it."""
        if self._process.pid != os.getpid():
            self._abandoned.append(self._store)
            self._store = None
            self._begin()
        return self._process

    def _reopen(self) -> None:
        """Open the file; where the disk is full or others hold it, later: that is no reason to stop predicting."""
        try:
            self._store = Store(self._path)
        except MonitorError as error:
            cause = error.__cause__
            if not isinstance(cause, sqlite3.OperationalError) or not any(word in str(cause) for word in _PASSING):
                raise
            self.problem = f"{error.where}: {error.what}; what gathers is kept in memory and tried again"


# What SQLite says where waiting may help.
_PASSING = ("full", "locked", "disk I/O", "busy")


def _write_on(monitor: weakref.ref[Monitor], wake: threading.Event, interval_s: float) -> None:
    """Flush every so often, for as long as somebody holds the monitor."""
    while not wake.wait(interval_s):
        alive = monitor()
        if alive is None:
            return
        alive.flush()
        del alive


def _close(monitor: weakref.ref[Monitor]) -> None:
    alive = monitor()
    if alive is not None:
        alive.close()
