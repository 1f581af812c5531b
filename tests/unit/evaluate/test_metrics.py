import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from compress.errors import DataError, ShapeError
from compress.evaluate.metrics import accuracy, wilson

CLASSES = ("cat", "dog", "owl")


def logits_for(predicted, k=3):
    return np.eye(k, dtype=np.float32)[list(predicted)]


def test_counts_recall_and_confusion_of_a_worked_example():
    y = np.array([0, 0, 1, 1, 1, 0])

    found = accuracy(logits_for([0, 1, 1, 1, 2, 0]), y, CLASSES, "test")

    assert (found.count, found.correct, found.top1) == (6, 4, 4 / 6)
    assert found.per_class_recall == (2 / 3, 2 / 3, None)  # no owl to recall
    assert found.confusion == ((2, 1, 0), (0, 2, 1), (0, 0, 0))
    assert found.ci95 == wilson(4, 6)


def test_the_first_of_equal_scores_is_the_prediction():
    found = accuracy(np.zeros((2, 3), np.float32), np.array([0, 1]), CLASSES, "test")

    assert found.correct == 1


def test_the_digest_changes_with_a_prediction_and_not_with_a_score():
    y = np.array([0, 1])
    scores = (logits_for([0, 1]), logits_for([0, 1]) * 9, logits_for([0, 2]))

    base, louder, other = (accuracy(x, y, CLASSES, "test") for x in scores)

    assert base.predictions_sha256 == louder.predictions_sha256 != other.predictions_sha256


def test_a_thousand_and_one_classes_get_no_confusion_matrix_and_a_thousand_do():
    y = np.zeros(1, np.int64)

    assert accuracy(np.ones((1, 1001)), y, [str(i) for i in range(1001)], "test").confusion == ()
    assert len(accuracy(np.ones((1, 1000)), y, [str(i) for i in range(1000)], "test").confusion) == 1000


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys_interval(pair):
    correct, count = pair
    want = binomtest(correct, count).proportion_ci(method="wilson")

    assert wilson(correct, count) == pytest.approx((want.low, want.high), abs=1e-9)
    assert 0 <= wilson(correct, count)[0] <= correct / count <= wilson(correct, count)[1] <= 1


@pytest.mark.parametrize(
    ("logits", "y", "kind", "message"),
    [
        (np.zeros((2, 3)), np.zeros(3, int), ShapeError, r"scores of shape \(2, 3\) against labels of shape \(3,\)"),
        (np.zeros((2, 4)), np.zeros(2, int), ShapeError, "4 scores for 3 classes"),
        (np.zeros((0, 3)), np.zeros(0, int), DataError, "there are no examples to judge by"),
        (np.zeros((2, 3)), np.array([0, 3]), DataError, "labels reach from 0 to 3, the classes from 0 to 2"),
        ([[0, np.nan, 0], [0, 0, 0]], np.zeros(2, int), DataError, "scores of 1 of 2 examples are not finite"),
    ],
    ids=["lengths", "classes", "empty", "label", "nan"],
)
def test_what_does_not_fit_is_refused_in_words(logits, y, kind, message):
    with pytest.raises(kind, match=message):
        accuracy(np.asarray(logits), y, CLASSES, "test")
