"""From observed activations to a range: min/max, percentile and entropy. Pure functions on histograms.

A Histogram grows by doubling its width, so that one pass over the data is enough and nothing has to be kept.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compress.errors import DataError

BINS = 2048
_LEVELS = 128  # of the candidate grids that entropy compares


@dataclass
class Histogram:
    """Counts of values over [-limit, limit] in BINS equal bins, with the exact minimum and maximum."""

    counts: NDArray[np.float64]
    limit: float
    low: float
    high: float

    @staticmethod
    def empty() -> "Histogram":
        """A histogram that has seen nothing."""
        return Histogram(np.zeros(BINS), 0.0, np.inf, -np.inf)

    def add(self, values: NDArray[np.float32]) -> None:
        """Count values of any shape.

        Raises:
            DataError: a value is not finite.
        """
        if not np.isfinite(values).all():
            raise DataError("an activation is not finite", "calibration", "check the calibration data and the model")
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        peak = max(abs(self.low), abs(self.high), 1e-12)
        if self.limit == 0.0:
            self.limit = peak
        while self.limit < peak:
            self._double()
        self.counts += np.histogram(values, bins=BINS, range=(-self.limit, self.limit))[0]

    def _double(self) -> None:
        quarter = BINS // 4
        merged = self.counts.reshape(-1, 2).sum(axis=1)
        self.counts = np.zeros(BINS)
        self.counts[quarter : quarter + BINS // 2] = merged
        self.limit *= 2

    @property
    def edges(self) -> NDArray[np.float64]:
        """The BINS + 1 boundaries of the bins."""
        return np.linspace(-self.limit, self.limit, BINS + 1)


def minmax_range(histogram: Histogram) -> tuple[float, float]:
    """The exact smallest and largest value seen."""
    return histogram.low, histogram.high


def percentile_range(histogram: Histogram, percentile: float) -> tuple[float, float]:
    """The range that holds the middle: (100 - percentile) percent of the values are cut off at each end.

    percentile: 50 < percentile <= 100; 100 is minmax.
    """
    cut = histogram.counts.sum() * (1.0 - percentile / 100.0)
    cumulative = np.cumsum(histogram.counts)
    edges = histogram.edges
    low = edges[np.searchsorted(cumulative, cut, side="right")]
    high = edges[min(int(np.searchsorted(cumulative, cumulative[-1] - cut, side="left")) + 1, BINS)]
    return max(float(low), histogram.low), min(float(high), histogram.high)


def entropy_range(histogram: Histogram) -> tuple[float, float]:
    """The symmetric clip of the larger side that loses least information, as in TensorRT (Migacz 2017, "8-bit Inference
    with TensorRT"): minimises KL(P || Q) between the histogram of magnitudes clipped at a threshold and its 128-level
    version. The bin at zero is levelled to its neighbour: zero is exact on every grid, and a ReLU's many zeros would
    make every tail look light. One-sided tensors stay one-sided."""
    half = BINS // 2
    magnitude = histogram.counts[half:] + histogram.counts[:half][::-1]
    magnitude[0] = magnitude[1]
    best, threshold = np.inf, half
    for size in range(_LEVELS, half + 1, 8):
        p = magnitude[:size].copy()
        p[-1] += magnitude[size:].sum()
        loss = _divergence(p, magnitude[:size])
        if loss < best:
            best, threshold = loss, size
    clip = histogram.limit * threshold / half
    return max(histogram.low, -clip), min(histogram.high, clip)


def _divergence(p: NDArray[np.float64], source: NDArray[np.float64]) -> float:
    """KL(p || q), q being `source` spread evenly over the occupied bins of each of _LEVELS groups; 0 for an empty p."""
    if not p.any():
        return 0.0  # a dead layer: zeros alone were seen, and the zero bin was levelled
    group = np.arange(len(source)) * _LEVELS // len(source)
    occupied = source > 0
    totals = np.bincount(group, source, _LEVELS)
    members = np.bincount(group, occupied.astype(np.float64), _LEVELS)
    q = np.where(occupied, (totals / np.maximum(members, 1))[group], 0.0)
    p, q = p / p.sum(), q / max(q.sum(), 1e-12)
    seen = p > 0
    return float(np.sum(p[seen] * np.log(p[seen] / np.maximum(q[seen], 1e-12))))
