"""Attribution: parts put together and taken apart, Captum against Shapley values known in closed form."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.errors import MissingExtraError
from compress.evaluate.attribution import shapley
from compress.evaluate.parts import MOST_PARTS, average_of, parts_of

IMAGE = np.arange(14 * 14, dtype=np.uint8).reshape(14, 14)


@pytest.mark.parametrize(
    ("example", "kind", "grid"),
    [
        (IMAGE, "image", (7, 7)),
        (np.zeros((28, 20, 3), np.uint8), "image", (7, 7)),
        (np.zeros((5, 3), np.uint8), "image", (5, 3)),
        (np.ones((128, 6), np.float32), "window", (6, 10)),
        (np.ones((128, 2), np.float32), "window", (2, 16)),
        (np.ones(9, np.float32), "image", (1, 9)),
        (np.ones(300, np.float32), "image", (1, 64)),
    ],
)
def test_all_parts_make_the_example_and_none_the_average(example, kind, grid):
    average = average_of(np.stack([example, example * 0]))
    parts = parts_of(example, kind, average)
    everything, nothing = np.ones((1, parts.count), bool), np.zeros((1, parts.count), bool)

    assert (parts.rows, parts.columns) == grid
    assert parts.count <= MOST_PARTS
    assert np.array_equal(parts.without(everything)[0], example)
    assert np.array_equal(parts.without(nothing)[0], average.astype(example.dtype))
    assert parts.without(everything).dtype == example.dtype


@given(st.lists(st.text("abc", min_size=1), min_size=1, max_size=200))
def test_words_are_taken_out_and_long_texts_in_groups(words):
    text = " ".join(words)
    parts = parts_of(text, "text", None)

    assert parts.count <= MOST_PARTS
    assert parts.without(np.ones((1, parts.count), bool)) == [text]
    assert parts.without(np.zeros((2, parts.count), bool)) == ["", ""]


def test_of_a_file_that_adds_up_words_each_has_its_own_weight():
    pytest.importorskip("captum")
    weight = {"good": 2.0, "bad": -3.0, "film": 0.5}
    parts = parts_of("good bad film", "text", None)

    def ask(texts):
        lean = np.array([sum(weight[w] for w in t.split()) for t in texts], np.float32)
        return np.stack([lean, np.zeros_like(lean)], axis=1)

    found = shapley(ask, parts, (0, 1), permutations=5, seed=0)

    assert found == pytest.approx([2.0, -3.0, 0.5], abs=1e-6)


def test_values_sum_to_what_the_whole_says_more_than_nothing():
    pytest.importorskip("captum")
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(196, 3)).astype(np.float32)
    parts = parts_of(IMAGE, "image", np.full((14, 14), 90.0))

    def ask(images):
        return np.tanh(images.reshape(len(images), -1) / 255 @ weights)

    found = shapley(ask, parts, (2, 0), permutations=6, seed=1)
    ends = ask(parts.without(np.array([[True] * 49, [False] * 49])))

    assert found.sum() == pytest.approx(float((ends[0, 2] - ends[0, 0]) - (ends[1, 2] - ends[1, 0])), abs=1e-5)
    assert np.array_equal(found, shapley(ask, parts, (2, 0), permutations=6, seed=1))


def test_without_captum_the_extra_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(MissingExtraError, match="attribution"):
        shapley(lambda x: x, parts_of("a b", "text", None), (0, 1), 1, 0)
