"""Comparisons at the edges: one class, nothing, NaN, 100,000 classes: either right or refused in words."""

import numpy as np
import pytest

from compress.errors import CompressError
from compress.evaluate.contrast import contrast
from compress.report.sections import depth, groups

NAMES = ("a.onnx", "b.onnx")


def pair(n, classes, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    before = rng.normal(size=(n, classes)).astype(np.float32)
    before[np.arange(n), y] += 3
    after = before + rng.normal(0, 1, before.shape).astype(np.float32)
    return (before, after), y, np.zeros((n, 4, 4), np.uint8)


def drawn(c):
    parts = (depth.scores, depth.slices, groups.groups, depth.calibration)
    return "".join(str(p(c) or "") for p in parts)


@pytest.mark.parametrize("which", ["before", "after"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_refused_with_the_file_s_name(which, value):
    logits, y, x = pair(30, 3)
    logits[which == "after"][7, 1] = value

    with pytest.raises(CompressError) as error:
        contrast(NAMES, logits, y, x, ("x", "y", "z"))
    assert NAMES[which == "after"] in str(error.value)
    assert "finite" in str(error.value) or "NaN" in str(error.value)


def test_slices_are_of_what_is_measured_on_such_data():
    logits, y, _ = pair(60, 3)
    rng = np.random.default_rng(0)

    def families(shape, task):
        c = contrast(NAMES, logits, y, rng.normal(size=(60, *shape)), ("x", "y", "z"), task=task)
        return {s.family for s in c.slices} - {"class", "confidence of the reference"}

    assert families((9,), "classification") == set()  # no "brightness" of a row of numbers
    assert families((50, 32), "sensor-classification") == {"movement"}
    assert families((28, 16), "image-classification") == {"brightness", "contrast"}


def test_no_examples_are_refused():
    nothing = np.zeros((0, 3), np.float32)
    with pytest.raises(CompressError, match=r"empty|no example"):
        contrast(NAMES, (nothing, nothing), np.zeros(0, np.int64), np.zeros((0, 4, 4)), ("x", "y", "z"))


def test_test_data_of_one_class_only_say_what_they_can():
    logits, _, x = pair(50, 2)
    c = contrast(NAMES, logits, np.zeros(50, np.int64), x, ("only", "absent"),
                 columns={"site": ["a", "b"] * 25}, sensitive=["site"])  # fmt: skip

    absent = c.class_pairs[1]
    assert (absent.support, absent.after.recall, absent.after.f1) == (0, None, None)
    assert {g.metric for g in c.gaps} == {"accuracy", "selection rate", "false positive rate"}  # no positive to miss
    assert "–" in drawn(c)


def test_a_hundred_thousand_classes_are_worked_out_and_cut_in_the_page():
    logits, y, x = pair(40, 100_000)
    c = contrast(NAMES, logits, y, x, [f"class {i}" for i in range(100_000)])
    text = drawn(c)

    assert len(c.class_pairs) == 100_000
    assert "of 100,000 classes" in text
    assert len(text) < 200_000
