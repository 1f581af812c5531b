import numpy as np
import pytest
from edge_runtime.features import output_features
from edge_runtime.monitor import histogram
from edge_runtime.monitor.counters import Counters
from edge_runtime.monitor.drift import Detector, ks, normal_quantile, psi, psi_by_chance
from edge_runtime.monitor.watcher import Watcher

stats = pytest.importorskip("scipy.stats")


def test_psi_is_the_sum_of_both_divergences():
    p, q = np.array([100, 300, 600]), np.array([300, 300, 400])
    a, b = (p + 0.5) / 1001.5, (q + 0.5) / 1001.5

    assert psi(p, q) == pytest.approx(stats.entropy(a, b) + stats.entropy(b, a))
    assert psi(p, q * 10) == pytest.approx(psi(p, q), abs=2e-3)


def test_the_chance_limit_of_psi_is_crossed_as_often_as_it_says():
    generator = np.random.default_rng(0)
    n, m, trials = 2000, 500, 4000
    reference = generator.multinomial(n, [0.1] * 10, trials)
    current = generator.multinomial(m, [0.1] * 10, trials)

    over = np.mean([psi(p, q) > psi_by_chance(p, m, 0.05) for p, q in zip(reference, current, strict=True)])

    assert 0.03 < over < 0.07


def test_ks_of_binned_values_agrees_with_scipy_on_values_in_few_steps():
    generator = np.random.default_rng(1)
    a, b = generator.integers(0, 10, 800, np.intp), generator.integers(0, 9, 300, np.intp)

    distance, p_value = ks(np.bincount(a, minlength=10), np.bincount(b, minlength=10))

    found = stats.ks_2samp(a, b, method="asymp")
    assert distance == pytest.approx(found.statistic)
    assert p_value == pytest.approx(found.pvalue, rel=0.25)
    assert ks([5, 5], [0, 0]) == (0.0, 1.0)


@pytest.mark.parametrize("probability", [1e-6, 0.01, 0.5, 0.9, 0.999999])
def test_normal_quantile(probability):
    assert normal_quantile(probability) == pytest.approx(stats.norm.ppf(probability), abs=1e-8)


def test_every_bet_is_at_most_fair_on_the_reference(statistics):
    """The premise of the bound on false alarms: no process is expected to grow."""
    detector = Detector(statistics, 1e6)
    for i, f in enumerate(statistics.features):
        p = (np.array(f.counts) + 0.5) / (sum(f.counts) + 0.5 * len(f.counts))
        factors = np.exp(detector._table[i, : len(p)].astype(np.float64))
        assert (p @ factors <= 1.0).all(), f.name


def test_the_batched_recursion_is_pages_one_by_one(statistics, digits):
    whole, single = Detector(statistics, 1e15), Detector(statistics, 1e15)  # out of reach
    watcher = Watcher(statistics, false_alarm_every=1e6, window=100)
    features = np.concatenate([statistics.describe(digits.x), output_features(digits.logits)], axis=1)
    bins = np.column_stack([e.searchsorted(features[:, i], "right") for i, e in enumerate(watcher._edges)])
    classes = digits.logits.argmax(axis=1)

    gains = whole._table[whole._rows, bins].reshape(len(bins), -1)
    gains = np.concatenate([gains, whole._class_table[whole._group[classes]]], axis=1)
    by_hand, top = np.zeros(gains.shape[1]), []
    for gain in gains[:300]:
        by_hand = np.maximum(0, by_hand + gain)
        top.append(by_hand.max())
    highest = max(whole.update(bins[i : i + 50], classes[i : i + 50]) for i in range(0, 300, 50))
    one_by_one = max(single.update(bins[i : i + 1], classes[i : i + 1]) for i in range(300))

    assert highest * whole.threshold == pytest.approx(max(top), rel=1e-5)
    assert one_by_one * whole.threshold == pytest.approx(max(top), rel=1e-5)


def run(statistics, digits, n, *, change=lambda x: x, picked=None, seed=0):
    """Examples until the alarm, or None within n."""
    watcher = Watcher(statistics, false_alarm_every=1e6, window=500)
    counters = Counters.like(statistics)
    generator = np.random.default_rng(seed)
    for start in range(0, n, 50):
        rows = generator.integers(0, 1000, 50) if picked is None else generator.choice(picked, 50)
        x = change(digits.x[rows])
        logits = digits.answer(x)
        watcher.take(list(x), (output_features(logits), logits.argmax(axis=1)), counters)
        if watcher.detector.level >= 1:
            return start + 50
    return None


def test_an_unchanged_stream_stays_calm(statistics, digits):
    assert run(statistics, digits, 20_000) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda x: np.rot90(x, axes=(2, 3)),
        lambda x: x * 0.7,
        lambda x: x + np.random.default_rng(0).normal(0, 0.4, x.shape),
    ],
    ids=["rotated", "darker", "noisy"],
)
def test_a_changed_stream_raises_the_alarm_within_500(statistics, digits, change):
    delay = run(statistics, digits, 2000, change=lambda x: change(x).astype(np.float32))

    assert delay is not None
    assert delay <= 500


def test_another_class_mix_raises_the_alarm(statistics, digits):
    of_two = np.flatnonzero(np.isin(digits.y[:1000], (3, 8)))

    delay = run(statistics, digits, 2000, picked=of_two)

    assert delay is not None
    assert delay <= 500


def test_histogram_quantiles_are_within_a_bucket():
    values = np.random.default_rng(0).lognormal(0, 1, 20_000)
    counts = histogram.buckets(values)

    for share in (0.01, 0.5, 0.9, 0.99):
        assert histogram.quantile_ms(counts, share) == pytest.approx(np.quantile(values, share), rel=0.13)
    assert np.isnan(histogram.quantile_ms(histogram.buckets([]), 0.5))
    assert histogram.buckets([0.0, 1e9]).sum() == 2
