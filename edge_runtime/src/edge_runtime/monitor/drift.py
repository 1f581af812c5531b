"""Has the stream changed? Two descriptions (PSI and Kolmogorov-Smirnov) and one decision (a sequential detector).

PSI and KS compare the last few hundred examples with the reference and are for people to read. Whether to sound an
alarm is decided after every example, thousands of times a day, so a fixed threshold on either would sooner or later be
crossed by chance. The detector is built so that this happens, on an unchanged stream, no more often than asked.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge_runtime.statistics import Statistics

TILTS = (0.3, 0.6, 1.2)  # sizes of change, in reference standard deviations, that the detector bets on
CLASS_TILTS = (0.2, 0.5, 1.2)  # as above, of a class's share: 0.24 is best for one that grows from 10 % to 20 %
_DOUBT = 3.0  # standard errors of the reference's own estimate that are conceded to chance
_SLACK = 0.05  # a shift of so many standard deviations is no change worth waking anybody for
_MOST_CLASSES = 32
_MEMORY = 200.0  # examples that the following bets look back on
_RARE = 7.0  # examples that a bin of the reference may lack by chance: a count of 0 speaks for any rate up to 7/n
_LARGEST_FACTOR = 20.0
_LEAN = 0.9  # how far they follow; the rest is the reference, so that a new bin does not ruin a bet
_SIDES = {"rises": 1, "falls": -1, "spreads": 1, "narrows": -1}


def psi(reference: Sequence[int], current: Sequence[int]) -> float:
    """Population stability index of two rows of bin counts: sum (q - p) ln(q / p).

    Half an example is added to each bin, so that an empty one gives a large and not an infinite index. Customary
    reading: under 0.1 no shift, 0.1 to 0.25 some, above 0.25 a large one (Siddiqi 2006, Credit Risk Scorecards).

    >>> round(psi([500, 500], [500, 500]), 6), round(psi([500, 500], [900, 100]), 3)
    (0.0, 0.876)
    """
    p, q = (np.asarray(c, np.float64) + 0.5 for c in (reference, current))
    p, q = p / p.sum(), q / q.sum()
    return float(((q - p) * np.log(q / p)).sum())


def psi_by_chance(reference: Sequence[int], size: int, probability: float = 0.001) -> float:
    """The PSI that an unchanged stream exceeds with this probability in a window of `size` examples.

    Without a shift PSI is about chi-squared with bins - 1 degrees of freedom, times 1/n + 1/m (Yurdakul 2018,
    Statistical Properties of Population Stability Index, section 3), so its rules of thumb mislead in small windows.
    The quantile is that of Wilson and Hilferty 1931.
    """
    freedom = max(1, sum(1 for c in reference if c) - 1)
    z = normal_quantile(1 - probability)
    chi2 = freedom * (1 - 2 / (9 * freedom) + z * math.sqrt(2 / (9 * freedom))) ** 3
    return chi2 * (1 / max(1, sum(reference)) + 1 / max(1, size))


def ks(reference: Sequence[int], current: Sequence[int]) -> tuple[float, float]:
    """Two-sample Kolmogorov-Smirnov statistic of binned values and its p-value.

    Taken at the bin edges only, so the statistic is at most that of the values themselves and the p-value is on the
    safe side. Source: Smirnov 1948; the p-value's correction for small samples is Stephens 1970.

    >>> ks([10, 10], [10, 10])[0], ks([1000, 1000], [0, 200])[0]
    (0.0, 0.5)
    """
    p, q = (np.asarray(c, np.float64) for c in (reference, current))
    n, m = p.sum(), q.sum()
    if not n or not m:
        return 0.0, 1.0
    distance = float(np.abs(np.cumsum(p) / n - np.cumsum(q) / m).max())
    root = math.sqrt(n * m / (n + m))
    at = (root + 0.12 + 0.11 / root) * distance
    if at < 0.2:
        return distance, 1.0
    terms = (2 * (-1) ** (k - 1) * math.exp(-2 * (k * at) ** 2) for k in range(1, 101))
    return distance, min(1.0, max(0.0, sum(terms)))


def normal_quantile(probability: float) -> float:
    """Of the standard normal distribution, by bisection on erfc; absolute error under 1e-9.

    >>> round(normal_quantile(0.975), 4)
    1.96
    """
    low, high = -10.0, 10.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if 0.5 * math.erfc(-middle / math.sqrt(2)) < probability else (low, middle)
    return (low + high) / 2


class Detector:
    """Watches every feature and the mix of classes for a change, with a bound on false alarms.

    For each feature, direction (rises, falls, spreads, narrows) and size of change there is a bet: a table over the
    reference's bins whose expected value under the reference is at most 1 (exponential tilting). One more bet a
    feature, and one on the classes, follows what the last 200 examples or so were like (_Follower). Each bet is
    multiplied up and restarted as CUSUM does (Page 1954). The mean of such processes is an e-detector (Shin, Ramdas and
    Rinaldo 2022, arXiv:2203.03532): if an alarm is raised when it reaches A, the expected time to a false one is at
    least A examples, whatever the distribution and however the features depend on each other. The alarm is raised when
    one of m processes reaches A * m, which implies that the mean reaches A.

    The reference is itself a sample: each bet is therefore made fair for any distribution within 3 standard errors of
    the reference, and for shifts up to 0.05 standard deviations, whichever is more. The bound assumes that examples are
    independent; frames of a video are not: there, watch every n-th (`every` of Monitor).

    level: log of the largest process, as a share of the threshold: 0 is calm, 1 raises the alarm.
    """

    def __init__(self, statistics: Statistics, false_alarm_every: float) -> None:
        """false_alarm_every: least expected number of unchanged examples between two false alarms."""
        features = statistics.features
        self._width = max((len(f.counts) for f in features), default=1)
        per_feature = len(_SIDES) * len(TILTS)
        self._table = np.zeros((len(features), self._width, per_feature), np.float32)
        self.names: list[str] = []
        for i, f in enumerate(features):
            for j, (name, scores) in enumerate(_scores(f.counts)):
                for k, tilt in enumerate(TILTS):
                    bins = _bet(f.counts, scores, tilt)
                    self._table[i, : len(bins), j * len(TILTS) + k] = bins
                self.names += [f"{f.name} {name}"] * len(TILTS)
        self._rows = np.arange(len(features))
        self._group, self._class_table, class_sizes = self._classes(statistics)
        tables = [f.counts for f in features] + ([class_sizes] if class_sizes else [])
        self._follower = _Follower(tables)
        self.names += [f"{f.name} changes" for f in features] + (["mix of classes changes"] if class_sizes else [])
        self._level = np.zeros(len(self.names), np.float64)
        self.threshold = math.log(false_alarm_every * max(1, len(self.names)))

    def _classes(self, statistics: Statistics) -> tuple[NDArray[np.intp], NDArray[np.float32], list[int]]:
        """Class -> its group (the frequent ones alone, the rest together), bets on each group's share, their sizes."""
        counts = np.asarray(statistics.class_counts, np.int64)
        order = np.argsort(-counts, kind="stable")
        group = np.full(len(counts), _MOST_CLASSES, np.intp)
        group[order[:_MOST_CLASSES]] = np.arange(min(len(counts), _MOST_CLASSES))
        groups = min(len(counts), _MOST_CLASSES + 1)
        if groups < 2:
            return group, np.zeros((1, 0), np.float32), []
        sizes = [int(n) for n in np.bincount(group, weights=counts, minlength=groups)]
        bets = []
        for g in range(groups):
            own = int(order[g]) if g < _MOST_CLASSES else -1
            for name, sign in (("rises", 1), ("falls", -1)):
                scores = _standard((np.arange(groups) == g).astype(np.float64) * sign, _shares(sizes))
                bets += [_bet(sizes, scores, tilt) for tilt in CLASS_TILTS]
                self.names += [f"class {own} {name}" if own >= 0 else f"rare classes {name}"] * len(CLASS_TILTS)
        return group, np.array(bets, np.float32).T, sizes

    @property
    def level(self) -> float:
        """Of the largest process now."""
        return float(self._level.max(initial=0.0)) / self.threshold

    @property
    def cause(self) -> str:
        """The feature and direction of the largest process, e.g. "confidence falls"."""
        return self.names[int(self._level.argmax())] if len(self.names) else ""

    def update(self, bins: NDArray[np.intp], classes: NDArray[np.intp] | None) -> float:
        """Take bins (n, features) and predicted classes (n,) in. Returns the highest level on the way, uncut."""
        n = len(bins)
        parts: list[NDArray[Any]] = [self._table[self._rows, bins].reshape(n, -1)]
        if classes is not None and self._class_table.shape[1]:
            groups = self._group[classes]
            parts.append(self._class_table[groups])
            bins = np.concatenate([bins, groups[:, np.newaxis]], axis=1)
        parts.append(self._follower.gains(bins))
        gains = np.concatenate(parts, axis=1)
        if not gains.shape[1]:
            return 0.0
        total = np.cumsum(gains, axis=0, dtype=np.float64)
        lowest = np.minimum(np.minimum.accumulate(total, axis=0), -self._level)
        path = total - lowest
        self._level = np.minimum(
            path[-1], self.threshold
        )  # capped, so that calm returns soon after the change has gone
        return float(path.max()) / self.threshold


