"""One file on several CPUs: the verdict, the examples, and a file that really saturates under emulated Haswell."""

import json
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
from edge_runtime.files import file_info, write_npz
from edge_runtime.manifest import Manifest, ModelFile, SelfTest, TensorInfo, write_manifest
from edge_runtime.preprocessing import Preprocessing
from onnx import TensorProto, helper, numpy_helper

from compress.emulation.cpus import CPUS
from compress.errors import DataError, ModelError
from compress.report.text.verify import markdown
from compress.verified import VerifyReport
from compress.verify.examples import load_examples, open_bundle
from compress.verify.verify import judge, verify_bundle

WIDE = 256
needs_qemu = pytest.mark.skipif(shutil.which("qemu-x86_64-static") is None, reason="qemu-user-static is not installed")


def int8_bundle(folder, largest):
    """One integer Gemm, two classes: `up` wins by 4 %, but with weights of 127 its pairs overflow on AVX2."""
    rng = np.random.default_rng(1)
    weights = np.zeros((2, WIDE), np.int8)
    weights[0, 0::4] = weights[0, 1::4] = largest  # neighbours: their products are added in 16 bits
    weights[1, 0::2] = largest * 24 // 25  # alone in their pairs, and a little less in sum
    w_scale = np.full(2, 1.27 / largest / WIDE, np.float32)
    constants = {"xs": np.float32(1 / 255), "xz": np.uint8(0), "w": weights, "ws": w_scale, "wz": np.zeros(2, np.int8),
                 "ys": np.float32(1 / 64), "yz": np.uint8(128), "b": np.zeros(2, np.int32),
                 "bs": (w_scale / 255).astype(np.float32), "bz": np.zeros(2, np.int32)}  # fmt: skip
    node = helper.make_node
    nodes = [node("Flatten", ["input"], ["flat"]), node("QuantizeLinear", ["flat", "xs", "xz"], ["xq"]),
             node("DequantizeLinear", ["xq", "xs", "xz"], ["x"]),
             node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
             node("DequantizeLinear", ["b", "bs", "bz"], ["bd"], axis=0),
             node("Gemm", ["x", "wd", "bd"], ["y"], transB=1, name="the_layer"),
             node("QuantizeLinear", ["y", "ys", "yz"], ["yq"]),
             node("DequantizeLinear", ["yq", "ys", "yz"], ["logits"])]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 1, 16, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    folder.mkdir()
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    inputs = rng.integers(200, 256, (32, 16, 16), np.uint8)
    write_npz(folder / "reference.npz", {"inputs": inputs, "logits_onnx": np.zeros((32, 2), np.float32)})
    one = ModelFile("onnx", "model.onnx", "int8", (TensorInfo("input", (1, 16, 16), "NCHW"),),
                    (TensorInfo("logits", (2,)),))  # fmt: skip
    files = {n: file_info((folder / n).read_bytes()) for n in ("model.onnx", "reference.npz")}
    preprocessing = Preprocessing("image", height=16, width=16, channels=1, scale=1 / 255)
    test = SelfTest("reference.npz", 1.0, 1e-5)
    labels = ("up", "down")
    write_manifest(
        folder, Manifest("sat", "a test", "image-classification", labels, preprocessing, (one,), files, test)
    )
    return folder


@pytest.mark.parametrize(
    ("deviations", "agreement", "drop", "verdict"),
    [
        (0.0, 1.0, 0.0, "same"),
        (5e-5, 1.0, 0.0, "same"),
        (0.1, 1.0, 0.0, "within tolerance"),
        (0.1, 0.995, 0.5, "within tolerance"),
        (0.1, 0.995, 0.51, "OUT OF TOLERANCE"),
        (0.1, 0.98, -1.0, "OUT OF TOLERANCE"),
    ],
)
def test_the_verdict(deviations, agreement, drop, verdict):
    assert judge(deviations, agreement, drop, 0.5)[0] == verdict


def test_examples_come_from_npz_or_the_bundle_and_a_subset_keeps_the_classes(tmp_path):
    bundle = int8_bundle(tmp_path / "bundle", 60)
    manifest = open_bundle(bundle)
    x, y = np.zeros((50, 16, 16), np.uint8), np.repeat([0, 1], [40, 10])
    np.savez(tmp_path / "d.npz", x=x, y=y)

    some = load_examples(bundle, manifest, tmp_path / "d.npz", 10)
    own = load_examples(bundle, manifest, None, None)

    assert (len(some), some.of, np.bincount(some.y).tolist()) == (10, 50, [8, 2])
    assert (len(own), own.y) == (32, None)


def test_data_that_does_not_fit_is_refused_in_words(tmp_path):
    bundle = int8_bundle(tmp_path / "bundle", 60)
    manifest = open_bundle(bundle)
    x = np.zeros((4, 16, 16), np.uint8)
    for name, arrays, message in [
        ("labels", {"x": x, "y": np.array([0, 1, 2, 0])}, "labels reach from 0 to 2, the bundle has 2 classes"),
        ("short", {"x": x, "y": np.array([0, 1])}, "want one whole number for each x"),
        ("names", {"a": x}, "no array x or x_test"),
        ("empty", {"x": x[:0]}, "there are no examples"),
    ]:
        np.savez(tmp_path / f"{name}.npz", **arrays)
        with pytest.raises(DataError, match=message):
            load_examples(bundle, manifest, tmp_path / f"{name}.npz", None)
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(DataError, match="it cannot be read"):
        load_examples(bundle, manifest, tmp_path / "text.npz", None)
    with pytest.raises(DataError, match="there is no such file"):
        load_examples(bundle, manifest, tmp_path / "none.npz", None)
    with pytest.raises(ModelError):
        open_bundle(tmp_path)


@needs_qemu
@pytest.mark.slow
def test_a_file_that_saturates_is_found_with_its_layer_and_remedy_and_seven_bits_mend_it(tmp_path):
    cpus = (CPUS["haswell"], CPUS["nehalem"])

    bad = verify_bundle(int8_bundle(tmp_path / "bad", 127), cpus)
    good = verify_bundle(int8_bundle(tmp_path / "good", 63), cpus[:1])

    haswell, nehalem = bad.rows
    assert not bad.ok
    assert (haswell.verdict, nehalem.verdict) == ("OUT OF TOLERANCE", "same")
    assert (haswell.first_layer.name, haswell.first_layer.operator) == ("the_layer", "Gemm")
    assert "weight_bits: 7" in haswell.remedy
    assert [r.label for r in bad.rows] == ["emulated", "emulated"]
    assert good.ok
    assert [r.verdict for r in good.rows] == ["same"]
    assert VerifyReport.model_validate_json(bad.model_dump_json()) == bad
    assert "| model.onnx | haswell | – | – |" in markdown(bad)


@needs_qemu
@pytest.mark.slow
def test_the_command_exits_with_3_and_writes_what_it_found(tmp_path):
    bundle = int8_bundle(tmp_path / "bad", 127)
    command = [sys.executable, "-m", "compress", "verify", str(bundle), "--cpu", "haswell", "--out", "r.json"]

    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    assert done.returncode == 3, done.stderr
    assert "OUT OF TOLERANCE" in done.stdout
    assert json.loads((tmp_path / "r.json").read_text())["rows"][0]["remedy"]
    for wrong, message in ((["--cpu", "max"], "is not offered"), (["--out", "x.txt"], "neither .json nor .md")):
        refused = subprocess.run([*command[:5], *wrong], capture_output=True, text=True, cwd=tmp_path)
        assert refused.returncode == 2
        assert message in refused.stderr
