"""Durations in buckets whose width grows with the value: any quantile to within 12 %, in a few hundred bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

PER_DECADE = 10
SMALLEST_MS, LARGEST_MS = 1e-3, 1e5
BOUNDS_MS = tuple(float(f"{10 ** (-3 + i / PER_DECADE):.4g}") for i in range(8 * PER_DECADE + 1))  # 1 us .. 100 s
BUCKETS = len(BOUNDS_MS) + 1
_BOUNDS = np.array(BOUNDS_MS)


def buckets(values_ms: Sequence[float]) -> NDArray[np.int64]:
    """Counts (BUCKETS,) of durations: bucket i holds BOUNDS_MS[i-1] < v <= BOUNDS_MS[i]."""
    return np.bincount(np.searchsorted(_BOUNDS, values_ms, "left"), minlength=BUCKETS)


def quantile_ms(counts: NDArray[np.int64], share: float) -> float:
    """The duration that `share` of the calls stay under, interpolated geometrically in its bucket; nan of no calls.

    >>> counts = buckets([1.0] * 99 + [50.0])
    >>> 0.7 < quantile_ms(counts, 0.5) <= 1.0, 39 < quantile_ms(counts, 0.999) <= 51
    (True, True)
    """
    total = int(counts.sum())
    if not total:
        return float("nan")
    running = np.cumsum(counts)
    at = min(int(np.searchsorted(running, share * total, "left")), BUCKETS - 1)
    before = int(running[at - 1]) if at else 0
    inside = (share * total - before) / max(1, int(counts[at]))
    low = _BOUNDS[at - 1] if at else SMALLEST_MS
    high = _BOUNDS[at] if at < len(_BOUNDS) else LARGEST_MS * 10
    return float(low * (high / low) ** min(1.0, max(0.0, inside)))
