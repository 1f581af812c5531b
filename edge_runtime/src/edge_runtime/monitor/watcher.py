"""From inputs and answers to counters: the numpy part of a monitor, without file, threads or clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime.monitor.counters import Counters
from edge_runtime.monitor.drift import Detector, ks, psi, psi_by_chance
from edge_runtime.statistics import confidence_bin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge_runtime.statistics import Statistics


class Watcher:
    """Describes examples, bins them by the reference and feeds the detector.

    window: how many examples PSI and KS look back on.
    """

    def __init__(self, statistics: Statistics, *, false_alarm_every: float, window: int) -> None:
        self.statistics = statistics
        self.detector = Detector(statistics, false_alarm_every)
        self._edges = [np.array(f.edges) for f in statistics.features]
        self._ring = np.zeros((window, len(self._edges)), np.uint8)
        self._taken = 0
        self._constant = [i for i, f in enumerate(statistics.inputs) if f.name.startswith("spread")]
        low = {f.name: i for i, f in enumerate(statistics.inputs) if f.name.startswith(("lowest", "x", "length"))}
        high = {f.name: i for i, f in enumerate(statistics.inputs) if f.name.startswith(("highest", "x", "length"))}
        self._low, self._high = list(low.values()), list(high.values())
        spans = [(f.low, f.high, f.high - f.low) for f in statistics.inputs]
        # Half the training span beyond it on either side: what no training example came near.
        self._least = np.array([a - 0.5 * s - 1e-6 for a, _, s in spans])[self._low]
        self._most = np.array([b + 0.5 * s + 1e-6 for _, b, s in spans])[self._high]
        self.takes_texts = statistics.describe.kind == "text"

    def take(
        self,
        inputs: Sequence[NDArray[Any]],
        answers: tuple[NDArray[np.float32], NDArray[np.intp]] | None,
        counters: Counters,
    ) -> NDArray[np.float32]:
        """Count examples. Returns their features (n, features).

        inputs: preprocessed, one array each. answers: output features (n, 4) and predicted classes (n,).
        """
        features = given = self._described(inputs)
        n, classes = len(given), None
        if answers is not None and self.statistics.outputs:
            found, classes = answers
            features = np.concatenate([given, found], axis=1)
            counters.confidence += np.bincount(confidence_bin(found[:, 0]), minlength=len(counters.confidence))
            for c, count in enumerate(np.bincount(classes).tolist()):
                if count:
                    counters.classes[c] = counters.classes.get(c, 0) + count
        self._look_for_faults(given, counters)
        bins = np.empty(features.shape, np.intp)
        for i, edges in enumerate(self._edges):
            bins[:, i] = edges.searchsorted(features[:, i], "right")
        width = counters.bins.shape[1]
        flat = bins + np.arange(len(self._edges)) * width
        counters.bins += np.bincount(flat.ravel(), minlength=counters.bins.size).reshape(counters.bins.shape)
        counters.sums += features.sum(axis=0, dtype=np.float64)
        counters.squares += np.einsum("ij,ij->j", features, features, dtype=np.float64)
        counters.watched += n
        self._ring[np.arange(self._taken, self._taken + n) % len(self._ring)] = bins
        self._taken += n
        counters.drift = max(counters.drift, min(1.0, self.detector.update(bins, classes)))
        return features

    def _described(self, inputs: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        describe = self.statistics.describe
        if not self.takes_texts:
            return describe(np.stack(inputs))
        longest = max(len(ids) for ids in inputs)  # texts of one batch share a length, of several need not
        padded = np.full((len(inputs), longest), describe.pad_id, np.int64)
        for row, ids in zip(padded, inputs):
            row[: len(ids)] = ids
        return describe(padded)

    def _look_for_faults(self, given: NDArray[np.float32], counters: Counters) -> None:
        """Blank frames and stuck sensors, values far outside what training held, words never seen."""
        if self._constant:
            still = (given[:, self._constant] == 0).any(axis=1).sum()
            if still:
                counters.note(counters.quality, "constant", int(still))
        if self._low:
            beyond = (given[:, self._low] < self._least).any(axis=1) | (given[:, self._high] > self._most).any(axis=1)
            if beyond.any():
                counters.note(counters.quality, "out_of_range", int(beyond.sum()))
        if self.takes_texts:
            strange = int((given[:, 1] > 0).sum())
            if strange:
                counters.note(counters.quality, "unseen_words", strange)

    def recent(self) -> list[dict[str, float | str]]:
        """PSI, its limit by chance and KS of each feature and of the classes over the last `window` examples."""
        n = min(self._taken, len(self._ring))
        out: list[dict[str, float | str]] = []
        for i, f in enumerate(self.statistics.features):
            current = np.bincount(self._ring[:n, i], minlength=len(f.counts))
            out.append(compare(f.name, f.counts, current.tolist()))
        return out


def compare(name: str, reference: Sequence[int], current: Sequence[int]) -> dict[str, float | str]:
    """One row of a drift table. psi_limit: what chance alone exceeds once in a thousand."""
    distance, p_value = ks(reference, current)
    size = int(sum(current))
    return {"feature": name, "psi": psi(reference, current) if size else 0.0,
            "psi_limit": psi_by_chance(reference, size), "ks": distance, "ks_p": p_value}  # fmt: skip
