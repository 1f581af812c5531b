import numpy as np
import pytest
from edge_runtime.queue.select import novelty, pick, standardized, uncertainty
from hypothesis import given, settings
from hypothesis import strategies as st

softmax = pytest.importorskip("scipy.special").softmax


def test_margin_and_entropy_are_what_the_literature_calls_them():
    logits = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32) * 3
    p = np.sort(softmax(logits.astype(np.float64), axis=1), axis=1)

    assert uncertainty(logits) == pytest.approx(1 - (p[:, -1] - p[:, -2]), abs=1e-5)
    assert uncertainty(logits, "entropy") == pytest.approx(-(p * np.log(p)).sum(axis=1) / np.log(4), abs=1e-4)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 5), st.integers(1, 4), st.integers(0, 1000))
def test_pick_gives_so_many_different_ones_best_first(count, n, d, spread, seed):
    generator = np.random.default_rng(seed)
    scores, z = generator.uniform(size=n).astype(np.float32), generator.normal(size=(n, d)).astype(np.float32)

    found = pick(scores, z, count, spread=spread)

    assert len(found) == min(count, n) == len(set(found.tolist()))
    assert (np.diff(scores[found]) <= 0).all()
    assert found.tolist() == pick(scores, z, count, spread=spread).tolist()


def test_one_scene_does_not_fill_the_choice():
    scene = np.random.default_rng(0).normal(size=(100, 3)) * 0.01
    others = np.random.default_rng(1).normal(size=(20, 3)) * 5
    z = np.concatenate([scene, others]).astype(np.float32)
    scores = np.r_[np.full(100, 0.9), np.full(20, 0.8)].astype(np.float32)

    assert (pick(scores, z, 10, spread=1) < 100).all()
    assert (pick(scores, z, 10, spread=12) >= 100).sum() >= 8


def test_novel_is_what_the_reference_has_not(statistics, digits):
    from edge_runtime.features import output_features

    def far(x):
        features = np.concatenate([statistics.describe(x), output_features(digits.answer(x))], axis=1)
        return novelty(standardized(features, statistics)[:, : len(statistics.inputs)])

    usual, upside_down = far(digits.x[:500]), far(1 - digits.x[:500])

    assert np.median(usual) == pytest.approx(1.0, abs=0.3)
    assert np.quantile(upside_down, 0.05) > np.quantile(usual, 0.95)
