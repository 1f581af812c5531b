"""A bounded queue of inputs that are worth labelling, in the monitor's file.

Four fifths of the places go to the most uncertain examples, the rest to the most novel ones; both by `pick`, so that
no scene fills the queue alone. Privacy: "off" keeps nothing, "features" no more than the numbers that drift is looked
for in, "raw" the example as the model saw it.
"""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime.errors import InputError
from edge_runtime.features import output_features
from edge_runtime.queue.payload import encode
from edge_runtime.queue.select import novelty, standardized, worthwhile

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge_runtime.monitor.process import Described
    from edge_runtime.monitor.reference import Reference
    from edge_runtime.monitor.store import Store

PRIVACY = ("off", "features", "raw")
_COLUMNS = "id, time_s, uncertainty, novelty, predicted, confidence, digest, features, kind, payload"
_NOVELTY_UNIT = 8  # standard deviations that count as much as full uncertainty
_REMEMBERED = 10  # times the queue's size: digests of what was exported, so that it is not asked for again


@dataclass(frozen=True)
class Item:
    """One queued example. features: standardized. payload: as payload.encode gave it, or None."""

    id: str
    time_s: float
    uncertainty: float
    novelty: float
    predicted: int
    confidence: float
    digest: str
    features: NDArray[np.float32]
    kind: str
    payload: bytes | None

    def row(self) -> tuple[Any, ...]:
        """As the file keeps it."""
        return (self.id, self.time_s, self.uncertainty, self.novelty, self.predicted, self.confidence, self.digest,
                self.features.astype(np.float32).tobytes(), self.kind, self.payload)  # fmt: skip

    @staticmethod
    def of_row(row: Sequence[Any]) -> Item:
        """The inverse of row."""
        features = np.frombuffer(row[7], np.float32)
        id, time_s, doubt, far, predicted, confidence, digest, _, kind, payload = row
        return Item(id, time_s, doubt, far, predicted, confidence, digest, features, kind, payload)


