"""Where compression hurt: slices of the test set that lost more than chance allows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compress.comparison import Slice
from compress.evaluate.metrics import Labels
from compress.evaluate.paired import difference_interval, mcnemar

Column = Sequence[str] | NDArray[np.str_]
FEWEST = 10  # examples a slice needs to be told of
SIGNIFICANT = 0.05
MOST_VALUES = 12  # numbers of more sizes are sliced by quarter
MOST_CLASSES = 100  # beyond, only the classes with most examples become slices


@dataclass(frozen=True, slots=True)
class Condition:
    """A slice by what a column holds: numbers above and below, or one of these texts. title: its name in tables."""

    title: str
    column: str
    above: float | None = None
    below: float | None = None
    one_of: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """Examples with something in common. family: what the slices are made by; name: of this one; members: (n,) bool."""

    family: str
    name: str
    members: NDArray[np.bool_]


def by_class(y: Labels, classes: Sequence[str]) -> list[Group]:
    """One slice a class."""
    common = np.argsort(-np.bincount(y, minlength=len(classes)), kind="stable")[:MOST_CLASSES]
    return [Group("class", classes[c], y == c) for c in sorted(common.tolist())]


def by_quarter(family: str, values: NDArray[np.float64]) -> list[Group]:
    """Four slices by the size of a value. Equal values stay together, so that there may be fewer; one is none."""
    edges = np.unique(np.quantile(values, (0.25, 0.5, 0.75)))
    which = np.searchsorted(edges, values, side="left")
    found = np.unique(which)
    if len(found) < 2:
        return []
    out = []
    for i in found.tolist():
        members = which == i
        low, high = values[members].min(), values[members].max()
        out.append(Group(family, f"{low:.4g} to {high:.4g}", members))
    return out


def by_column(family: str, values: Column) -> list[Group]:
    """One slice a distinct value, the commonest first, at most MOST_CLASSES."""
    distinct, counts = np.unique(np.asarray(values), return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MOST_CLASSES]
    if len(distinct) < 2:
        return []
    return [Group(family, str(distinct[i]), np.asarray(values) == distinct[i]) for i in order.tolist()]


def by_condition(condition: Condition, columns: Mapping[str, Column | NDArray[np.float64]]) -> Group:
    """The examples that meet it; a value that is no number is neither above nor below."""
    values = columns[condition.column]
    if condition.one_of:
        return Group("chosen", condition.title, np.isin(np.asarray(values).astype(str), condition.one_of))
    numbers = np.array([_number(v) for v in values])
    low = -np.inf if condition.above is None else condition.above
    high = np.inf if condition.below is None else condition.below
    return Group("chosen", condition.title, (numbers > low) & (numbers < high))


def by_metadata(family: str, values: Column) -> list[Group]:
    """By value; by quarter where the column holds numbers of more than MOST_VALUES sizes."""
    numbers = np.array([_number(v) for v in values])
    if np.isfinite(numbers).all() and len(np.unique(numbers)) > MOST_VALUES:
        return by_quarter(family, numbers)
    return by_column(family, values)


def _number(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return float("nan")


def judge(groups: Sequence[Group], before: Labels, after: Labels, y: Labels, seed: int = 0) -> tuple[Slice, ...]:
    """Each slice before and after, the hurt ones first, then by points lost.

    before, after, y: (n,) answers and truth. Slices of fewer than FEWEST examples, and those that hold all, are left
    out. p-values are exact McNemar's; over all slices they are corrected by Benjamini and Hochberg, whose bound on the
    share of false alarms also holds for slices that overlap in the way these do (positive dependence: Benjamini and
    Yekutieli 2001, Ann. Stat. 29(4), 1165-1188).
    """
    right_before, right_after = before == y, after == y
    told = [g for g in groups if FEWEST <= int(g.members.sum()) < len(y)]
    lost = [int((right_before & ~right_after & g.members).sum()) for g in told]
    gained = [int((right_after & ~right_before & g.members).sum()) for g in told]
    p_values = [mcnemar(down, up) for down, up in zip(lost, gained, strict=True)]
    q_values = benjamini_hochberg(p_values)
    out = []
    for g, down, up, p, q in zip(told, lost, gained, p_values, q_values, strict=True):
        count = int(g.members.sum())
        low, high = difference_interval(down, up, count, seed, resamples=2_000)
        out.append(
            Slice(
                family=g.family,
                name=g.name,
                count=count,
                before_top1=float(right_before[g.members].mean()),
                after_top1=float(right_after[g.members].mean()),
                lost=down,
                gained=up,
                ci95_points=(100 * low, 100 * high),
                p_value=p,
                q_value=q,
                hurt=q < SIGNIFICANT and down > up,
            )
        )
    return tuple(sorted(out, key=lambda s: (not s.hurt, s.q_value, s.after_top1 - s.before_top1)))


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for the false discovery rate, in the same order.

    Source: Benjamini and Hochberg 1995, J. R. Stat. Soc. B 57(1), 289-300.

    >>> benjamini_hochberg([0.01, 0.04, 0.03])
    [0.03, 0.04, 0.04]
    """
    m = len(p_values)
    order = sorted(range(m), key=lambda i: p_values[i])
    out, least = [1.0] * m, 1.0
    for rank in range(m, 0, -1):
        i = order[rank - 1]
        least = min(least, p_values[i] * m / rank)
        out[i] = least
    return out


def image_values(x: NDArray[np.generic]) -> Mapping[str, NDArray[np.float64]]:
    """What an image slice is made by: mean brightness and contrast, in raw units. x: (n, h, w) or (n, h, w, c)."""
    flat = x.reshape(len(x), -1).astype(np.float64)
    return {"brightness": flat.mean(axis=1), "contrast": flat.std(axis=1)}


def window_values(x: NDArray[np.generic]) -> Mapping[str, NDArray[np.float64]]:
    """What a sensor slice is made by: how much the signals move. x: (n, length, channels)."""
    return {"movement": x.astype(np.float64).std(axis=1).mean(axis=1)}


def text_values(texts: Sequence[str]) -> Mapping[str, NDArray[np.float64]]:
    """What a text slice is made by: its length in words."""
    return {"words": np.array([len(t.split()) for t in texts], np.float64),
            "characters": np.array([len(t) for t in texts], np.float64)}  # fmt: skip
