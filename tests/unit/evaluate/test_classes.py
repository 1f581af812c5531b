"""Scores by class against scikit-learn, and costs."""

import numpy as np
import pytest
from scipy.stats import bootstrap
from sklearn.metrics import precision_recall_fscore_support

from compress.errors import ShapeError
from compress.evaluate.classes import bootstrap_mean, class_pairs, class_scores, costs, macro_f1


def test_scores_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    y, answers = rng.integers(0, 6, 500), rng.integers(0, 6, 500)
    precision, recall, f1, _ = precision_recall_fscore_support(y, answers, labels=range(6))
    found = class_scores(answers, y, 6)

    assert [s.precision for s in found] == pytest.approx(precision.tolist())
    assert [s.recall for s in found] == pytest.approx(recall.tolist())
    assert [s.f1 for s in found] == pytest.approx(f1.tolist())
    assert macro_f1(found) == pytest.approx(f1.mean())


def test_a_share_of_nothing_is_none():
    found = class_scores(np.array([0, 0]), np.array([0, 1]), 4)

    assert (found[1].precision, found[1].recall, found[1].f1) == (None, 0.0, 0.0)  # never answered
    assert (found[2].precision, found[2].recall, found[2].f1) == (None, None, None)  # never there either
    assert macro_f1(class_scores(np.array([], np.int64), np.array([], np.int64), 3)) is None


def test_pairs_stand_in_the_order_of_the_names():
    y = np.array([0, 1, 1])
    found = class_pairs(np.array([0, 1, 0]), np.array([1, 1, 1]), y, ("cat", "dog"))

    assert [(p.name, p.support, p.before.recall, p.after.recall) for p in found] == [
        ("cat", 1, 1.0, 0.0),
        ("dog", 2, 0.5, 1.0),
    ]


def test_costs_weigh_some_errors_more():
    matrix = np.array([[0.0, 1.0], [10.0, 0.0]])  # missing class 1 is ten times as bad
    y = np.array([0, 0, 1, 1])
    found = costs(np.array([0, 0, 1, 1]), np.array([1, 0, 1, 0]), y, matrix)

    assert (found.before, found.after, found.difference) == (0.0, 11 / 4, 11 / 4)
    assert found.ci95[0] <= found.difference <= found.ci95[1]


def test_a_cost_matrix_must_reach_all_classes():
    with pytest.raises(ShapeError, match=r"a cost matrix of shape \(2, 2\) for 3 classes"):
        costs(np.array([0]), np.array([2]), np.array([1]), np.eye(2))


def test_the_interval_of_a_mean_agrees_with_scipys():
    rng = np.random.default_rng(2)
    values = rng.choice([-1.0, 0.0, 1.0], 300, p=[0.2, 0.7, 0.1])
    theirs = bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(3), n_resamples=5000)

    assert bootstrap_mean(values) == pytest.approx(tuple(theirs.confidence_interval), abs=0.006)
    many = rng.normal(size=1500)  # too many different values for the multinomial way
    assert bootstrap_mean(many) == pytest.approx(
        (many.mean() - 1.96 / 1500**0.5, many.mean() + 1.96 / 1500**0.5), abs=0.01
    )
