import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.errors import ParityError, ShapeError, UsageError
from compress.evaluate.ledger import TIE, TOLERANCES, hop

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(200, 4)).astype(np.float32)
Y = LOGITS.argmax(axis=1)


def flipped(count):
    """LOGITS with the argmax of the first `count` examples moved to another class."""
    out = LOGITS.copy()
    out[np.arange(count), (Y[:count] + 1) % 4] = 9.0
    return out


def make(target, tolerance, kind="conversion", source=LOGITS, y=Y):
    return hop("quantize to onnx", kind, "03-quantize", "03-quantize.onnx", source, target, y, tolerance)


def test_an_exact_conversion_passes_and_says_what_it_was_held_to():
    found = make(LOGITS, TOLERANCES["float32"])

    assert found.ok
    assert (found.agreement, found.largest_difference, found.source_top1, found.target_top1) == (1.0, 0.0, 1.0, 1.0)
    assert found.reason == (
        "agreement 100.00 % (want 99.90 % or more); accuracy +0.00 points (want 0.1 or less either way); "
        "largest difference 0 standard deviations of the logits (want 0.001 or less)"
    )


def test_a_breach_names_only_what_broke():
    found = make(flipped(6), {"agreement": 0.98, "accuracy_points": 10})

    assert not found.ok
    assert found.reason == "agreement 97.00 % (want 98.00 % or more)"


@pytest.mark.parametrize(("flips", "count", "ok"), [(4, 200, True), (5, 200, False), (1, 20, True), (2, 20, False)])
def test_limits_on_shares_are_rounded_up_to_whole_examples(flips, count, ok):
    target = flipped(flips)[:count]

    assert make(target, {"agreement": 0.98}, source=LOGITS[:count], y=Y[:count]).ok is ok


def test_no_flip_at_all_is_allowed_where_all_must_agree():
    assert not make(flipped(1), {"agreement": 1.0}).ok
    assert make(LOGITS, {"agreement": 1.0}).ok


def test_a_conversion_may_not_gain_accuracy_either_but_training_may():
    wrong = (Y + 1) % 4
    wrong[20:] = Y[20:]  # labels by which the source is wrong on 20 examples and a target that flips them is right

    assert not make(flipped(20), {"accuracy_points": 1.0}, y=wrong).ok
    gained = make(flipped(20), {"accuracy_points": 1.0}, y=wrong, kind="training")
    assert gained.ok
    assert gained.reason == "accuracy +10.00 points (want 1 or less lost)"


def test_the_largest_difference_is_in_standard_deviations_of_the_sources_logits():
    target = LOGITS.copy()
    target[3, 1] -= 0.5

    found = make(target, {"largest_difference": 0.4})

    assert found.largest_difference == pytest.approx(0.5 / LOGITS.std(), rel=1e-4)
    assert not found.ok
    assert make(target * 1000, {}, source=LOGITS * 1000).largest_difference == pytest.approx(
        found.largest_difference, rel=1e-4
    )


def swapped(margin, count=20):
    """Source and target whose two best classes are `margin` apart and change places in the first `count` examples."""
    source = LOGITS.copy()
    best = np.sort(LOGITS, axis=1)[:, -1]
    rows, second = np.arange(count), np.argsort(LOGITS, axis=1)[:count, -2]
    source[rows, second] = best[:count] - margin
    target = source.copy()
    target[rows, second] = best[:count] + margin
    return source, target


def test_a_conversion_may_turn_ties_but_nothing_wider_and_says_how_many():
    strict = {"agreement": 0.995, "accuracy_points": 0.5}
    source, target = swapped(0.8 * TIE * LOGITS.std())
    found = make(target, strict, source=source)

    assert found.ok
    assert (found.agreement, found.target_top1) == (0.9, 0.9)  # the figures hide nothing
    assert found.reason.endswith("; 20 of the 20 that differ are ties within 0.1 standard deviations")
    source, target = swapped(1.5 * TIE * LOGITS.std())
    wide = make(target, strict, source=source)
    assert not wide.ok
    assert "ties" not in wide.reason


@pytest.mark.parametrize("precision", TOLERANCES)
def test_logits_too_large_by_half_break_every_tolerance_though_no_argmax_changes(precision):
    found = make(LOGITS * np.float32(1.5), TOLERANCES[precision])

    assert found.agreement == 1.0
    assert not found.ok
    assert found.reason.startswith("largest difference")


def test_logits_that_are_all_equal_do_not_divide_by_zero():
    found = make(np.full((200, 4), 0.25, np.float32), {}, source=np.zeros((200, 4), np.float32))

    assert found.largest_difference == 0.25
    assert found.reason == "no tolerance was set"


def test_every_row_can_be_stored_as_strict_json():
    json.dumps(make(flipped(3), TOLERANCES["int8"]).model_dump(mode="json"), allow_nan=False)


@given(st.integers(0, 200), st.integers(0, 100))
def test_ok_is_monotonous_in_the_tolerance(flips, percent):
    clear = LOGITS.copy()
    clear[np.arange(200), Y] += 1.0  # no ties: a flip is a flip
    limits = (percent / 100, max(0.0, percent / 100 - 0.05))
    strict, lax = (make(flipped(flips), {"agreement": a}, source=clear) for a in limits)

    assert lax.ok or not strict.ok
    assert strict.ok == (flips <= 2 * (100 - percent))


@pytest.mark.parametrize(
    ("target", "tolerance", "kind", "message"),
    [
        (LOGITS, {"accuracy": 1}, UsageError, "unknown tolerance: accuracy\n  fix: use agreement"),
        (LOGITS[:, :3], {}, ParityError, r"it turned logits of shape \(200, 4\) into \(200, 3\)"),
        (np.where(LOGITS > 2, np.inf, LOGITS), {}, ParityError, "logits of .* of 200 examples are no longer finite"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_words(target, tolerance, kind, message):
    with pytest.raises(kind, match=message):
        make(target, tolerance)


def test_labels_of_another_length_are_refused():
    with pytest.raises(ShapeError, match="against labels of shape"):
        make(LOGITS, {}, y=Y[:5])
