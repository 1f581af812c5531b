"""Two files on the same examples: is the difference real, how large may it be, and how many examples would show it."""

import math
from statistics import NormalDist

import numpy as np

from compress.comparison import Interval, Paired
from compress.evaluate.metrics import Labels, Logits, predictions

RESAMPLES = 10_000
SIGNIFICANT = 0.05


def compare(
    teacher_logits: Logits, logits: Logits, y: Labels, seed: int = 0, *, reference: str = "the teacher"
) -> Paired:
    """This file against the teacher's (or whatever `reference` calls it) on the same examples, in their order.

    Shapes: both logits (n, classes), y (n,).

    Raises:
        ShapeError, DataError: as metrics.predictions.
    """
    teacher = predictions(teacher_logits, y, where="paired comparison, teacher")
    this = predictions(logits, y, where="paired comparison")
    right_before, right_now = teacher == y, this == y
    count, lost, gained = len(y), int((right_before & ~right_now).sum()), int((right_now & ~right_before).sum())
    equal = int((teacher == this).sum())
    interval, p_value = difference_interval(lost, gained, count, seed), mcnemar(lost, gained)
    return Paired(
        count=count,
        difference_points=100 * (gained - lost) / count,
        ci95_points=(100 * interval[0], 100 * interval[1]),
        lost=lost,
        gained=gained,
        agreement=equal / count,
        p_value=p_value,
        verdict=verdict(lost, gained, count, interval, p_value, equal == count, reference),
    )


def difference_interval(lost: int, gained: int, count: int, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """95 % interval of the difference in accuracy (a share, not points) by paired bootstrap, percentile method.

    An example is lost, gained or neither, so drawing n examples anew is one multinomial draw. The shares drawn from
    are smoothed by one example each way: a plain bootstrap of no flips at all would claim a certain zero.
    Source of the smoothing: Bonett and Price 2012, J. Educ. Behav. Stat. 37(4), 479-488.
    """
    p_lost, p_gained = (lost + 1) / (count + 2), (gained + 1) / (count + 2)
    total = p_lost + p_gained
    if total > 1:  # every example flipped
        p_lost, p_gained = p_lost / total, p_gained / total
    shares = (p_lost, p_gained, max(0.0, 1 - p_lost - p_gained))
    drawn = np.random.default_rng(seed).multinomial(count, shares, size=resamples)
    low, high = np.quantile((drawn[:, 1] - drawn[:, 0]) / count, (0.025, 0.975))
    return float(low), float(high)


def mcnemar(lost: int, gained: int) -> float:
    """Two-sided exact p-value that losses and gains are equally likely: a sign test on the examples that flipped.

    Source: McNemar 1947, Psychometrika 12(2), 153-157, with the exact binomial tail.

    >>> mcnemar(9, 1)
    0.021484375
    """
    n, k = int(lost + gained), int(min(lost, gained))  # Python's integers: these grow past 64 bits
    if n == 0:
        return 1.0
    term = tail = 1  # whole numbers, so the quotient is exact to the last bit however small it is
    for i in range(k):
        term = term * (n - i) // (i + 1)
        tail += term
    return min(1.0, 2 * tail / 2**n)


def examples_needed(lost: int, gained: int, count: int, power: float = 0.8) -> int | None:
    """How many examples would show a difference as large as the one seen with this power; None if it is zero.

    Source: Connor 1987, Biometrics 43(1), 207-211 (sample size of McNemar's test, two-sided, 5 %).
    """
    if lost == gained:
        return None
    flips, difference = (lost + gained) / count, abs(gained - lost) / count
    z_test, z_power = NormalDist().inv_cdf(1 - SIGNIFICANT / 2), NormalDist().inv_cdf(power)
    root = z_test * math.sqrt(flips) + z_power * math.sqrt(flips - difference**2)
    return max(count, math.ceil((root / difference) ** 2), math.ceil(6 / flips))  # the test needs 6 flips at least


def verdict(
    lost: int,
    gained: int,
    count: int,
    interval: Interval,
    p_value: float,
    identical: bool = False,
    reference: str = "the teacher",
) -> str:
    """The comparison in words. A difference counts as shown when the exact test is below 0.05."""
    low, high = 100 * interval[0], 100 * interval[1]
    points = 100 * (gained - lost) / count
    flips = f"{_many(lost, 'example')} lost, {gained} gained"
    span = f"95 % interval {low:+.2f} to {high:+.2f} points"
    if p_value < SIGNIFICANT:
        word = "worse" if points < 0 else "better"
        return f"{word} than {reference} by {abs(points):.2f} points ({span}; {flips})"
    if identical:
        return f"no difference: all {_many(count, 'prediction')} equal those of {reference} ({span})"
    start = f"no difference could be shown on {_many(count, 'example')}: {points:+.2f} points, {span}; {flips}"
    needed = examples_needed(lost, gained, count)
    if needed is None:
        return f"{start}; losses and gains cancel out"
    return f"{start}; to show a difference of this size takes about {_rounded(needed):,} examples"


def _many(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def _rounded(n: int) -> int:
    """Two significant digits, upwards: a power calculation knows no more."""
    step = 10 ** max(0, len(str(n)) - 2)
    return math.ceil(n / step) * step
