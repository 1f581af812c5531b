"""Data from a user's function: arrays, texts, groups, and a clear answer to anything else."""

import sys

import pytest

from compress.data.sources import open_data
from compress.errors import DataError, FactoryError
from compress.factory import allowing_code
from compress.readers import python
from compress.recipe.facts import DataShape, data_shape
from compress.recipe.schema import DataConfig

MODULE = """
import numpy as np
import torch

def images(count=60, **more):
    x = np.random.default_rng(0).integers(0, 255, (count, 4, 4), dtype=np.uint8)
    return {"x_train": x, "y_train": np.arange(count) % 3, **more}

def tensors():
    return {"x_train": torch.randn(60, 8, 2), "y_train": torch.arange(60) % 3, "group": np.arange(60) // 3,
            "classes": ["a", "b", "c"]}

def texts():
    return {"x_train": ["good", "bad"] * 20, "y_train": [1, 0] * 20}

def ragged():
    return {"x_train": [[1, 2], [3]], "y_train": [0, 1]}

def half():
    return images(x_test=np.zeros((3, 4, 4), np.uint8))

def objects():
    return {"x_train": np.array([None, 3]), "y_train": [0, 1]}

def strange():
    return images(x_tset=3)

def scaled():
    return images(scale=-1)

def pair():
    return np.zeros((3, 2)), np.zeros(3)

def negative():
    return {"x_train": np.zeros((3, 2)), "y_train": [0.5, 1.0, 2.0]}
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data_of_mine.py").write_text(MODULE)
    python._read.cache_clear()

    def call(function, task="image-classification", **args):
        config = DataConfig(python=f"data_of_mine:{function}", args=args)
        with allowing_code():
            shape = data_shape(config, task)
            handle = open_data(config, 0, task)
        return shape, handle

    yield call
    sys.modules.pop("data_of_mine", None)


def test_arrays_become_splits_and_the_fingerprint_is_theirs(load):
    shape, handle = load("images")
    data = handle.load()

    assert shape == DataShape((1, 4, 4), 3)
    assert (len(data.train), len(data.validation), len(data.test), data.classes) == (42, 6, 12, ("0", "1", "2"))
    assert load("images", count=61)[1].fingerprint != handle.fingerprint == load("images")[1].fingerprint


def test_tensors_of_windows_are_split_by_group(load):
    shape, handle = load("tensors", "sensor-classification")
    data = handle.load()

    assert (shape, data.input_shape, data.classes) == (DataShape((2, 1, 8), 3), (2, 1, 8), ("a", "b", "c"))
    assert not set(data.train.group.tolist()) & set(data.test.group.tolist())


def test_lists_of_texts_are_texts(load):
    shape, handle = load("texts", "text-classification")
    assert (shape.is_text, shape.max_length) == (True, 128)
    with pytest.raises(DataError, match="it returned texts, the task is image-classification"):
        load("texts")
    assert (shape.input_shape, set(handle.load().test.x)) == ((), {"good", "bad"})


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("ragged", "x_train makes no array"),
        ("half", "returned only one of x_test and y_test"),
        ("objects", r"x_train is object of shape \(2,\)"),
        ("strange", "it returned x_train, y_train, x_tset"),
        ("scaled", "scale is -1"),
        ("pair", "it returned tuple"),
    ],
)
def test_what_it_returns_wrongly_is_named(load, function, message):
    with pytest.raises(FactoryError, match=message) as caught:
        load(function)
    assert caught.value.where == f"data.python data_of_mine:{function}"


def test_labels_that_are_no_whole_numbers_are_refused(load):
    with pytest.raises(DataError, match=r"y_train is float64 of shape \(3,\)"):
        load("negative")
