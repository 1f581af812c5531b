"""Bundles are whole, run where they were made, and replace each other without a half state."""

import json
import os

import edge_runtime
import numpy as np
import pytest
from edge_runtime.preprocessing import Preprocessing

from compress.errors import ExportError
from compress.export.bundle import write_bundle
from compress.export.onnx import to_onnx
from compress.export.tflite import to_tflite
from tests.unit.export.nets import Net, dynamic, inputs, quantized
from tests.unit.export.reference import logits


def net():
    n = Net(1, 6, 6)
    n.conv(4, 3, 2, 1)
    n.add("relu")
    n.add("global_avg_pool")
    n.linear(3)
    return n.model()


RAW = np.random.default_rng(0).integers(0, 256, (6, 6, 6), dtype=np.uint8)
PREPROCESSING = Preprocessing("image", height=6, width=6, channels=1, scale=1 / 255, mean=(0.5,), std=(0.25,))


def write(folder, model, *, formats=("onnx", "tflite"), precision="int8", labels=("a", "b", "c")):
    exports = {"onnx": to_onnx, "tflite": to_tflite}
    files = {k: exports[k](model, name="net") for k in formats}
    return write_bundle(
        folder, name="net", task="image-classification", labels=labels, preprocessing=PREPROCESSING, files=files,
        precision=precision, reference_inputs=RAW,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("make", "precision"),
    [(lambda m: m, "float32"), (lambda m: quantized(m, PREPROCESSING(RAW)), "int8"), (dynamic, "dynamic-int8")],
    ids=["float32", "int8", "dynamic-int8"],
)
def test_every_precision_runs_and_passes_its_own_check(tmp_path, make, precision):
    model = make(net())
    manifest = write(tmp_path / "b", model, precision=precision)
    assert edge_runtime.manifest.read_manifest(tmp_path / "b") == manifest
    want = logits(model, PREPROCESSING(RAW))
    for engine in ("onnx", "tflite"):
        with edge_runtime.load(tmp_path / "b", engine=engine) as loaded:
            report = loaded.check()
            assert report.ok
            assert report.largest_difference == 0.0
            tolerance = max(0.03, 2 * manifest.self_test.largest_difference)
            np.testing.assert_allclose(loaded.logits(RAW), want, atol=tolerance)
            one_by_one = np.concatenate([loaded.logits(RAW[i : i + 1]) for i in range(len(RAW))])
            np.testing.assert_allclose(loaded.logits(RAW), one_by_one, atol=1e-5)  # whatever shared their batch


def test_the_self_test_notices_another_model_and_allows_two_steps(tmp_path):
    model = quantized(net(), PREPROCESSING(RAW))
    manifest = write(tmp_path / "b", model)
    step = float(model.weights[f"{model.graph.output}.scale"])
    assert manifest.self_test.largest_difference == pytest.approx(2.5 * step)
    assert 0.0 <= manifest.self_test.agreement <= 1.0
    other = {**model.weights, "conv2d1.weight": -model.weights["conv2d1.weight"]}
    write(tmp_path / "other", type(model)(model.graph, other))
    first, second = (json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("b", "other"))
    second["files"]["reference.npz"] = first["files"]["reference.npz"]
    (tmp_path / "other" / "reference.npz").write_bytes((tmp_path / "b" / "reference.npz").read_bytes())
    (tmp_path / "other" / "manifest.json").write_text(json.dumps(second))
    with edge_runtime.load(tmp_path / "other") as loaded:
        assert not loaded.check().ok


def test_equal_content_gives_equal_bytes_and_leaves_nothing_else(tmp_path):
    model = quantized(net(), inputs(net()))
    for name in ("a", "b"):
        write(tmp_path / name, model)
    names = ["manifest.json", "model.onnx", "model.tflite", "reference.npz"]
    assert sorted(os.listdir(tmp_path / "a")) == names
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_bundle_is_replaced_whole(tmp_path):
    write(tmp_path / "b", net(), precision="float32")
    write(tmp_path / "b", quantized(net(), inputs(net())), formats=("onnx",))
    assert sorted(os.listdir(tmp_path / "b")) == ["manifest.json", "model.onnx", "reference.npz"]
    assert os.listdir(tmp_path) == ["b"]


def test_a_bundle_that_cannot_be_made_leaves_the_old_one(tmp_path):
    write(tmp_path / "b", net(), precision="float32")
    before = (tmp_path / "b" / "manifest.json").read_bytes()
    with pytest.raises(ExportError, match=r"shape \[3\].*2 labels"):
        write(tmp_path / "b", net(), precision="float32", labels=("a", "b"))
    assert (tmp_path / "b" / "manifest.json").read_bytes() == before
    assert os.listdir(tmp_path) == ["b"]


@pytest.mark.parametrize("files", [{}, {"gguf": b""}])
def test_formats_that_a_bundle_cannot_hold(tmp_path, files):
    with pytest.raises(ExportError, match=r"a bundle cannot hold (no model|gguf)\n  fix: give onnx and/or tflite"):
        write_bundle(
            tmp_path / "b", name="n", task="classification", labels=["a"], preprocessing=PREPROCESSING, files=files,
            precision="int8", reference_inputs=RAW,
        )  # fmt: skip
    assert os.listdir(tmp_path) == []


def test_a_file_that_does_not_run_is_no_bundle(tmp_path):
    data = to_tflite(net(), name="m")
    with pytest.raises(ExportError, match=r"bundle b: .*model.tflite"):
        write_bundle(
            tmp_path / "b", name="n", task="classification", labels=["a", "b", "c"], preprocessing=PREPROCESSING,
            files={"tflite": data.replace(b"TFL3", b"TFL9")}, precision="float32", reference_inputs=RAW,
        )  # fmt: skip
