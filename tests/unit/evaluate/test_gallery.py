"""Flips and how they are shown."""

import base64
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from compress.evaluate.gallery import LARGEST_SIDE, LONGEST_TEXT, flips, png_uri

BEFORE = np.array([[5, 0, 0], [0, 5, 0], [0, 1, 0], [3, 0, 0]], np.float32)
AFTER = np.array([[0, 5, 0], [0, 5, 0], [0, 0, 2], [0, 0, 3]], np.float32)
Y = np.array([0, 1, 2, 1])


def test_only_answers_that_changed_are_told_lost_ones_first():
    found = flips(BEFORE, AFTER, Y, np.zeros((4, 8, 8), np.uint8), ("a", "b", "c"))

    assert [(f.index, f.kind, f.truth, f.before, f.after) for f in found] == [
        (0, "lost", "a", "a", "b"),
        (3, "changed", "b", "a", "c"),
        (2, "gained", "c", "b", "c"),
    ]
    assert found[0].truth_drop == pytest.approx(0.98, abs=0.01)


def test_the_worst_comes_first_within_a_kind():
    before = np.array([[1, 0], [9, 0]], np.float32)
    found = flips(before, -before, np.array([0, 0]), np.zeros((2, 8, 8), np.uint8), ("a", "b"))

    assert [f.index for f in found] == [1, 0]


def read(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,")))))


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([(), (1,), (3,), (4,)]), st.integers(0, 99))
def test_a_picture_is_a_png_of_the_same_pixels(height, width, channels, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, *channels)).astype(np.uint8)
    want = image[..., 0] if channels == (1,) else image

    assert (read(png_uri(image)) == want).all()


def test_large_pictures_are_thinned_and_floats_stretched():
    assert max(read(png_uri(np.zeros((1000, 500, 3), np.uint8))).shape) <= LARGEST_SIDE
    assert read(png_uri(np.array([[-1.0, 0.0], [1.0, 1.0]]))).tolist() == [[0, 128], [255, 255]]
    assert read(png_uri(np.full((2, 2), 7.0))).max() == 0


@pytest.mark.parametrize(
    ("example", "shown"),
    [
        ("a good film", {"text": "a good film"}),
        ("x" * 999, {"text": "x" * (LONGEST_TEXT - 1) + "…"}),
        (np.array([1.0, 2.0]), {"trace": ((1.0, 2.0),)}),
        (np.zeros(1), {}),
    ],
)
def test_texts_and_vectors_are_shown_as_they_are(example, shown):
    found = flips(BEFORE[:1], AFTER[:1], Y[:1], [example], ("a", "b", "c"))[0]

    assert {k: getattr(found, k) for k in ("text", "trace", "picture") if getattr(found, k)} == shown


def test_a_window_becomes_traces_of_its_channels():
    window = np.arange(600.0).reshape(300, 2)
    found = flips(BEFORE[:1], AFTER[:1], Y[:1], window[None], ("a", "b", "c"))[0]

    assert len(found.trace) == 2
    assert found.trace[0][:2] == (0.0, 6.0)
    assert len(found.trace[0]) == 100
