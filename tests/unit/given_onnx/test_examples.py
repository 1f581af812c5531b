"""Calibration data as people hand it over: named wrongly, shaped wrongly, with NaN, too little."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.errors import DataError
from compress.given_onnx.examples import read_examples, split
from compress.onnx_file.signature import Signature, Tensor

IMAGE = Signature((Tensor("x", "float32", (None, 3, 4)),), (Tensor("y", "float32", (None, 5)),))
STATE = Signature(
    (Tensor("x", "float32", (None, 6)), Tensor("state", "float32", (2, None, 8)), Tensor("rate", "int64", ())),
    (Tensor("y", "float32", (None, 1)), Tensor("state2", "float32", (2, None, 8))),
)


def write(tmp_path, **arrays):
    path = tmp_path / "d.npz"
    np.savez(path, **arrays)
    return path


def floats(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_rows_get_a_batch_of_one_whatever_the_array_is_called(tmp_path):
    x = floats(10, 3, 4)

    found = read_examples(write(tmp_path, anything=x), IMAGE)

    assert found.count == 10
    assert found.feed(3)["x"].shape == (1, 3, 4)
    assert np.array_equal(found.feed(3)["x"][0], x[3])


def test_whole_inputs_shared_values_and_fixed_inputs(tmp_path):
    path = write(tmp_path, x=floats(9, 6), state=floats(9, 2, 1, 8), rate=np.array(16000), junk=np.zeros(3))

    found = read_examples(path, STATE, fixed=["junk"])

    assert {k: v.shape for k, v in found.feed(0).items()} == {"x": (1, 6), "state": (2, 1, 8), "rate": ()}
    assert set(found.shared) == {"rate"}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": floats(9, 6), "y": floats(9, 6)}, "no array for input rate, state; the model has no input y"),
        ({"x": floats(9, 6), "state": floats(9, 2, 1, 8), "rate": np.array(1.0)},
         "it is float64, the model takes int64"),
        ({"x": floats(9, 7), "state": floats(9, 2, 1, 8), "rate": np.array(1)},
         r"its shape is \(9, 7\), the model takes x float32 \[\?, 6\]\n  fix: give x float32 \[n, 6\]"),
        ({"x": floats(9, 6), "state": floats(8, 2, 1, 8), "rate": np.array(1)}, "different lengths: x 9, state 8"),
        ({"x": floats(0, 6), "state": floats(9, 2, 1, 8), "rate": np.array(1)}, "it is empty"),
    ],
    ids=["name", "dtype", "shape", "lengths", "empty"],
)  # fmt: skip
def test_arrays_that_do_not_fit_the_inputs(tmp_path, arrays, message):
    with pytest.raises(DataError, match=message):
        read_examples(write(tmp_path, **arrays), STATE)


def test_too_few_all_alike_constant_and_nan(tmp_path):
    one, x = floats(1, 3, 4), floats(16, 3, 4)
    with pytest.raises(DataError, match="1 example; at least 8 are wanted"):
        read_examples(write(tmp_path, x=one), IMAGE)
    with pytest.raises(DataError, match="its 16 examples are all alike"):
        read_examples(write(tmp_path, x=np.repeat(one, 16, axis=0)), IMAGE)
    with pytest.raises(DataError, match="its 16 examples are all alike"):
        read_examples(write(tmp_path, x=np.zeros_like(x)), IMAGE)
    x[3, 0, 0], x[4, 0, 0] = np.nan, np.inf
    with pytest.raises(DataError, match=r"2 of its 192 values are NaN or infinite"):
        read_examples(write(tmp_path, x=x), IMAGE)


def test_files_that_are_no_npz(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 broken")
    np.save(tmp_path / "b.npy", floats(9, 3, 4))
    np.savez(tmp_path / "c.npz", x=np.array([{}, []], dtype=object))
    for name, message in (("a.npz", r"it is no \.npz\n"), ("b.npy", "a single array"), ("c.npz", "no .npz of plain"),
                          ("none.npz", "no such file")):  # fmt: skip
        with pytest.raises(DataError, match=message):
            read_examples(tmp_path / name, IMAGE)


def test_labels_inside_beside_and_wrong(tmp_path):
    x, y = floats(10, 3, 4), np.arange(10) % 5
    np.save(tmp_path / "y.npy", y)
    (tmp_path / "y.txt").write_text("\n".join(map(str, y)))

    inside = read_examples(write(tmp_path, x=x, labels=y), IMAGE).labels
    beside = [read_examples(write(tmp_path, x=x), IMAGE, tmp_path / f"y.{kind}").labels for kind in ("npy", "txt")]

    assert all(found.tolist() == y.tolist() for found in (inside, *beside))
    with pytest.raises(DataError, match="they reach from 0 to 5, the model's classes from 0 to 4"):
        read_examples(write(tmp_path, x=x, labels=np.arange(10) % 6), IMAGE)
    with pytest.raises(DataError, match=r"int64 of shape \(9,\), want 10 whole numbers"):
        read_examples(write(tmp_path, x=x, labels=y[:9]), IMAGE)
    with pytest.raises(DataError, match="the model is no plain classifier"):
        read_examples(write(tmp_path, x=floats(9, 6), state=floats(9, 2, 1, 8), rate=np.array(1), labels=y[:9]), STATE)


@settings(max_examples=50)
@given(st.integers(8, 5000), st.integers(0, 3))
def test_the_three_parts_share_no_example_and_are_never_empty(count, seed):
    parts = split(count, seed)
    every = np.concatenate([parts.calibration, parts.selection, parts.test])

    assert len(set(every.tolist())) == len(every)
    assert min(len(parts.calibration), len(parts.selection), len(parts.test)) >= 2
    assert every.max() < count
