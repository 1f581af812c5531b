"""Real bundles small enough to make and time in a moment."""

import numpy as np
import onnx
import pytest
from edge_runtime.manifest import (
    Manifest,
    ModelFile,
    SelfTest,
    TensorInfo,
    file_info,
    write_manifest,
    write_npz,
)
from edge_runtime.preprocessing import Preprocessing
from onnx import TensorProto, helper, numpy_helper


def onnx_bytes(layers):
    """A chain of matrix products 16 -> 16 -> ... -> 3 over a flattened 4x4 image."""
    rng = np.random.default_rng(0)
    nodes, weights, name = [helper.make_node("Flatten", ["input"], ["h0"])], [], "h0"
    for i in range(layers):
        wide = 3 if i == layers - 1 else 16
        weights.append(numpy_helper.from_array(rng.normal(size=(16, wide)).astype(np.float32), f"w{i}"))
        out = "logits" if i == layers - 1 else f"h{i + 1}"
        nodes.append(helper.make_node("MatMul", [name, f"w{i}"], [out]))
        name = out
    x = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 1, 4, 4])
    y = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])
    model = helper.make_model(
        helper.make_graph(nodes, "tiny", [x], [y], weights),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.checker.check_model(model)
    return model.SerializeToString()


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory):
    """make_bundle(layers) -> folder of a bundle that classifies 4x4 uint8 images into three classes."""

    def make(layers=1):
        folder = tmp_path_factory.mktemp("bundle")
        (folder / "model.onnx").write_bytes(onnx_bytes(layers))
        write_npz(
            folder / "reference.npz",
            {"inputs": np.zeros((1, 4, 4), np.uint8), "logits_onnx": np.zeros((1, 3), np.float32)},
        )
        one = ModelFile(
            "onnx",
            "model.onnx",
            "float32",
            (TensorInfo("input", (1, 4, 4), "NCHW"),),
            (TensorInfo("logits", (3,)),),
        )
        files = {name: file_info((folder / name).read_bytes()) for name in ("model.onnx", "reference.npz")}
        preprocessing = Preprocessing("image", height=4, width=4, channels=1, scale=1 / 255)
        test = SelfTest("reference.npz", 1.0, 1e-5)
        manifest = Manifest(
            "tiny", "a test", "image-classification", ("a", "b", "c"), preprocessing, (one,), files, test
        )
        write_manifest(folder, manifest)
        return folder

    return make
