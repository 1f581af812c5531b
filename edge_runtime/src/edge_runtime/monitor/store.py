"""The monitor's file: SQLite in write-ahead mode, so that a kill or a power cut leaves what was last committed.

Bounded: intervals beyond a number are merged in pairs, oldest first; predictions and labels are kept up to a number.
Any number of processes may write to one file. A failure to write is not the app's: it is told, and tried again.
"""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any

from edge_runtime.errors import EdgeError
from edge_runtime.monitor.counters import Counters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edge_runtime.monitor.rules import Alarm
    from edge_runtime.statistics import Statistics

FORMAT, FORMAT_VERSION = "edge-monitor", 1
APPLICATION_ID = 0x65646D6F  # "edmo"; `file` and a reader know the file by it
CLOCK_JUMP_S = 5.0  # by which the wall clock may differ from a steady one unmentioned
MOST_INTERVALS, MOST_PREDICTIONS, MOST_LABELS, MOST_ALARMS = 4096, 20_000, 20_000, 2_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS intervals (
    id INTEGER PRIMARY KEY, source TEXT NOT NULL, start_s REAL NOT NULL, duration_s REAL NOT NULL, data TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS predictions (
    id TEXT PRIMARY KEY, time_s REAL NOT NULL, value REAL NOT NULL, score REAL NOT NULL);
CREATE TABLE IF NOT EXISTS labels (
    id TEXT PRIMARY KEY, time_s REAL NOT NULL, predicted REAL NOT NULL, label REAL NOT NULL, score REAL NOT NULL);
CREATE TABLE IF NOT EXISTS alarms (
    id INTEGER PRIMARY KEY, source TEXT NOT NULL, time_s REAL NOT NULL, figure TEXT NOT NULL, raised INTEGER NOT NULL,
    value REAL NOT NULL, threshold REAL NOT NULL, cause TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS queue (
    id TEXT PRIMARY KEY, time_s REAL NOT NULL, uncertainty REAL NOT NULL, novelty REAL NOT NULL,
    predicted INTEGER NOT NULL, confidence REAL NOT NULL, digest TEXT NOT NULL UNIQUE, features BLOB NOT NULL,
    kind TEXT NOT NULL, payload BLOB, exported INTEGER NOT NULL DEFAULT 0);
"""


class MonitorError(EdgeError):
    """The monitor's file is not one, or cannot be opened."""


class Store:
    """One connection to a monitor file. Not for sharing between threads; the monitor holds a lock around it."""

    def __init__(self, path: Path | None, *, wait_s: float = 5.0) -> None:
        """Open or make the file; None is a store in memory.

        Raises:
            MonitorError: it is another kind of file, damaged, of a newer format, or cannot be written.
        """
        self._db: sqlite3.Connection | None = None
        self._described = False
        where = str(path) if path is not None else ":memory:"
        try:
            # One connection for whichever thread flushes; isolation_level None: transactions are spelled out.
            db = sqlite3.connect(where, timeout=wait_s, isolation_level=None, check_same_thread=False)
            self._db = db
            if db.execute("PRAGMA application_id").fetchone()[0] not in (0, APPLICATION_ID) or (
                not _is_ours(db) and db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            ):
                raise MonitorError("an SQLite file of something else", where, "give the monitor a file of its own")
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA secure_delete=ON")  # an example that was exported leaves no copy in a free page
            db.execute("PRAGMA synchronous=FULL")  # a commit is on the disk: one every few seconds costs little
            with _Transaction(db):
                for statement in _SCHEMA.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA application_id={APPLICATION_ID}")
                db.execute("INSERT OR IGNORE INTO meta VALUES ('format_version', ?)", (str(FORMAT_VERSION),))
            _want_version(db, where)
        except sqlite3.Error as error:
            self.close()
            fix = "give a path that can be written; if a damaged file stands there, move it away"
            raise MonitorError(f"the monitor's file cannot be used: {error}", where, fix) from error
        except MonitorError:
            self.close()
            raise

    def close(self) -> None:
        """Give the file back. What was committed is on the disk."""
        db, self._db = self._db, None
        if db is not None:
            db.close()

    def write(
        self,
        source: str,
        interval: tuple[float, float, Counters] | None,
        predictions: Sequence[tuple[str, float, float, float]],
        labels: Mapping[str, tuple[float, float, float, float]],
        alarms: Sequence[Alarm],
    ) -> None:
        """Commit what has gathered, all or nothing. interval: start (wall clock), duration, counts.

        predictions: id, time, class or number, score. labels: id -> time, predicted, label, score.

        Raises:
            sqlite3.Error: it could not be written: the disk is full, the file is damaged or busy.
        """
        with self.transaction() as db:
            if interval is not None:
                start_s, duration_s, counters = interval
                row = (source, start_s, duration_s, json.dumps(counters.to_json(), separators=(",", ":")))
                db.execute("INSERT INTO intervals (source, start_s, duration_s, data) VALUES (?, ?, ?, ?)", row)
            many = db.executemany
            many("INSERT OR REPLACE INTO predictions VALUES (?, ?, ?, ?)", predictions)
            many("INSERT OR REPLACE INTO labels VALUES (?, ?, ?, ?, ?)", ((k, *v) for k, v in labels.items()))
            many(
                "INSERT INTO alarms (source, time_s, figure, raised, value, threshold, cause) VALUES (?,?,?,?,?,?,?)",
                [(source, a.time_s, a.figure, int(a.raised), a.value, a.limit, a.cause) for a in alarms],
            )
            _shorten(db)

    def describe(self, facts: Mapping[str, Any], statistics: Statistics | None) -> None:
        """Say once whose monitor this is, so that the file can be read without the bundle."""
        if self._described:
            return
        reference = "" if statistics is None else statistics.to_bytes().decode()
        with self.transaction() as db:
            for key, value in {"facts": json.dumps(facts), "statistics": reference}.items():
                db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
        self._described = True

    def describe_again(self) -> None:
        """The next `describe` counts: the reference has changed."""
        self._described = False

    def empty_log(self) -> None:
        """Move the write-ahead log into the file, so that nothing deleted stays readable there."""
        self._open().execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def facts(self) -> dict[str, Any]:
        """What describe wrote: name, labels, interval_s; {} if nobody has yet."""
        row = self._open().execute("SELECT value FROM meta WHERE key = 'facts'").fetchone()
        found = json.loads(row[0]) if row else {}
        return found if isinstance(found, dict) else {}

    def prediction(self, id: str) -> tuple[float, float] | None:
        """Value and score of a prediction that is still kept."""
        row = self._open().execute("SELECT value, score FROM predictions WHERE id = ?", (id,)).fetchone()
        return None if row is None else (float(row[0]), float(row[1]))

    def labels(self, newest: int) -> list[tuple[float, float, float]]:
        """(time_s, predicted, label) of the newest labels, oldest first."""
        rows = self._open().execute(
            "SELECT time_s, predicted, label FROM labels ORDER BY rowid DESC LIMIT ?", (newest,)
        )
        return rows.fetchall()[::-1]

    def transaction(self) -> _Transaction:
        """A write that is whole or not at all."""
        return _Transaction(self._open())

    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            raise sqlite3.ProgrammingError("the monitor is closed")
        return self._db


class _Transaction:
    """BEGIN IMMEDIATE, then COMMIT or ROLLBACK. Two writers wait for each other here, not in the middle."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> sqlite3.Connection:
        self._db.execute("BEGIN IMMEDIATE")
        return self._db

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            try:
                self._db.execute("COMMIT")
                return
            except sqlite3.Error:
                self._undo()
                raise
        self._undo()

    def _undo(self) -> None:
        if self._db.in_transaction:  # SQLite itself rolls back on a full disk
            self._db.execute("ROLLBACK")


def _is_ours(db: sqlite3.Connection) -> bool:
    return bool(db.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID)


def _want_version(db: sqlite3.Connection, where: str) -> None:
    row = db.execute("SELECT value FROM meta WHERE key = 'format_version'").fetchone()
    if row is None or row[0] != str(FORMAT_VERSION):
        what = f"a monitor file of version {row[0] if row else '?'}; this edge_runtime reads {FORMAT_VERSION}"
        raise MonitorError(what, where, "pip install --upgrade edge-runtime, or give another file")


def _shorten(db: sqlite3.Connection) -> None:
    """Keep every table within its bound."""
    for table, most in (("predictions", MOST_PREDICTIONS), ("labels", MOST_LABELS), ("alarms", MOST_ALARMS)):
        newest = db.execute(f"SELECT max(rowid), count(*) FROM {table}").fetchone()  # noqa: S608
        if newest[1] > most * 1.1:
            keep = f"SELECT rowid FROM {table} ORDER BY rowid DESC LIMIT {most}"  # noqa: S608
            db.execute(f"DELETE FROM {table} WHERE rowid NOT IN ({keep})")  # noqa: S608
    if db.execute("SELECT count(*) FROM intervals").fetchone()[0] > MOST_INTERVALS:
        _merge(db)


def _merge(db: sqlite3.Connection) -> None:
    """Halve the older half: neighbours of one source become one row."""
    rows = db.execute(
        "SELECT id, source, start_s, duration_s, data FROM intervals ORDER BY id LIMIT ?", (MOST_INTERVALS // 2,)
    ).fetchall()
    last: dict[str, tuple[int, float, float, Counters]] = {}
    for number, source, start_s, duration_s, data in rows:
        try:
            counters = Counters.from_json(json.loads(data))
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):  # a row that nobody can read
            db.execute("DELETE FROM intervals WHERE id = ?", (number,))
            continue
        if source not in last:
            last[source] = (number, start_s, duration_s, counters)
            continue
        first, _, duration_first, total = last.pop(source)
        total.add(counters)
        body = json.dumps(total.to_json(), separators=(",", ":"))
        db.execute("UPDATE intervals SET duration_s = ?, data = ? WHERE id = ?",
                   (duration_first + duration_s, body, first))  # fmt: skip
        db.execute("DELETE FROM intervals WHERE id = ?", (number,))
