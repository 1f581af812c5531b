"""Calibration against scikit-learn's own figures and against worked examples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from compress.errors import DataError
from compress.evaluate.calibration import calibration, log_softmax, softmax


def logits_of(probabilities):
    return np.log(np.asarray(probabilities, np.float64)).astype(np.float32)


def test_a_worked_example():
    # two examples at 0.9 (one right), one at 0.6 (right): ECE = 2/3 * |0.5 - 0.9| + 1/3 * |1 - 0.6|
    found = calibration(logits_of([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]]), np.array([0, 1, 1]), bins=10)

    assert found.ece == pytest.approx(2 / 3 * 0.4 + 1 / 3 * 0.4, abs=1e-6)
    assert [(b.count, round(b.accuracy, 6)) for b in found.bins] == [(1, 1.0), (2, 0.5)]


def test_brier_and_likelihood_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    logits, y = rng.normal(0, 2, (400, 5)).astype(np.float32), rng.integers(0, 5, 400)
    found, p = calibration(logits, y), softmax(logits)

    assert found.nll == pytest.approx(log_loss(y, p, labels=range(5)), rel=1e-6)
    assert found.brier == pytest.approx(brier_score_loss(y, p, labels=range(5), scale_by_half=False), rel=1e-6)


def test_bins_agree_with_scikit_learn():
    rng = np.random.default_rng(1)
    logits, y = rng.normal(0, 2, (1000, 3)).astype(np.float32), rng.integers(0, 3, 1000)
    p = softmax(logits)
    right, sure = calibration_curve(p.argmax(axis=1) == y, p.max(axis=1), n_bins=15)
    found = calibration(logits, y).bins

    assert [b.accuracy for b in found] == pytest.approx(right.tolist())
    assert [b.confidence for b in found] == pytest.approx(sure.tolist())


@given(st.floats(-1e30, 1e30), st.floats(-1e30, 1e30))
def test_any_finite_logits_give_probabilities(a, b):
    logits = np.array([[a, b]])

    assert softmax(logits).sum() == pytest.approx(1)
    assert (log_softmax(logits) <= 0).all()


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(DataError, match="scores of 1 of 2 examples are not finite"):
        calibration(np.array([[0.0, np.nan], [0.0, 1.0]]), np.array([0, 1]))


def test_a_single_class_is_always_sure():
    found = calibration(np.zeros((3, 1), np.float32), np.zeros(3, np.int64))

    assert (found.ece, found.brier, found.nll) == (0, 0, 0)
