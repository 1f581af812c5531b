"""Rates by group and the gaps between: against counts by hand, and how often a false alarm is raised."""

import numpy as np
import pytest

from compress.evaluate.groups import gaps, group_rows

CLASSES = ("no", "yes")


def answers(seed, n=1200, skill=0.85):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    before = np.where(rng.random(n) < skill, y, 1 - y)
    return rng, y, before


def test_rates_are_the_shares_counted_by_hand():
    y = np.array([1] * 10 + [0] * 10 + [1] * 6 + [0] * 6)
    before = y.copy()
    after = y.copy()
    after[[0, 1, 10]] = 1 - after[[0, 1, 10]]  # of the first group two positives missed, one negative selected
    site = ["a"] * 20 + ["b"] * 12

    a, b = group_rows({"site": site}, before, after, y, CLASSES)

    assert (a.name, a.count, a.before_top1, a.after_top1) == ("a", 20, 1.0, 17 / 20)
    assert (a.positive.after_selection, a.positive.after_tpr, a.positive.after_fpr) == (9 / 20, 8 / 10, 1 / 10)
    assert (b.positive.after_selection, b.positive.after_tpr, b.positive.after_fpr) == (6 / 12, 1.0, 0.0)


def test_a_group_that_is_harmed_widens_the_gap_and_comes_first():
    rng, y, before = answers(0)
    site = rng.choice(["north", "south", "east"], len(y))
    after = before.copy()
    harmed = np.flatnonzero((site == "south") & (y == 1) & (before == 1))
    after[harmed[:40]] = 0

    found = gaps({"site": site.tolist()}, before, after, y, CLASSES)

    assert found[0].wider
    assert found[0].low == "south"
    assert {g.metric for g in found if g.wider} >= {"accuracy", "true positive rate"}
    assert not any(g.wider for g in found if g.metric == "false positive rate")
    worst = next(g for g in found if g.metric == "accuracy")
    accuracy = {s: (after == y)[site == s].mean() for s in ("north", "south", "east")}
    assert worst.after == pytest.approx(100 * (max(accuracy.values()) - accuracy["south"]))
    assert worst.ci95_change[0] > 0


def test_flips_that_have_nothing_to_do_with_the_group_seldom_raise_an_alarm():
    alarms = 0
    for seed in range(100):
        rng, y, before = answers(seed, n=400)
        site = rng.choice(["a", "b", "c", "d"], len(y))
        after = np.where(rng.random(len(y)) < 0.05, 1 - before, before)
        alarms += any(g.q_value < 0.05 for g in gaps({"site": site}, before, after, y, CLASSES, seed))

    assert alarms <= 10


def test_small_groups_and_columns_of_one_value_give_no_gap():
    _, y, before = answers(3, n=100)

    assert gaps({"site": ["a"] * 100}, before, before, y, CLASSES) == ()
    assert gaps({"site": ["a"] * 95 + ["b"] * 5}, before, before, y, CLASSES) == ()
    assert [r.name for r in group_rows({"site": ["a"] * 95 + ["b"] * 5}, before, before, y, CLASSES)] == ["a"]


def test_with_many_classes_each_has_its_rates():
    rng = np.random.default_rng(5)
    y = rng.integers(0, 3, 900)
    after = y.copy()
    after[np.flatnonzero(y == 2)[::2]] = 0

    found = gaps({"site": rng.choice(["a", "b"], 900)}, y, after, y, ("x", "y", "z"))

    assert {(g.metric, g.of_class) for g in found} == {
        ("accuracy", ""), *((m, c) for c in "xyz" for m in
                            ("selection rate", "true positive rate", "false positive rate")),
    }  # fmt: skip
    assert all(0 <= g.after <= 100 for g in found)
