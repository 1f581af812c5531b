"""Slices: what is told, what is called hurt, and how seldom that is a false alarm."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from compress.evaluate.slices import (
    Condition,
    Group,
    benjamini_hochberg,
    by_class,
    by_column,
    by_condition,
    by_metadata,
    by_quarter,
    image_values,
    judge,
    text_values,
    window_values,
)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_adjusted_p_values_agree_with_scipy(p_values):
    assert benjamini_hochberg(p_values) == pytest.approx(false_discovery_control(p_values).tolist())


def test_a_slice_that_was_hurt_is_found_and_comes_first():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 800)
    before, after = y.copy(), y.copy()
    threes = np.flatnonzero(y == 3)
    after[threes[:40]] = 0
    found = judge(by_class(y, ("a", "b", "c", "d")), before, after, y)

    assert [s.name for s in found if s.hurt] == ["d"]
    assert (found[0].name, found[0].lost, found[0].gained) == ("d", 40, 0)
    assert found[0].ci95_points[1] < 0


def test_noise_hurts_no_slice_in_95_of_100_comparisons():
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(100):
        y = rng.integers(0, 10, 500)
        before, after = (np.where(rng.random(500) < 0.1, (y + 1) % 10, y) for _ in range(2))
        alarms += any(s.hurt for s in judge(by_class(y, tuple("abcdefghij")), before, after, y))

    assert alarms <= 5


def test_a_gain_is_not_a_hurt():
    y = np.repeat([0, 1], 100)
    before = np.where(np.arange(200) < 50, 1, y)

    assert not any(s.hurt for s in judge(by_class(y, ("a", "b")), before, y, y))


def test_small_slices_and_the_whole_are_left_out():
    y = np.zeros(100, np.int64)
    groups = [
        Group("f", "few", np.arange(100) < 9),
        Group("f", "all", np.full(100, True)),
        Group("f", "some", np.arange(100) < 10),
    ]

    assert [s.name for s in judge(groups, y, y, y)] == ["some"]


def test_quarters_keep_equal_values_together():
    values = np.array([0.0] * 60 + [1.0] * 40)
    found = by_quarter("brightness", values)

    assert [int(g.members.sum()) for g in found] == [60, 40]
    assert by_quarter("constant", np.ones(10)) == []


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
def test_quarters_cover_every_example_once(values):
    found = by_quarter("v", np.array(values))

    assert not found or (sum(g.members.astype(int) for g in found) == 1).all()


def test_columns_with_one_value_make_no_slices():
    assert by_column("camera", ["a"] * 5) == []
    assert [g.name for g in by_column("camera", ["b", "a", "b"])] == ["b", "a"]


def test_what_examples_look_like():
    image = np.zeros((2, 4, 4), np.uint8)
    image[1] = 200
    assert image_values(image)["brightness"].tolist() == [0, 200]
    assert (
        window_values(np.stack([np.zeros((20, 3)), np.random.default_rng(0).normal(size=(20, 3))]))["movement"][0] == 0
    )
    assert text_values(["one two", ""])["words"].tolist() == [2, 0]


def test_a_condition_picks_numbers_and_texts():
    columns = {"age": np.array(["3", "40.5", "n/a", "20"]), "site": ["x", "y", "x", "z"]}

    assert by_condition(Condition("old", "age", above=10), columns).members.tolist() == [False, True, False, True]
    assert by_condition(Condition("mid", "age", above=10, below=30), columns).members.tolist() == [False] * 3 + [True]
    assert by_condition(Condition("x, z", "site", one_of=("x", "z")), columns).members.tolist() == [
        True,
        False,
        True,
        True,
    ]


def test_metadata_is_sliced_by_value_or_by_quarter():
    assert [g.name for g in by_metadata("site", ["a", "b", "a"])] == ["a", "b"]
    assert len(by_metadata("age", [str(i) for i in range(100)])) == 4
    assert len(by_metadata("age", [*map(str, range(99)), "n/a"])) == 100
