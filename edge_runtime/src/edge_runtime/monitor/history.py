"""Read a monitor's file without touching it: for `edge-runtime watch`, for reports, while the app goes on writing."""

from __future__ import annotations

import json
import sqlite3
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_runtime.errors import BundleError
from edge_runtime.monitor.counters import Counters
from edge_runtime.monitor.quality import classes_right, numbers_right
from edge_runtime.monitor.reference import Reference
from edge_runtime.monitor.rules import Alarm
from edge_runtime.monitor.snapshot import snapshot
from edge_runtime.monitor.store import APPLICATION_ID, CLOCK_JUMP_S, FORMAT_VERSION, MonitorError
from edge_runtime.statistics import Statistics

if TYPE_CHECKING:
    from collections.abc import Sequence

_RECENT_LABELS = 2000


@dataclass(frozen=True)
class Interval:
    """What one process counted in one stretch of time. start_s: wall clock; duration_s: of a steady one."""

    source: str
    start_s: float
    duration_s: float
    counters: Counters

    @property
    def end_s(self) -> float:
        """By the wall clock, like start_s."""
        return self.start_s + self.duration_s


@dataclass(frozen=True)
class History:
    """Everything a monitor's file holds, in the order of writing. labels: (time_s, predicted, label) each."""

    reference: Reference
    intervals: tuple[Interval, ...]
    alarms: tuple[Alarm, ...]
    sources: tuple[str, ...]  # who raised each alarm
    labels: tuple[tuple[float, float, float], ...]
    waiting: int  # in the queue

    def quality(self, newest: int = _RECENT_LABELS) -> dict[str, Any]:
        """As Monitor.quality."""
        pairs = [(p, y) for _, p, y in self.labels[-newest:]]
        return classes_right(pairs) if self.reference.classifies else numbers_right(pairs)

    def total(self, intervals: Sequence[Interval] | None = None) -> Counters:
        """The sum of intervals; None is all."""
        statistics = self.reference.statistics
        out = Counters(0, 1) if statistics is None else Counters.like(statistics)
        for interval in self.intervals if intervals is None else intervals:
            out.add(interval.counters)
        return out

    def snapshot(self, last_s: float = 3600.0) -> dict[str, Any]:
        """As Monitor.snapshot, with figures of the last `last_s` seconds that were counted."""
        # Up to the end of what was written last: before the clock was set back, others may have ended "later".
        end = self.intervals[-1].end_s if self.intervals else 0.0
        recent = [i for i in self.intervals if end - last_s < i.end_s <= end + CLOCK_JUMP_S]
        standing: dict[tuple[str, str], bool] = {}
        for source, alarm in zip(self.sources, self.alarms):
            standing[source, alarm.figure] = alarm.raised and alarm.figure != "clock"
        alive = {i.source for i in recent}  # what a process that is gone has raised, nobody can end
        raised = {figure: None for (source, figure), on in standing.items() if on and source in alive}
        first = min((i.start_s for i in recent), default=0.0)
        level = recent[-1].counters.drift if recent else 0.0
        return snapshot(self.reference, self.total(), self.total(recent), end - first, self.quality(), level=level,
                        standing=tuple(raised))  # fmt: skip


def read_history(path: Path) -> History:
    """The content of a monitor's file, as of one moment.

    Raises:
        MonitorError: it is missing, damaged, of a newer format, or something else.
    """
    where = str(path)
    if not path.is_file():
        raise MonitorError("no such file", where, "give the path that the Monitor was given")
    db = None
    try:
        db = _open(path)
        db.execute("BEGIN")  # one moment for all tables
        if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise MonitorError("not a monitor's file", where, "give the path that the Monitor was given")
        meta = dict(db.execute("SELECT key, value FROM meta").fetchall())
        if meta.get("format_version") != str(FORMAT_VERSION):
            what = f"a monitor file of version {meta.get('format_version')}; this edge_runtime reads {FORMAT_VERSION}"
            raise MonitorError(what, where, "pip install --upgrade edge-runtime")
        facts = json.loads(meta.get("facts", "{}"))
        statistics = Statistics.from_bytes(meta["statistics"].encode()) if meta.get("statistics") else None
        reference = Reference(str(facts.get("name", "")), tuple(map(str, facts.get("labels", ()))), statistics)
        intervals = tuple(
            Interval(source, start_s, duration_s, Counters.from_json(json.loads(data)))
            for source, start_s, duration_s, data in db.execute(
                "SELECT source, start_s, duration_s, data FROM intervals ORDER BY id"
            )
        )
        told = db.execute(
            "SELECT source, time_s, figure, raised, value, threshold, cause FROM alarms ORDER BY id"
        ).fetchall()
        alarms = tuple(Alarm(row[1], row[2], bool(row[3]), *row[4:]) for row in told)
        labels = tuple(db.execute("SELECT time_s, predicted, label FROM labels ORDER BY rowid").fetchall())
        waiting = db.execute("SELECT count(*) FROM queue WHERE exported = 0").fetchone()[0]
        return History(reference, intervals, alarms, tuple(row[0] for row in told), labels, waiting)
    except (sqlite3.Error, ValueError, KeyError, TypeError, AttributeError, IndexError, BundleError) as error:
        fix = "copy it together with its -wal file; what is damaged can be moved away, the monitor starts a new one"
        raise MonitorError(f"the monitor's file cannot be read: {error}", where, fix) from error
    finally:
        if db is not None:
            db.close()


def _open(path: Path) -> sqlite3.Connection:
    """Read only. A file on a read-only disk has no place for SQLite's shared memory: nobody writes there either."""
    uri = f"file:{urllib.parse.quote(str(path.absolute()))}?mode=ro"
    db = sqlite3.connect(uri, uri=True, timeout=5.0, isolation_level=None)
    try:
        db.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.OperationalError:
        db.close()
        db = sqlite3.connect(f"{uri}&immutable=1", uri=True, isolation_level=None)
    return db
