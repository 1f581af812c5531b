"""Sensor windows, and models of somebody else's that take arrays by name."""

import json

import edge_runtime
import numpy as np
import pytest
from edge_runtime import BundleError, InputError
from edge_runtime.files import file_info, npz_bytes
from edge_runtime.kinds import preprocessing_from_json
from edge_runtime.manifest import Manifest, ModelFile, SelfTest, TensorInfo, write_manifest
from edge_runtime.reference import pack_inputs, pack_outputs
from edge_runtime.tensors import TensorsPreprocessing
from edge_runtime.window import WindowPreprocessing
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from tests.edge_runtime.engines_here import with_onnx

onnx = pytest.importorskip("onnx", reason="no onnx, with which these tests make their models")
TensorProto, helper, numpy_helper = onnx.TensorProto, onnx.helper, onnx.numpy_helper

WINDOW = WindowPreprocessing(length=6, channels=2, scale=0.5, mean=(1.0, -1.0), std=(2.0, 0.5))
WEIGHT = np.random.default_rng(1).normal(size=(12, 3)).astype(np.float32)
RAW = np.random.default_rng(2).normal(size=(5, 6, 2))


@given(raw=nps.arrays(np.float32, (2, 6, 2), elements=st.floats(-1e6, 1e6, width=32)))
def test_windows_become_channel_first_by_the_formula(raw):
    found = WINDOW(raw)

    assert (found.shape, found.dtype, found.flags.c_contiguous) == ((2, 2, 1, 6), np.float32, True)
    for i in range(2):
        plain = (raw[:, :, i] * np.float32(0.5) - np.float32(WINDOW.mean[i])) / np.float32(WINDOW.std[i])
        assert np.array_equal(found[:, i, 0], plain)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (np.zeros((1, 5, 2)), r"examples of shape \(5, 2\)\n  fix: this model takes \(6, 2\) windows: 6 readings of 2"),
        (np.zeros((1, 2, 6)), r"examples of shape \(2, 6\)"),
        (np.zeros((6, 2)), r"examples of shape \(2,\)"),
        (np.zeros((0, 6, 2)), "an empty array"),
        (np.full((2, 6, 2), np.nan), "example 0 of 2 holds NaN"),
        (np.full((1, 6, 2), 1e39), "too large"),
        (np.zeros((1, 6, 2), bool), "an array of dtype bool"),
    ],
)
def test_what_is_no_window_is_refused(raw, message):
    with pytest.raises(InputError, match=message):
        WINDOW(raw)


def window_model():
    nodes = [helper.make_node("Flatten", ["input"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["logits"])]
    graph = helper.make_graph(
        nodes,
        "window",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 2, 1, 6])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(WEIGHT, "w")],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)]).SerializeToString()


def write(folder, task, labels, preprocessing, entry, model, arrays, tolerance=1e-4):
    folder.mkdir()
    files = {"model.onnx": model, "reference.npz": npz_bytes(arrays)}
    for path, data in files.items():
        (folder / path).write_bytes(data)
    infos = {path: file_info(data) for path, data in files.items()}
    test = SelfTest("reference.npz", 1.0, tolerance)
    write_manifest(folder, Manifest("given", "tests", task, labels, preprocessing, (entry,), infos, test))
    return folder


def sensor_bundle(folder):
    entry = ModelFile(
        "onnx", "model.onnx", "float32", (TensorInfo("input", (2, 1, 6), "NCHW"),), (TensorInfo("logits", (3,)),)
    )
    logits = WINDOW(RAW).reshape(5, 12) @ WEIGHT
    arrays = {"inputs": RAW, "logits_onnx": logits.astype(np.float32)}
    labels = ("walk", "run", "rest")
    return write(folder, "sensor-classification", labels, WINDOW, entry, window_model(), arrays)


@pytest.fixture
def sensor(tmp_path):
    return sensor_bundle(tmp_path / "sensor")


@with_onnx
def test_a_model_of_windows_takes_arrays_lists_npy_and_csv(sensor, tmp_path):
    model = edge_runtime.load(sensor)
    np.save(tmp_path / "w.npy", RAW[1])
    rows = "\n".join(f"{a!r},{b!r}" for a, b in RAW[1].tolist())
    (tmp_path / "w.csv").write_text(rows)
    (tmp_path / "named.csv").write_text("left;right\n" + rows.replace(",", ";") + "\n")
    expected = model.predict(RAW[1]).scores

    assert model.check().ok
    for same in (RAW[1].tolist(), tmp_path / "w.npy", tmp_path / "w.csv", str(tmp_path / "named.csv")):
        assert np.array_equal(model.predict(same).scores, expected)
    assert len(model.predict_batch(RAW)) == 5


@with_onnx
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"a,b\n", "not a table of numbers"),
        (b"1,2\n3\n", "not a table of numbers"),
        (b"1,2\n" * 5, r"examples of shape \(5, 2\)"),
        (b"nan,2\n" * 6, "holds NaN"),
        (b"\xff\xfe1,2", "not UTF-8"),
    ],
)
def test_a_csv_file_that_is_no_window_is_named(sensor, tmp_path, content, message):
    (tmp_path / "x.csv").write_bytes(content)

    with pytest.raises(InputError, match=message):
        edge_runtime.load(sensor).predict(tmp_path / "x.csv")