class Queue:
    """Candidates of this process since the last write; `store` merges them with what the file holds.

    most: items. most_bytes: of all payloads together.

    Raises:
        InputError: privacy is unknown, or a bound makes no sense.
    """

    def __init__(self, privacy: str, most: int = 200, most_bytes: int = 20_000_000) -> None:
        if privacy not in PRIVACY:
            raise InputError(f"keep is {privacy!r}", "monitor", f"use one of {', '.join(PRIVACY)}")
        if type(most) is not int or not 2 <= most <= 10_000 or type(most_bytes) is not int or most_bytes < 1:
            raise InputError(f"a queue of {most!r} items and {most_bytes!r} bytes", "monitor", "give 2 to 10,000 items")
        self.privacy, self.most, self.most_bytes = privacy, most, most_bytes
        self._lock = threading.Lock()
        self._items: list[Item] = []
        self._digests: set[str] = set()
        self._floors = (0.0, 0.0)  # uncertainty and novelty that an example must beat to be considered

    def consider(self, described: Described, reference: Reference) -> None:
        """Take the better ones of a described batch in."""
        if self.privacy == "off" or reference.statistics is None or not len(described.ids):
            return
        z = standardized(described.features, reference.statistics)
        far = novelty(z[:, : len(reference.statistics.inputs)])
        if described.logits is None:
            doubt, confidence = np.zeros(len(z), np.float32), np.ones(len(z), np.float32)
            predicted = np.full(len(z), -1)
        else:
            found = output_features(described.logits)
            doubt, confidence, predicted = 1 - found[:, 1], found[:, 0], described.logits.argmax(axis=1)
        kind = reference.statistics.describe.kind
        for i in np.flatnonzero((doubt > self._floors[0]) | (far > self._floors[1])).tolist():
            digest = hashlib.sha256(np.ascontiguousarray(described.inputs[i]).tobytes()).hexdigest()[:32]
            with self._lock:
                if digest in self._digests:
                    continue
                self._digests.add(digest)
            payload = None
            if self.privacy == "raw":
                payload = encode(kind, described.inputs[i], described.raws[i], reference.preprocessing)
            item = Item(described.ids[i], time.time(), float(doubt[i]), float(far[i]), int(predicted[i]),
                        float(confidence[i]), digest, z[i], kind, payload)  # fmt: skip
            with self._lock:
                self._items.append(item)
        if len(self._items) > 2 * self.most:
            self._shrink()

    def _shrink(self) -> None:
        with self._lock:
            self._items = self._best(self._items)
            self._digests = {item.digest for item in self._items}

    def _best(self, items: list[Item]) -> list[Item]:
        """At most `most` items and `most_bytes`; sets the floors that later ones must beat."""
        if len(items) > self.most:
            z = np.stack([item.features for item in items])
            doubt = np.array([item.uncertainty for item in items], np.float32)
            far = np.array([item.novelty for item in items], np.float32)
            first, second = worthwhile(doubt, far, z, self.most)
            self._floors = (float(doubt[first].min()), float(far[second].min()) if len(second) else float("inf"))
            items = [items[i] for i in sorted([*first.tolist(), *second.tolist()])]
        else:  # there is room, for anything
            self._floors = (0.0, 0.0)
        items = sorted(items, key=worth, reverse=True)
        total, kept = 0, []
        for item in items:
            total += len(item.payload or b"")
            if total > self.most_bytes:
                least = worth(item)
                self._floors = (max(self._floors[0], least), max(self._floors[1], least * _NOVELTY_UNIT))
                break
            kept.append(item)
        return kept

    def store(self, store: Store) -> bool:
        """Merge with the file's queue; what is worse than the best `most` goes.

        Raises:
            sqlite3.Error: it cannot be written; the candidates stay.
        """
        with self._lock:
            fresh = list(self._items)
        if not fresh:
            return True
        with store.transaction() as db:
            seen = {row[0] for row in db.execute("SELECT digest FROM queue")}
            new = [item for item in fresh if item.digest not in seen]
            waiting = read_items(db)
            width = len(fresh[0].features)
            strangers = {item.id for item in waiting if len(item.features) != width}  # of another model's reference
            best = {item.id for item in self._best([w for w in waiting if w.id not in strangers] + new)}
            gone = [(item.id,) for item in waiting if item.id not in best]
            db.executemany("DELETE FROM queue WHERE id = ?", gone)
            rows = [item.row() for item in new if item.id in best]
            db.executemany(f"INSERT OR IGNORE INTO queue ({_COLUMNS}) VALUES ({', '.join('?' * 10)})", rows)  # noqa: S608
            limit = (_REMEMBERED * self.most,)
            db.execute("DELETE FROM queue WHERE exported = 1 AND rowid NOT IN "
                       "(SELECT rowid FROM queue WHERE exported = 1 ORDER BY rowid DESC LIMIT ?)", limit)  # fmt: skip
        with self._lock:
            done = {item.id for item in fresh}
            self._items = [item for item in self._items if item.id not in done]
            self._digests = {item.digest for item in self._items}  # of the rest the file knows
        return True


def worth(item: Item) -> float:
    """By what items are ranked where their number or their bytes must be cut."""
    return max(item.uncertainty, item.novelty / _NOVELTY_UNIT)


def read_items(db: sqlite3.Connection) -> list[Item]:
    """Everything that waits to be exported, oldest first."""
    rows = db.execute(f"SELECT {_COLUMNS} FROM queue WHERE exported = 0 ORDER BY rowid").fetchall()  # noqa: S608
    return [Item.of_row(row) for row in rows]


def forget(db: sqlite3.Connection, ids: Sequence[str]) -> None:
    """Mark items as exported: their content goes, their digest stays, so that they are not asked for again."""
    db.executemany("UPDATE queue SET exported = 1, payload = NULL, features = x'' WHERE id = ?", [(i,) for i in ids])
