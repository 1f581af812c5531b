"""What shadow and canary runs found: counts and disagreements in a SQLite file of the store.

SQLite because several processes add to the same counts, and because a power cut must not tear them.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge_runtime.store.state import utc_now

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

FILE_NAME = "comparison.sqlite"
MOST_DISAGREEMENTS = 10_000  # rows kept; the oldest go first
_MOST_PENDING = 256
_SCHEMA = """
CREATE TABLE IF NOT EXISTS counts (
    current TEXT, beside TEXT, mode TEXT, examples INTEGER, disagreements INTEGER, errors INTEGER, skipped INTEGER,
    current_ms REAL, beside_ms REAL, PRIMARY KEY (current, beside, mode));
CREATE TABLE IF NOT EXISTS disagreements (
    id INTEGER PRIMARY KEY, at TEXT, current TEXT, beside TEXT, current_label TEXT, beside_label TEXT,
    current_score REAL, beside_score REAL);
"""
_COLUMNS = ("examples", "disagreements", "errors", "skipped", "current_ms", "beside_ms")


@dataclass
class Counts:
    """Of one pair of versions. examples: answered by `beside`; in a shadow run by both, and compared.

    skipped: examples that a shadow run left out because it could not keep up. *_ms: sums over the examples.
    """

    examples: int = 0
    disagreements: int = 0
    errors: int = 0
    skipped: int = 0
    current_ms: float = 0.0
    beside_ms: float = 0.0


class Comparison:
    """Counts of one handle, added to the store's file now and then. Thread-safe."""

    def __init__(self, folder: Path, current: str, beside: str, mode: str) -> None:
        self._path, self._key = folder / FILE_NAME, (current, beside, mode)
        self._pending, self._rows = Counts(), list[tuple[Any, ...]]()
        self._lock = threading.Lock()
        self.problem = ""

    def add(self, **more: float) -> None:
        """Add to counts by name; write them out now and then."""
        with self._lock:
            for name, value in more.items():
                setattr(self._pending, name, getattr(self._pending, name) + value)
            full = self._pending.examples + self._pending.errors >= _MOST_PENDING
        if full:
            self.flush()

    def disagreement(self, current: tuple[str, float], beside: tuple[str, float]) -> None:
        """Remember a disagreement; each side as (label, score)."""
        row = (utc_now(), *self._key[:2], current[0], beside[0], current[1], beside[1])
        with self._lock:
            self._pending.disagreements += 1
            self._rows.append(row)

    def flush(self) -> None:
        """Write what has gathered. A full disk is noted in `problem`; the counts wait for the next time."""
        import sqlite3

        with self._lock:
            values = [getattr(self._pending, c) for c in _COLUMNS]
            if not any(values):
                return
            try:
                with _connected(self._path) as db:
                    sums = ", ".join(f"{c} = {c} + excluded.{c}" for c in _COLUMNS)
                    db.execute(
                        f"INSERT INTO counts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET {sums}",  # noqa: S608
                        (*self._key, *values),
                    )
                    db.executemany("INSERT INTO disagreements VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", self._rows)
                    oldest = "DELETE FROM disagreements WHERE id <= (SELECT max(id) - ? FROM disagreements)"
                    db.execute(oldest, (MOST_DISAGREEMENTS,))
            except sqlite3.Error as error:
                self.problem = f"{self._path}: {error}"
                del self._rows[:-_MOST_PENDING]
                return
            self.problem = ""
            self._pending, self._rows = Counts(), []


def read_comparisons(folder: Path) -> list[dict[str, Any]]:
    """All counts of a store, with mean latencies."""
    if not (folder / FILE_NAME).exists():
        return []
    with _connected(folder / FILE_NAME) as db:
        rows = db.execute("SELECT * FROM counts ORDER BY rowid").fetchall()
    out = []
    for row in rows:
        doc = dict(zip(("current", "beside", "mode", *_COLUMNS), row))
        n = max(doc["examples"], 1)
        out.append({**doc, "current_ms": doc["current_ms"] / n, "beside_ms": doc["beside_ms"] / n})
    return out


def read_disagreements(folder: Path) -> list[dict[str, Any]]:
    """The newest disagreements of a store, oldest first."""
    if not (folder / FILE_NAME).exists():
        return []
    names = ("at", "current", "beside", "current_label", "beside_label", "current_score", "beside_score")
    with _connected(folder / FILE_NAME) as db:
        rows = db.execute(f"SELECT {', '.join(names)} FROM disagreements ORDER BY id").fetchall()  # noqa: S608
    return [dict(zip(names, row)) for row in rows]


@contextlib.contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    """One transaction. The file is opened for each, so that a fork shares no connection."""
    import sqlite3

    db = sqlite3.connect(path, timeout=5.0)
    try:
        with db:
            db.executescript(_SCHEMA)
            yield db
    finally:
        db.close()
