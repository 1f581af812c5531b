"""Which inputs are worth a person's time: uncertain or novel ones, and not the same one twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_runtime.statistics import Statistics

_FURTHEST = 8.0  # standard deviations; one wild number is not to outweigh all others


def uncertainty(logits: NDArray[np.float32], how: str = "margin") -> NDArray[np.float32]:
    """0 (certain) to 1 of logits (n, classes).

    margin: one minus the gap between the two highest probabilities (Scheffer et al. 2001). entropy: of the softmax,
    over its maximum (Shannon 1948). Source for both as criteria: Settles 2009, Active Learning Literature Survey.

    >>> uncertainty(np.float32([[9, 0, 0], [1, 1, 0]])).round(3).tolist()
    [0.0, 1.0]
    """
    from edge_runtime.features import output_features

    found = output_features(logits)
    out: NDArray[np.float32] = 1 - found[:, 1] if how == "margin" else found[:, 2]
    return np.clip(out, 0, 1).astype(np.float32)


def standardized(features: NDArray[np.float32], statistics: Statistics) -> NDArray[np.float32]:
    """Features (n, d) in standard deviations of the reference, cut at 8: the space that distances are taken in."""
    columns = statistics.features
    mean, std = np.array([f.mean for f in columns]), np.array([f.std for f in columns])
    z = (features - mean) / np.maximum(std, 1e-6 + 1e-3 * np.abs(mean))
    return np.clip(z, -_FURTHEST, _FURTHEST).astype(np.float32)


def novelty(z: NDArray[np.float32]) -> NDArray[np.float32]:
    """How far from the reference's middle, in standard deviations: root mean square of standardized features (n, d).

    An ordinary example is near 1. This is Mahalanobis' distance with the features taken as independent (Lee et al.
    2018, arXiv:1807.03888 use it on hidden features), all that a device can afford.
    """
    if not z.shape[1]:
        return np.zeros(len(z), np.float32)
    out: NDArray[np.float32] = np.sqrt((z**2).mean(axis=1))
    return out


def worthwhile(
    doubt: NDArray[np.float32], far: NDArray[np.float32], z: NDArray[np.float32], count: int, *, novel: float = 0.2
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of `count` examples for the queue: the uncertain ones, and the novel ones from the rest.

    doubt, far: (n,), uncertainty and novelty. z: (n, d). novel: share of the places that go by novelty.
    """
    first = pick(doubt, z, count - round(count * novel))
    rest = np.setdiff1d(np.arange(len(doubt)), first)
    return first, rest[pick(far[rest], z[rest], count - len(first))]


def pick(
    scores: NDArray[np.float32], z: NDArray[np.float32], count: int, *, spread: float = 1.25, rounds: int = 10
) -> NDArray[np.intp]:
    """Indices of `count` examples with high scores that are unlike each other, best first.

    scores: (n,), the higher the better, at least 0. z: (n, d), in whose space likeness is measured.
    spread: how many times `count` candidates are looked at; 1 takes the highest scores alone.

    Of the spread * count highest scores, k-means weighted by score makes `count` groups, and of each the example
    nearest to its centre is taken: diverse mini-batch active learning (Zhdanov 2019, arXiv:1901.05954). Starts from the
    highest score and then from what is furthest, so that the same input gives the same choice.
    """
    order = np.argsort(-scores, kind="stable")
    if count < 1 or count >= len(order) or spread <= 1 or not z.shape[1]:
        return order[:count]
    pool = order[: round(spread * count)]
    x, weight = z[pool].astype(np.float64), scores[pool].astype(np.float64) + 1e-9
    centres = x[_furthest(x, weight, count)]
    for _ in range(rounds):
        owner = _distances(x, centres).argmin(axis=1)
        total = np.bincount(owner, weights=weight, minlength=count)
        kept = total > 0
        sums = np.zeros_like(centres)
        np.add.at(sums, owner, x * weight[:, np.newaxis])
        moved = centres.copy()
        moved[kept] = sums[kept] / total[kept, np.newaxis]
        if np.allclose(moved, centres):
            break
        centres = moved
    distance = _distances(x, centres)
    chosen: list[int] = []
    taken = np.zeros(len(pool), bool)
    for centre in range(count):  # nearest to each centre; a centre of nothing gets the next best
        ranked = np.where(taken, np.inf, distance[:, centre])
        best = int(ranked.argmin())
        taken[best] = True
        chosen.append(best)
    picked = pool[chosen]
    return picked[np.argsort(-scores[picked], kind="stable")]


def _furthest(x: NDArray[np.float64], weight: NDArray[np.float64], count: int) -> list[int]:
    """Greedy start: the heaviest, then again and again the one with the largest weight x squared distance."""
    chosen = [int(weight.argmax())]
    nearest = ((x - x[chosen[0]]) ** 2).sum(axis=1)
    for _ in range(count - 1):
        at = int((nearest * weight).argmax())
        chosen.append(at)
        nearest = np.minimum(nearest, ((x - x[at]) ** 2).sum(axis=1))
    return chosen


def _distances(x: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared distances (n, centres), up to a constant per row that no comparison within a row needs."""
    out: NDArray[np.float64] = (centres**2).sum(axis=1) - 2 * (x @ centres.T)
    return out
