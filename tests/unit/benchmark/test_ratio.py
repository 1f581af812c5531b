import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from compress.benchmark.ratio import paired_ratio, widening


def noisy(rng, processes, blocks, ratio, between, within):
    """Reference and this: log-normal block noise within, and a factor of its own for each process."""
    layout = rng.normal(0, between, processes)
    reference = [5 * ratio * np.exp(f + rng.normal(0, within, blocks)) for f in layout]
    return reference, [5 * np.exp(rng.normal(0, within, blocks)) for _ in layout]


def test_twice_as_fast_is_a_ratio_of_two():
    ratio, interval = paired_ratio([[4.0, 4.2, 4.4]] * 3, [[2.0, 2.1, 2.2]] * 3)

    assert ratio == pytest.approx(2.0)
    assert interval == pytest.approx((2.0, 2.0))


def test_a_drift_that_hits_both_and_one_disturbed_block_change_nothing():
    drift = np.linspace(1, 3, 41)
    this = 2.0 * drift
    this[7] *= 50

    assert paired_ratio([4.0 * drift], [this])[0] == pytest.approx(2.0)


def test_same_against_same_claims_a_difference_in_at_most_one_of_twenty():
    rng = np.random.default_rng(0)

    claims = 0
    for trial in range(200):
        low, high = paired_ratio(*noisy(rng, 5, 30, 1.0, 0.01, 0.02), seed=trial, resamples=300)[1]
        claims += not low <= 1.0 <= high

    assert claims <= 10


def test_the_interval_holds_the_truth_even_where_three_processes_differ_much_more_than_blocks():
    rng = np.random.default_rng(1)

    hits = 0
    for trial in range(300):
        low, high = paired_ratio(*noisy(rng, 3, 20, 1.3, 0.05, 0.001), seed=trial, resamples=300)[1]
        hits += low <= 1.3 <= high

    assert 0.91 <= hits / 300 <= 0.99


def test_three_percent_is_found_by_the_default_profile_in_at_least_18_of_20():
    rng = np.random.default_rng(2)

    found = 0
    for trial in range(20):
        low, _ = paired_ratio(*noisy(rng, 5, 250, 1.03, 0.006, 0.05), seed=trial, resamples=300)[1]
        found += low > 1.0

    assert found >= 18


@given(st.lists(st.lists(st.floats(0.01, 100), min_size=3, max_size=3), min_size=1, max_size=4), st.floats(0.01, 100))
def test_swapping_the_two_inverts_the_ratio_and_scaling_both_changes_nothing(blocks, factor):
    other = [[b * 2 + 0.1 for b in process] for process in blocks]
    ratio, (low, high) = paired_ratio(blocks, other, resamples=50)
    scaled = [[b * factor for b in process] for process in blocks], [[b * factor for b in process] for process in other]

    assert low <= high
    assert paired_ratio(other, blocks, resamples=50)[0] == pytest.approx(1 / ratio)
    assert paired_ratio(*scaled, resamples=50)[0] == pytest.approx(ratio)


def test_the_widening_is_students_over_the_normals():
    for processes in (2, 3, 5, 11, 12, 30):
        want = t.ppf(0.975, processes - 1) / 1.96 * np.sqrt(processes / (processes - 1))
        assert widening(processes) == pytest.approx(want, rel=0.01)
    assert widening(1) == 1.0
