import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from compress.evaluate.paired import compare, difference_interval, examples_needed, mcnemar


def logits_for(predicted, k=2):
    return np.eye(k, dtype=np.float32)[list(predicted)]


def pair(lost, gained, both_right, both_wrong=0):
    """Teacher's and student's logits and labels (all 0) with these counts."""
    teacher = [0] * lost + [1] * gained + [0] * both_right + [1] * both_wrong
    student = [1] * lost + [0] * gained + [0] * both_right + [1] * both_wrong
    return logits_for(teacher), logits_for(student), np.zeros(len(teacher), np.int64)


def test_counts_difference_and_agreement_of_a_worked_example():
    found = compare(*pair(lost=3, gained=1, both_right=90, both_wrong=6))

    assert (found.count, found.lost, found.gained) == (100, 3, 1)
    assert found.difference_points == pytest.approx(-2.0)
    assert found.agreement == 0.96


def test_agreement_counts_equal_predictions_not_equal_correctness():
    teacher, student = logits_for([1, 0], 3), logits_for([2, 0], 3)  # both wrong on the first, in different ways

    found = compare(teacher, student, np.array([0, 0]))

    assert (found.lost, found.gained, found.agreement) == (0, 0, 0.5)


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_the_exact_binomial_test(lost, gained):
    want = binomtest(lost, lost + gained).pvalue if lost + gained else 1.0

    assert mcnemar(lost, gained) == pytest.approx(want, rel=1e-9)


def test_mcnemar_keeps_its_digits_far_out_in_the_tail_and_takes_numpys_integers():
    assert mcnemar(0, 200) == 2.0 * 0.5**200
    assert mcnemar(np.int64(3000), np.int64(3100)) == pytest.approx(binomtest(3000, 6100).pvalue, rel=1e-6)


def test_the_interval_holds_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(5)
    p_lost, p_gained, n, trials = 0.04, 0.02, 500, 1000

    hits = 0
    for trial in range(trials):
        lost, gained, _ = rng.multinomial(n, [p_lost, p_gained, 1 - p_lost - p_gained])
        low, high = difference_interval(lost, gained, n, seed=trial, resamples=500)
        hits += low <= p_gained - p_lost <= high

    assert 0.93 <= hits / trials <= 0.97


def test_no_flips_at_all_is_no_proof_of_no_difference():
    low, high = difference_interval(0, 0, 100)

    assert low < 0 < high
    assert difference_interval(0, 0, 10_000)[1] < high / 50


def test_the_interval_is_that_of_resampling_examples_one_by_one():
    rng = np.random.default_rng(0)
    change = np.array([-1] * 31 + [1] * 17 + [0] * 954)  # one more each way and two more in all: the smoothing
    drawn = rng.choice(change, (4000, 1000)).mean(axis=1)

    assert difference_interval(30, 16, 1000) == pytest.approx(tuple(np.quantile(drawn, (0.025, 0.975))), abs=0.0011)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 500))
def test_the_interval_stays_inside_what_is_possible(lost, gained, rest):
    count = lost + gained + rest
    if count:
        low, high = difference_interval(lost, gained, count, resamples=50)
        assert -1 <= low <= high <= 1


def test_the_same_seed_gives_the_same_interval():
    assert difference_interval(9, 4, 300, seed=3) == difference_interval(9, 4, 300, seed=3)


def test_that_many_examples_do_show_the_difference_four_times_in_five():
    needed = examples_needed(12, 4, 1000)
    rng = np.random.default_rng(1)

    drawn = rng.multinomial(needed, [0.012, 0.004, 0.984], size=1000)
    power = np.mean([mcnemar(lost, gained) < 0.05 for lost, gained, _ in drawn])

    assert 0.70 <= power <= 0.88  # the exact test is a little shy of the normal one the formula assumes


@pytest.mark.parametrize(
    ("flips", "says"),
    [
        ((30, 5), "worse than the teacher by 2.50 points (95 % interval"),
        ((5, 30), "better than the teacher by 2.50 points (95 % interval +"),
        ((6, 4), "no difference could be shown on 1,000 examples: -0.20 points, 95 % interval"),
        ((4, 4), "4 examples lost, 4 gained; losses and gains cancel out"),
        ((1, 0), "1 example lost, 0 gained; to show a difference of this size takes about 7,900 examples"),
        (
            (0, 0),
            "no difference: all 1,000 predictions equal those of the teacher (95 % interval -0.30 to +0.30 points)",
        ),
    ],
)
def test_the_verdict_says_in_words_what_was_and_was_not_shown(flips, says):
    lost, gained = flips

    assert says in compare(*pair(lost, gained, 1000 - lost - gained)).verdict