class _Follower:
    """One bet a table that leans towards what the last examples were like: share there over share in the reference.

    It finds changes that no single direction names, such as half of the classes gone. Examples are bet on with what was
    known before their batch, so that the expected factor is 1 under the reference whatever has been learnt (a plug-in
    e-process: Waudby-Smith and Ramdas 2024, arXiv:2010.09686); reference error and slack are conceded as in _bet.
    """

    def __init__(self, tables: Sequence[Sequence[int]]) -> None:
        width = max((len(t) for t in tables), default=1)
        self._p = np.zeros((len(tables), width))
        sizes = np.array([max(1, sum(t)) for t in tables], np.float64)
        for row, counts, size in zip(self._p, tables, sizes):
            row[: len(counts)] = (np.asarray(counts, np.float64) + _RARE) / size
        self._q = self._p / np.maximum(self._p.sum(axis=1, keepdims=True), 1e-300)
        self._concede = np.maximum(_DOUBT / np.sqrt(sizes), _SLACK)
        self._columns = np.arange(len(tables))

    def gains(self, bins: NDArray[np.intp]) -> NDArray[np.float64]:
        """Log factors (n, tables) of bins (n, tables); then learn from them."""
        held = self._p > 0
        factor = np.where(held, _LEAN * self._q / np.where(held, self._p, 1.0) + (1 - _LEAN), 1.0)
        np.minimum(factor, _LARGEST_FACTOR, out=factor)
        error = np.sqrt((self._p * (factor - 1) ** 2).sum(axis=1))
        table = np.log(factor) - np.log1p(error * self._concede)[:, np.newaxis]
        out: NDArray[np.float64] = table[self._columns[: bins.shape[1]], bins]
        seen = np.zeros_like(self._q)
        np.add.at(seen, (self._columns[: bins.shape[1]], bins), 1.0 / len(bins))
        keep = math.exp(-len(bins) / _MEMORY)
        rows = bins.shape[1]
        self._q[:rows] = keep * self._q[:rows] + (1 - keep) * seen[:rows]
        if rows < len(self._columns):  # answers without logits leave the classes alone
            out = np.concatenate([out, np.zeros((len(bins), len(self._columns) - rows))], axis=1)
        return out


