import numpy as np
from edge_runtime.preprocessing import Preprocessing
from edge_runtime.statistics import Statistics
from edge_runtime.tensors import TensorsPreprocessing

from compress.export.reference import reference_statistics

VECTOR = Preprocessing("vector", length=3)


def test_inputs_come_from_training_and_answers_from_the_logits_given():
    generator = np.random.default_rng(0)
    train = generator.normal(5.0, 2.0, (500, 3)).astype(np.float32)
    logits = generator.normal(size=(80, 4)).astype(np.float32)

    found = Statistics.from_bytes(reference_statistics(VECTOR, train, logits))

    assert [f.name for f in found.inputs] == ["x0", "x1", "x2"]
    assert found.inputs[0].mean == train[:, 0].mean(dtype=np.float64)
    assert found.inputs[0].size == 500
    assert found.class_counts == tuple(np.bincount(logits.argmax(axis=1), minlength=4).tolist())


def test_much_training_data_is_thinned_evenly():
    train = np.arange(3 * 25_000, dtype=np.float32).reshape(-1, 3)

    found = Statistics.from_bytes(reference_statistics(VECTOR, train, None))

    assert found.inputs[0].size == 10_000
    assert (found.inputs[0].low, found.inputs[0].high) == (0.0, train[-1, 0])


def test_named_tensors_have_a_reference_of_answers_only_or_none():
    tensors = TensorsPreprocessing(("x",), ((None, 2),), ("float32",))

    assert reference_statistics(tensors, [], None) is None
    logits = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    found = Statistics.from_bytes(reference_statistics(tensors, [], logits))
    assert (found.inputs, sum(found.class_counts)) == ((), 9)
