import json
import tracemalloc

import numpy as np
import pytest
from edge_runtime.errors import BundleError
from edge_runtime.features import InputFeatures, output_features
from edge_runtime.statistics import Statistics, feature
from hypothesis import given
from hypothesis import strategies as st

special = pytest.importorskip("scipy.special")
logsumexp, softmax = special.logsumexp, special.softmax


def test_json_brings_back_the_same_reference_and_the_same_bytes(statistics):
    data = statistics.to_bytes()

    assert Statistics.from_bytes(data) == statistics
    assert Statistics.from_bytes(data).to_bytes() == data


def test_ten_deciles_hold_a_tenth_each():
    found = feature("v", np.random.default_rng(0).normal(size=5000))

    assert len(found.counts) == 10
    assert max(abs(c - 500) for c in found.counts) <= 1


def test_a_value_that_fills_many_deciles_has_a_bin_of_its_own():
    values = np.concatenate([np.zeros(800), np.linspace(1, 2, 200)])

    found = feature("corner", values)

    at = np.searchsorted(found.edges, [-0.001, 0.0, 0.001], "right")
    assert len(set(at)) == 3
    assert found.counts[at[1]] == 800


def test_rounding_moves_no_example_to_another_bin():
    values = np.concatenate([np.full(150, -0.81), np.linspace(-0.8, 2, 850)])
    found = feature("corner", values)

    for noise in (-1e-7, 0.0, 1e-7):
        moved = np.bincount(np.searchsorted(found.edges, values + noise, "right"), minlength=len(found.counts))
        assert np.abs(moved - found.counts).max() <= 1


def test_a_constant_feature_still_tells_below_from_above():
    found = feature("still", np.full(100, 7.0))

    assert found.counts == (0, 100, 0)


@pytest.mark.parametrize("shape", [(5, 1, 28, 28), (5, 3, 200, 130), (5, 1, 1, 1), (5, 2, 3, 200)])
def test_image_features_are_what_their_names_say(shape):
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    describe = InputFeatures("image", shape[1:])

    found = dict(zip(describe.names, describe(x).T, strict=True))

    thinned = x[:, :, :: -(-shape[2] // 64), :: -(-shape[3] // 64)]
    first = "level" if shape[1] == 1 else "level_0"
    assert found[first] == pytest.approx(thinned[:, 0].mean(axis=(1, 2)), abs=1e-5)
    last = next(n for n in reversed(describe.names) if n.startswith("highest"))
    assert found[last] == pytest.approx(thinned[:, -1].max(axis=(1, 2)))
    cells = [v for n, v in found.items() if n.startswith("grid")]
    assert len(cells) == min(4, thinned.shape[2]) * min(4 if shape[2] > 1 else 8, thinned.shape[3])


def test_windows_of_one_row_and_long_vectors_are_described():
    window = np.random.default_rng(2).normal(size=(4, 6, 1, 100)).astype(np.float32)
    vector = np.random.default_rng(3).normal(size=(4, 500)).astype(np.float32)
    for kind, x in (("window", window), ("vector", vector)):
        describe = InputFeatures(kind, x.shape[1:])
        assert describe(x).shape == (4, len(describe.names))
    short = InputFeatures("vector", (3,))
    assert short(vector[:, :3]).tolist() == vector[:, :3].tolist()


def test_text_features_count_words_that_training_never_saw():
    ids = np.array([[5, 6, 7, 0], [5, 99, 5000, 0], [0, 0, 0, 0]])
    describe = Statistics.of(np.array([[5, 6, 7, 0], [6, 5, 0, 0]]), None, kind="text").describe

    found = describe(ids)

    assert found[:, 0].tolist() == [3, 3, 0]
    assert found[:, 1].tolist() == pytest.approx([0, 2 / 3, 0])
    assert found[:2, 2:].sum(axis=1).tolist() == pytest.approx([1, 1])


@given(st.lists(st.lists(st.floats(-200, 200, width=32), min_size=3, max_size=3), min_size=1, max_size=5))
def test_output_features_agree_with_scipy(rows):
    logits = np.array(rows, np.float32)
    p = softmax(logits.astype(np.float64), axis=1)
    best = np.sort(p, axis=1)

    found = output_features(logits)

    assert found[:, 0] == pytest.approx(best[:, -1], abs=1e-5)
    assert found[:, 1] == pytest.approx(best[:, -1] - best[:, -2], abs=1e-5)
    entropy = -(p * np.log(np.maximum(p, 1e-300))).sum(axis=1) / np.log(3)
    assert found[:, 2] == pytest.approx(entropy, abs=1e-4)
    assert found[:, 3] == pytest.approx(logsumexp(logits.astype(np.float64), axis=1), abs=1e-3)


def test_one_class_is_certain():
    assert output_features(np.float32([[2.0]])).tolist() == [[1.0, 1.0, 0.0, 2.0]]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.update(format_version=9), "not edge-statistics of version 1"),
        (lambda d: d.update(extra=1), "unknown"),
        (lambda d: d.pop("class_counts"), "class_counts: missing"),
        (lambda d: d["input_features"][0].update(edges=[2.0, 1.0]), "want ascending numbers"),
        (lambda d: d["input_features"][0].update(counts=[1, 2]), "one more than edges"),
        (lambda d: d["input_features"].pop(), "not those of inputs.kind"),
        (lambda d: d["inputs"].update(kind="smell"), "'smell' is none of"),
        (lambda d: d["inputs"].update(seen="zz"), "hexadecimal"),
        (lambda d: d.update(confidence_counts=[]), "belong to output_features"),
        (lambda d: d["class_counts"].append(-1), "whole numbers"),
    ],
)
def test_damaged_statistics_are_refused_with_the_reason(statistics, change, says):
    doc = json.loads(statistics.to_bytes())
    change(doc)

    with pytest.raises(BundleError, match=says):
        Statistics.from_json(doc)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"format": 1}'])
def test_what_is_no_statistics_file_is_refused(data):
    with pytest.raises(BundleError):
        Statistics.from_bytes(data)


@pytest.mark.parametrize(
    ("inputs", "kind", "says"),
    [
        (np.zeros((5, 4), np.float32), "image", "image inputs of shape"),
        (np.zeros((1, 4), np.float32), "vector", "fewer than two"),
        (np.full((5, 4), np.nan, np.float32), "vector", "not finite"),
    ],
)
def test_a_reference_needs_examples_that_fit(inputs, kind, says):
    with pytest.raises(BundleError, match=says):
        Statistics.of(inputs, None, kind=kind)


@pytest.mark.parametrize(
    ("kind", "shape"), [("window", [1, 64, 1 << 24]), ("window", [1, 1, 1 << 24]), ("vector", [1 << 24])]
)
def test_a_shape_that_no_preprocessing_gives_takes_no_memory(kind, shape):
    """A few hundred bytes of a bundle must not cost gigabytes before anybody looks at the rest."""
    problems = []
    tracemalloc.start()
    InputFeatures.from_json({"kind": kind, "shape": shape, "pad_id": 0, "seen": ""}, problems)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert "shape" in problems[0]
    assert peak < 1e6
