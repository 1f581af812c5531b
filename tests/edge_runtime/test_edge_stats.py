import numpy as np
import pytest
from edge_runtime.edge_stats import RESOLUTION, mean_interval, paired_ratio, quantile, student, summarize, verdict
from hypothesis import given
from hypothesis import strategies as st

t = pytest.importorskip("scipy.stats").t


def noisy(rng, processes, blocks, ratio, between, within):
    """Reference and this: log-normal block noise within, and a factor of its own for each process."""
    layout = rng.normal(0, between, processes)
    reference = [5 * ratio * np.exp(f + rng.normal(0, within, blocks)) for f in layout]
    return reference, [5 * np.exp(rng.normal(0, within, blocks)) for _ in layout]


def test_twice_as_fast_is_a_ratio_of_two():
    ratio, interval = paired_ratio([[4.0, 4.2, 4.4]] * 3, [[2.0, 2.1, 2.2]] * 3)

    assert ratio == pytest.approx(2.0)
    assert interval == pytest.approx((2 * np.exp(-RESOLUTION), 2 * np.exp(RESOLUTION)))


def test_a_drift_that_hits_both_and_one_disturbed_block_change_nothing():
    drift = np.linspace(1, 3, 41)
    this = 2.0 * drift
    this[7] *= 50

    assert paired_ratio([4.0 * drift], [this])[0] == pytest.approx(2.0)


def test_same_against_same_claims_a_difference_in_at_most_one_of_twenty():
    rng = np.random.default_rng(0)

    claims = 0
    for _ in range(200):
        low, high = paired_ratio(*noisy(rng, 5, 30, 1.0, 0.01, 0.02))[1]
        claims += not low <= 1.0 <= high

    assert claims <= 18  # 10 are expected of a 95 % interval; a handful of processes that scatter by 1 % each


def test_the_interval_holds_the_truth_even_where_three_processes_differ_much_more_than_blocks():
    rng = np.random.default_rng(1)

    hits = 0
    for _ in range(300):
        low, high = paired_ratio(*noisy(rng, 3, 20, 1.3, 0.05, 0.001))[1]
        hits += low <= 1.3 <= high

    assert 0.91 <= hits / 300 <= 0.99


def test_three_percent_is_found_by_the_default_profile_in_at_least_18_of_20():
    rng = np.random.default_rng(2)

    found = 0
    for _ in range(20):
        low, _ = paired_ratio(*noisy(rng, 5, 250, 1.03, 0.006, 0.05))[1]
        found += low > 1.0

    assert found >= 18


@given(st.lists(st.lists(st.floats(0.01, 100), min_size=3, max_size=3), min_size=1, max_size=4), st.floats(0.01, 100))
def test_swapping_the_two_inverts_the_ratio_and_scaling_both_changes_nothing(blocks, factor):
    other = [[b * 2 + 0.1 for b in process] for process in blocks]
    ratio, interval = paired_ratio(blocks, other)
    scaled = [[b * factor for b in process] for process in blocks], [[b * factor for b in process] for process in other]

    assert interval is None or interval[0] < ratio < interval[1]
    assert paired_ratio(other, blocks)[0] == pytest.approx(1 / ratio)
    assert paired_ratio(*scaled)[0] == pytest.approx(ratio)


def test_the_interval_is_students_over_processes_against_scipy():
    values = [0.11, 0.09, 0.14, 0.12, 0.10]
    blocks = [[np.exp(v)] * 3 for v in values]
    want = t.interval(0.95, 4, loc=np.mean(values), scale=np.std(values, ddof=1) / np.sqrt(5))

    ratio, interval = paired_ratio(blocks, [[1.0] * 3] * 5)

    assert ratio == pytest.approx(np.exp(0.112))
    assert interval == pytest.approx(np.exp(want), rel=1e-3)
    assert mean_interval(values)[1] == pytest.approx(want, rel=1e-3)


def test_students_points_are_scipys():
    for freedom in (1, 2, 4, 10, 11, 29, 100):
        assert student(freedom) == pytest.approx(t.ppf(0.975, freedom), rel=0.001)


def test_one_process_gives_a_ratio_without_an_interval_and_no_verdict():
    ratio, interval = paired_ratio([[2.0, 2.0]], [[1.0, 1.0]])

    assert (ratio, interval) == (2.0, None)
    assert verdict(ratio, interval) == "one process says nothing about a difference"


def test_processes_that_agree_by_chance_do_not_claim_a_difference_below_the_resolution():
    low, high = paired_ratio([[1.001, 1.001]] * 5, [[1.0, 1.0]] * 5)[1]

    assert low < 1.0 < high


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), st.floats(0, 1))
def test_quantiles_are_numpys(values, share):
    assert quantile(values, share) == pytest.approx(np.quantile(values, share), rel=1e-9, abs=1e-6)


def timed(blocks, *, runs=2000, seconds=10.0, p99=3.0):
    return {"blocks_ms": blocks, "runs": runs, "timed_s": seconds, "cpu_s": 4.0, "p90_ms": 2.0, "p99_ms": p99}


def test_figures_from_raw_processes():
    start = {"load_ms": 50.0, "first_ms": 2.0, "peak_memory_bytes": 100}
    starts = [start, {**start, "load_ms": 60.0, "peak_memory_bytes": 300}, {**start, "load_ms": 90.0}]
    throughput = {"batch": 8, "inferences": 900, "seconds": 3.0}
    model = {"processes": [timed([1.0, 1.1, 5.0])] * 4 + [timed([1.2, 1.3, 1.4], seconds=12.0)],
             "starts": starts, "throughput": throughput}  # fmt: skip

    found = summarize(model)

    assert (found["p50_ms"], found["p90_ms"], found["p99_ms"]) == (1.1, 2.0, 3.0)
    assert found["process_p50_ms"] == [1.1, 1.1, 1.1, 1.1, 1.3]
    assert found["spread"] == pytest.approx(0.2 / 1.1)
    assert (found["single_stream_ms"], found["mlperf_tiny"]) == (5.0, True)
    assert found["cpu_ms"] == pytest.approx(2.0)
    assert (found["load_ms"], found["first_ms"], found["peak_memory_bytes"]) == (60.0, 2.0, 300)
    assert found["throughput_per_s"] == 300.0


def test_a_99th_percentile_and_mlperfs_rule_need_their_samples_in_every_process():
    fine, short = timed([1.0]), timed([1.0], runs=999, seconds=9.9, p99=None)

    found = summarize({"processes": [fine] * 4 + [short], "starts": [], "throughput": None})

    assert [found[k] for k in ("p99_ms", "mlperf_tiny", "load_ms", "throughput_per_s")] == [None, False, None, None]