def _shares(counts: NDArray[Any] | Sequence[int]) -> NDArray[np.float64]:
    p = np.asarray(counts, np.float64) + 0.5
    out: NDArray[np.float64] = p / p.sum()
    return out


def _standard(scores: NDArray[np.float64], p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores with mean 0 and standard deviation 1 under p."""
    centred = scores - (p * scores).sum()
    spread = math.sqrt((p * centred**2).sum())
    out: NDArray[np.float64] = centred / spread if spread > 1e-9 else centred * 0
    return out


def _scores(counts: Sequence[int]) -> list[tuple[str, NDArray[np.float64]]]:
    """Per direction of change a score of each bin: how strongly it speaks for that change."""
    p = _shares(counts)
    rank = np.cumsum(p) - p / 2  # mid-ranks: a value's place among the reference, 0..1
    level, spread = _standard(rank, p), _standard(np.abs(rank - 0.5), p)
    shapes = {"rises": level, "falls": level, "spreads": spread, "narrows": spread}
    return [(name, shapes[name] * sign) for name, sign in _SIDES.items()]


def _bet(counts: NDArray[Any] | Sequence[int], scores: NDArray[np.float64], tilt: float) -> NDArray[np.float32]:
    """Log of the factor that each bin multiplies the bet by; its expectation is at most 1 near the reference."""
    p, n = _shares(counts), float(np.sum(counts))
    factor = np.exp(tilt * np.clip(scores, -4, 4))
    mean = float((p * factor).sum())
    error = math.sqrt(float((p * (factor - mean) ** 2).sum()) / max(n, 1.0))
    concede = max(math.log1p(_DOUBT * error / mean), tilt * _SLACK)
    out: NDArray[np.float32] = (np.log(factor / mean) - concede).astype(np.float32)
    return out
