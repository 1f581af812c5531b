"""Is compression as fair to each group of a sensitive column? Rates by group before and after, and the gaps between.

Accuracy; selection rate (how often a class is the answer: demographic parity); true and false positive rates (equalized
odds). Sources: Hardt, Price and Srebro 2016, arXiv:1610.02413; Agarwal et al. 2018, arXiv:1803.02453.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compress.comparison import Gap, GroupRow, Rates
from compress.evaluate.metrics import Labels
from compress.evaluate.slices import FEWEST, SIGNIFICANT, Column, benjamini_hochberg

RESAMPLES = 4_000
MOST_GROUPS = 50
MOST_CLASSES = 20  # whose rates are compared: those with most examples
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Question:
    """One rate: among the members, how often is it a hit, before and after? All (n,) booleans."""

    metric: str
    of_class: str
    members: Mask
    before: Mask
    after: Mask


def group_rows(
    columns: Mapping[str, Column], before: Labels, after: Labels, y: Labels, classes: Sequence[str]
) -> tuple[GroupRow, ...]:
    """Every group of FEWEST examples or more: accuracy, and for two classes the rates of the second (the positive)."""
    out = []
    for column, values in columns.items():
        for name, members in _groups(values):
            binary = _rates(members, before, after, y) if len(classes) == 2 else None
            out.append(
                GroupRow(
                    column=column,
                    name=name,
                    count=int(members.sum()),
                    before_top1=float((before == y)[members].mean()),
                    after_top1=float((after == y)[members].mean()),
                    positive=binary,
                )
            )
    return tuple(out)


def gaps(
    columns: Mapping[str, Column], before: Labels, after: Labels, y: Labels, classes: Sequence[str],
    seed: int = 0,
) -> tuple[Gap, ...]:  # fmt: skip
    """For every column and rate: between which groups the gap is widest after compression, and did it widen?

    Groups with fewer than FEWEST examples to judge a rate on are left out of it. The interval is of the change of the
    gap between these two groups, by bootstrap within groups. The test is whether any group changed otherwise than the
    others: flips are dealt to the groups at random, as often as RESAMPLES, so that having looked for the worst pair is
    allowed for. p-values are corrected over all columns and rates (Benjamini and Hochberg).
    """
    rng = np.random.default_rng(seed)
    found = []
    for column, values in columns.items():
        groups = _groups(values)
        for q in _questions(before, after, y, classes):
            inside = [(name, m & q.members) for name, m in groups if int((m & q.members).sum()) >= FEWEST]
            if len(inside) >= 2:
                found.append(_gap(column, q, inside, rng))
    adjusted = benjamini_hochberg([g.p_value for g in found])
    told = [
        g.model_copy(update={"q_value": q, "wider": q < SIGNIFICANT and g.after > g.before})
        for g, q in zip(found, adjusted, strict=True)
    ]
    return tuple(sorted(told, key=lambda g: (not g.wider, g.q_value, -(g.after - g.before))))


def _groups(values: Column) -> list[tuple[str, Mask]]:
    names, counts = np.unique(np.asarray(values), return_counts=True)
    order = [i for i in np.argsort(-counts, kind="stable")[:MOST_GROUPS].tolist() if counts[i] >= FEWEST]
    return [(str(names[i]), np.asarray(values) == names[i]) for i in order]


def _rates(members: Mask, before: Labels, after: Labels, y: Labels) -> Rates:
    """Of class 1 within the members."""

    def share(hits: Mask, among: Mask) -> float | None:
        return float(hits[among].mean()) if among.any() else None

    positive, negative = members & (y == 1), members & (y != 1)
    return Rates(
        before_selection=share(before == 1, members),
        after_selection=share(after == 1, members),
        before_tpr=share(before == 1, positive),
        after_tpr=share(after == 1, positive),
        before_fpr=share(before == 1, negative),
        after_fpr=share(after == 1, negative),
    )


def _questions(before: Labels, after: Labels, y: Labels, classes: Sequence[str]) -> Iterator[_Question]:
    everyone = np.ones(len(y), bool)
    yield _Question("accuracy", "", everyone, before == y, after == y)
    common = np.argsort(-np.bincount(y, minlength=len(classes)), kind="stable")[:MOST_CLASSES].tolist()
    for c in [1] if len(classes) == 2 else sorted(common):  # of two classes one says it all
        hits = before == c, after == c
        yield _Question("selection rate", classes[c], everyone, *hits)
        yield _Question("true positive rate", classes[c], y == c, *hits)
        yield _Question("false positive rate", classes[c], y != c, *hits)


def _gap(column: str, q: _Question, groups: Sequence[tuple[str, Mask]], rng: np.random.Generator) -> Gap:
    now = [float(q.after[m].mean()) for _, m in groups]
    low, high = int(np.argmin(now)), int(np.argmax(now))
    then = [float(q.before[m].mean()) for _, m in groups]
    before, after = then[high] - then[low], now[high] - now[low]
    pair = [_resampled(q, groups[i][1], rng) for i in (low, high)]
    change = np.abs(pair[1][1] - pair[0][1]) - np.abs(pair[1][0] - pair[0][0])
    interval = np.quantile(change, (0.025, 0.975))
    return Gap(
        column=column,
        metric=q.metric,
        of_class=q.of_class,
        low=groups[low][0],
        high=groups[high][0],
        before=100 * abs(before),
        after=100 * after,
        ci95_change=(100 * float(interval[0]), 100 * float(interval[1])),
        p_value=_dealt([m for _, m in groups], q, rng),
        q_value=1.0,
        wider=False,
    )


def _resampled(
    q: _Question, members: Mask, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The rate before and after in RESAMPLES bootstrap samples of a group: one multinomial over the four outcomes."""
    b, a, n = q.before[members], q.after[members], int(members.sum())
    counts = np.array([(b & a).sum(), (b & ~a).sum(), (~b & a).sum(), (~b & ~a).sum()])
    drawn = rng.multinomial(n, counts / n, size=RESAMPLES)
    return (drawn[:, 0] + drawn[:, 1]) / n, (drawn[:, 0] + drawn[:, 2]) / n


def _dealt(groups: Sequence[Mask], q: _Question, rng: np.random.Generator) -> float:
    """p-value that the change of the rate has nothing to do with the group: a permutation test on the largest
    difference of mean changes between two groups. Only flips count, and a deal of them is hypergeometric."""
    change = q.after.astype(np.int64) - q.before
    sizes = np.array([int(m.sum()) for m in groups])
    ups, downs = (np.array([int((change[m] == sign).sum()) for m in groups]) for sign in (1, -1))
    seen = float(np.ptp((ups - downs) / sizes))
    up, down = int(ups.sum()), int(downs.sum())
    if up + down == 0:
        return 1.0
    flips = rng.multivariate_hypergeometric(sizes, up + down, size=RESAMPLES)
    dealt, left_up, left = np.zeros_like(flips), np.full(RESAMPLES, up), np.full(RESAMPLES, up + down)
    for g in range(len(sizes)):  # which of a group's flips are gains
        dealt[:, g] = rng.hypergeometric(flips[:, g], left - flips[:, g], left_up)
        left_up, left = left_up - dealt[:, g], left - flips[:, g]
    spread = np.ptp((2 * dealt - flips) / sizes, axis=1)
    return float((1 + (spread >= seen - 1e-12).sum()) / (RESAMPLES + 1))
