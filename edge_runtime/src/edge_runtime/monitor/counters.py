"""What happened in a stretch of time, as numbers that can be added: one row of the monitor's file."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime.monitor import histogram
from edge_runtime.statistics import CONFIDENCE_BINS

if TYPE_CHECKING:
    from edge_runtime.statistics import Statistics

_MOST_KINDS = 32  # of refusals and quality problems: names come from errors, which must not fill the file


class Counters:
    """Additive counts. Two stretches of one stream may be added to one that says the same with less resolution.

    calls: of predict or predict_batch; examples: in them; watched: those whose inputs and answers were described.
    busy_s: spent in those calls; monitor_s: spent by the monitor in the caller's thread.
    latency: calls per bucket of histogram.py. refused: kind of error -> calls. quality: kind of problem -> examples.
    bins: watched examples per reference bin, (features, widest). sums, squares: of the features. seen: per feature.
    classes: predicted class -> watched examples. confidence: watched examples per twentieth.
    drift: highest level of the detector; dropped: examples that came faster than they could be described.
    reference: the digest of what bins, sums and classes were counted by; "" in older files.
    """

    def __init__(self, features: int, width: int, reference: str = "") -> None:
        self.reference = reference
        self.calls = self.examples = self.watched = self.dropped = 0
        self.busy_s = self.monitor_s = self.drift = 0.0
        self.latency = np.zeros(histogram.BUCKETS, np.int64)
        self.refused: dict[str, int] = {}
        self.quality: dict[str, int] = {}
        self.bins = np.zeros((features, width), np.int64)
        self.sums = np.zeros(features)
        self.squares = np.zeros(features)
        self.classes: dict[int, int] = {}
        self.confidence = np.zeros(CONFIDENCE_BINS, np.int64)

    @staticmethod
    def like(statistics: Statistics) -> Counters:
        """Empty counters with a column for each feature of a reference."""
        features = statistics.features
        digest = hashlib.sha256(statistics.to_bytes()).hexdigest()[:12]
        return Counters(len(features), max((len(f.counts) for f in features), default=1), digest)

    def __bool__(self) -> bool:
        return bool(self.calls or self.refused or self.dropped)

    def add(self, other: Counters) -> None:
        """Take another stretch in; of one under another model's reference only what does not depend on it."""
        for name in ("calls", "examples", "watched", "dropped", "busy_s", "monitor_s"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.drift = max(self.drift, other.drift)
        same = self.reference == other.reference or not (self.reference and other.reference)
        self.latency += other.latency
        for name in ("bins", "sums", "squares", "confidence"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if same and mine.shape == theirs.shape:
                mine += theirs
        for kind in ("refused", "quality", *(["classes"] if same else [])):
            table = getattr(self, kind)
            for key, count in getattr(other, kind).items():
                table[key] = table.get(key, 0) + count

    def note(self, table: dict[str, int], kind: str, count: int = 1) -> None:
        """Count a refusal or a quality problem; beyond 32 kinds the rest goes to "other"."""
        key = kind if kind in table or len(table) < _MOST_KINDS else "other"
        table[key] = table.get(key, 0) + count

    def to_json(self) -> dict[str, Any]:
        """Plain data; zeros at the end of rows are left out."""
        return {
            "reference": self.reference,
            **{name: getattr(self, name) for name in ("calls", "examples", "watched", "dropped")},
            **{name: round(float(getattr(self, name)), 6) for name in ("busy_s", "monitor_s", "drift")},
            "latency": _sparse(self.latency),
            "refused": self.refused,
            "quality": self.quality,
            "bins": self.bins.tolist(),
            "sums": [float(f"{v:.9g}") for v in self.sums],
            "squares": [float(f"{v:.9g}") for v in self.squares],
            "classes": {str(k): v for k, v in sorted(self.classes.items())},
            "confidence": self.confidence.tolist(),
        }

    @staticmethod
    def from_json(doc: dict[str, Any]) -> Counters:
        """Rebuild from to_json's data.

        Raises:
            ValueError, KeyError, TypeError: it is something else.
        """
        bins = np.array(doc["bins"], np.int64)
        width = bins.shape[1] if bins.ndim == 2 else 1
        out = Counters(len(doc["sums"]), width, str(doc.get("reference", "")))
        for name in ("calls", "examples", "watched", "dropped"):
            setattr(out, name, int(doc[name]))
        for name in ("busy_s", "monitor_s", "drift"):
            setattr(out, name, float(doc[name]))
        for i, count in doc["latency"].items():
            out.latency[int(i)] = int(count)
        out.refused = {str(k): int(v) for k, v in doc["refused"].items()}
        out.quality = {str(k): int(v) for k, v in doc["quality"].items()}
        out.classes = {int(k): int(v) for k, v in doc["classes"].items()}
        if bins.ndim == 2:
            out.bins = bins
        out.sums, out.squares = np.array(doc["sums"], float), np.array(doc["squares"], float)
        out.confidence = np.array(doc["confidence"], np.int64)
        return out


def _sparse(counts: Any) -> dict[str, int]:
    return {str(i): int(counts[i]) for i in np.flatnonzero(counts)}
