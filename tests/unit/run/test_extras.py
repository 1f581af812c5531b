import sys

import pytest

from compress.errors import MissingExtraError
from compress.run.extras import require


def test_everything_is_here():
    require(["onnx", "tflite", "onnx"])


def test_all_that_lacks_is_named_at_once_with_one_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(MissingExtraError) as caught:
        require(["onnx", "tflite"])

    want = 'extras: this run needs accelerate, onnxruntime\n  fix: pip install "compress-edge[train,onnx]"'
    assert str(caught.value) == want


def test_what_the_recipe_does_not_export_is_not_wanted(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    require(["tflite"])
