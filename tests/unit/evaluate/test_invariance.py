"""Transformations: what they change, what they keep, and how their effect is counted."""

import numpy as np
import pytest

from compress.errors import DataError, UsageError
from compress.evaluate.invariance import TRANSFORMATIONS, kind_of, row, swap_words, transform
from compress.recipe.schema import InvarianceConfig

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 12, 10)).astype(np.uint8)
WINDOWS = np.random.default_rng(1).normal(size=(4, 50, 3)).astype(np.float32)
TEXTS = ["a wonderful film with splendid actors", "it was not good"]
EXAMPLES = {"image": IMAGES, "window": WINDOWS, "text": TEXTS}


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_each_keeps_the_form_and_is_repeatable(name):
    examples = EXAMPLES[TRANSFORMATIONS[name].kinds[0]]
    strength = 2.0 if TRANSFORMATIONS[name].unit in ("pixels", "samples", "degrees", "times") else 0.5
    once, again = (transform(examples, name, strength, 3) for _ in range(2))

    assert len(once) == len(examples)
    assert np.array_equal(once, again)
    assert not np.array_equal(once, examples)
    if isinstance(examples, np.ndarray):
        assert (once.shape, once.dtype) == (examples.shape, examples.dtype)


@pytest.mark.parametrize(
    "name", ["shift", "rotation", "brightness", "blur", "time_shift", "typos", "upper_case", "noise"]
)
def test_a_strength_of_zero_changes_nothing(name):
    examples = EXAMPLES[TRANSFORMATIONS[name].kinds[0]]

    assert np.array_equal(transform(examples, name, 0.0, 0), examples)


def test_a_shift_moves_by_whole_pixels_and_repeats_the_edge():
    moved = transform(IMAGES, "shift", 1, 0)
    for before, after in zip(IMAGES.astype(int), moved.astype(int), strict=True):
        ways = [np.roll(before, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        assert any((after[1:-1, 1:-1] == w[1:-1, 1:-1]).all() for w in ways)


def test_colour_images_are_shifted_and_rotated_too():
    colour = np.random.default_rng(2).integers(0, 256, (3, 8, 8, 3)).astype(np.uint8)

    assert transform(colour, "shift", 1, 0).shape == colour.shape
    assert transform(colour, "rotation", 10, 0).shape == colour.shape
    assert kind_of(colour) == "image"


@pytest.mark.parametrize(
    ("shape", "task", "kind"),
    [
        ((4, 50, 32), "sensor-classification", "window"),
        ((4, 50, 3), "sensor-classification", "window"),
        ((4, 28, 16), "image-classification", "image"),
        ((4, 28, 16), None, "window"),
        ((4, 28, 28), None, "image"),
        ((4, 9), "image-classification", "vector"),
        ((4, 9), "classification", "vector"),
    ],
)
def test_the_task_says_what_a_shape_leaves_open(shape, task, kind):
    examples = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    assert kind_of(examples, task) == kind
    for name, found in TRANSFORMATIONS.items():
        if kind in found.kinds:
            assert transform(examples, name, 1.0, 0, task).shape == shape
        else:
            with pytest.raises(DataError, match=f"these are {kind} ones"):
                transform(examples, name, 1.0, 0, task)


def test_what_a_recipe_may_ask_for_is_what_there_is():
    kinds = {"text-classification": "text", "image-classification": "image", "sensor-classification": "window",
             "classification": "vector"}  # fmt: skip
    there = {task: tuple(n for n, t in TRANSFORMATIONS.items() if kind in t.kinds) for task, kind in kinds.items()}
    assert there == dict(InvarianceConfig.FITTING)


def test_brightness_of_integers_is_clipped_not_wrapped():
    image = np.array([[[0, 250], [100, 255]]], np.uint8)

    assert transform(image, "brightness", 0.1, 0).tolist() == [[[26, 255], [126, 255]]]


def test_words_are_swapped_both_ways_and_keep_their_case():
    swapped = swap_words([("he", "she"), ("Anna", "Otto")]).apply(["She met Anna. HE the hero", "others"], 1.0, None)

    assert swapped == ["He met Otto. SHE the hero", "others"]


def test_short_words_keep_their_letters():
    assert transform(["a to the"], "typos", 1.0, 0) == ["a to the"]


def test_a_wrong_name_and_a_wrong_kind_are_refused():
    with pytest.raises(UsageError, match="there is no transformation 'sparkle'"):
        transform(IMAGES, "sparkle", 1, 0)
    with pytest.raises(DataError, match="gain is for window examples, these are image ones"):
        transform(IMAGES, "gain", 1, 0)


def test_consistency_counts_equal_answers_not_right_ones():
    one, two = np.eye(2, dtype=np.float32)[[0, 0, 1, 1]], np.eye(2, dtype=np.float32)[[0, 1, 1, 1]]
    found = row("shift", 1.0, "pixels", (one, one), (one, two), np.array([0, 0, 0, 0]), 0)

    assert (found.before_consistency, found.after_consistency) == (1.0, 0.75)
    assert (found.before_top1, found.after_top1) == (0.5, 0.25)
    assert found.difference_points == -25
    assert found.ci95_points[0] <= -25 <= found.ci95_points[1]