# --- tensors ---

TENSORS = TensorsPreprocessing(("x", "state", "rate"), ((None, 4), (2,), ()), ("float32", "float32", "int64"))


def tensors_model():
    """out = x * rate; state_out = state + 1."""
    nodes = [
        helper.make_node("Cast", ["rate"], ["r"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "r"], ["out"]),
        helper.make_node("Add", ["state", "one"], ["state_out"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tensors",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4]),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [2]),
            helper.make_tensor_value_info("rate", TensorProto.INT64, []),
        ],
        [
            helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 4]),
            helper.make_tensor_value_info("state_out", TensorProto.FLOAT, [2]),
        ],
        [numpy_helper.from_array(np.float32([1]), "one")],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)]).SerializeToString()


def example(n=3):
    x = np.arange(n * 4, dtype=np.float32).reshape(n, 4)
    return {"x": x, "state": np.float32([5, 6]), "rate": np.int64(3)}


def given_bundle(folder, outputs=None):
    shapes = {"x": (None, 4), "state": (2,), "rate": (), "out": (None, 4), "state_out": (2,)}
    tensors = {n: TensorInfo(n, s, "ANY", "int64" if n == "rate" else "float32") for n, s in shapes.items()}
    entry = ModelFile(
        "onnx",
        "model.onnx",
        "float32",
        tuple(tensors[n] for n in ("x", "state", "rate")),
        tuple(tensors[n] for n in ("out", "state_out")),
    )
    draft = Manifest("given", "tests", "tensors", (), TENSORS, (entry,), {}, SelfTest("reference.npz", 1.0, 1e-4))
    examples = [example(3), example(1)]
    right = [{"out": e["x"] * 3, "state_out": e["state"] + 1} for e in examples]
    arrays = {**pack_inputs(draft, examples), **pack_outputs(outputs or right, "onnx", ("out", "state_out"))}
    return write(folder, "tensors", (), TENSORS, entry, tensors_model(), arrays)


@with_onnx
def test_a_given_model_answers_by_name_and_passes_its_self_test(tmp_path):
    model = edge_runtime.load(given_bundle(tmp_path / "b"))

    found = model.outputs({"x": [[1, 2, 3, 4]], "state": np.float64([0, 1]), "rate": 2})

    assert {k: v.tolist() for k, v in found.items()} == {"out": [[2, 4, 6, 8]], "state_out": [1, 2]}
    report = model.check()
    assert report.ok
    assert report.message == (
        "passed: 100.0% of 2 reference examples agree (want 100.0%), values differ by at most 0 (allowed 0.0001)"
    )
    with pytest.raises(InputError, match=r"no labels(.|\n)*use outputs"):
        model.predict(example())


@with_onnx
@pytest.mark.parametrize("wrong", [{"out": np.zeros((3, 4), np.float32)}, {"out": np.zeros((2, 4), np.float32)}])
def test_canary_the_self_test_of_a_given_model_notices_other_values_and_shapes(tmp_path, wrong):
    right = [{"out": e["x"] * 3, "state_out": e["state"] + 1} for e in (example(3), example(1))]

    report = edge_runtime.load(given_bundle(tmp_path / "b", [{**right[0], **wrong}, right[1]])).check()

    assert (report.ok, report.agreement) == (False, 0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": None}, "input 'x': an array of dtype object"),
        (
            {"x": np.zeros((3, 5))},
            r"input 'x': an array of shape \(3, 5\)\n  fix: this model takes a dict of 'x'",
        ),
        ({"x": np.zeros((0, 4))}, "an array of shape"),
        ({"x": [[1, 2], [3]]}, "rows of different lengths"),
        ({"x": np.full((1, 4), np.nan)}, "NaN, infinite or too large values for float32"),
        ({"rate": 1.5}, "input 'rate': an array of dtype float64"),
        ({"rate": np.uint64(2**63)}, "too large values for int64"),
        ({"more": 1}, "unknown: 'more'"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_by_name(change, message):
    with pytest.raises(InputError, match=message):
        TENSORS({**example(), **change})


def test_a_missing_name_and_what_is_no_dict_are_refused():
    with pytest.raises(InputError, match="missing: 'rate', 'state'"):
        TENSORS({"x": np.zeros((1, 4))})
    with pytest.raises(InputError, match="got list, not a dict"):
        TENSORS([1, 2])


@pytest.mark.parametrize("dtype", ["uint8", "bool", "float64", "string", None])
def test_types_that_cannot_be_passed_through_are_refused_with_the_reason(dtype):
    with pytest.raises(BundleError, match=r"cannot be passed through, only float32, int32, int64: let the model cast"):
        TensorsPreprocessing(("x",), ((1,),), (dtype,))


@pytest.mark.parametrize("preprocessing", [WINDOW, TENSORS], ids=lambda p: p.kind)
def test_they_go_through_json(preprocessing):
    assert preprocessing_from_json(json.loads(json.dumps(preprocessing.to_json()))) == preprocessing
