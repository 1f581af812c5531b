"""Real bundles, tiny ones: a linear classifier of 4 x 5 images, as float and int8 ONNX and as float and int8 TFLite.

The four files compute `logits = W x + b` on the same grid, so their answers can be held against numpy.
"""

import ctypes
import functools
import platform

import flatbuffers
import numpy as np
import pytest
from edge_runtime.files import file_info, npz_bytes
from edge_runtime.manifest import Manifest, ModelFile, SelfTest, TensorInfo, write_manifest
from edge_runtime.preprocessing import Preprocessing

from tests.edge_runtime.engines_here import FORM

try:
    from ai_edge_litert import schema_py_generated as tfl
except ImportError:  # 32-bit ARM, where it lies alone
    import schema_py_generated as tfl
try:
    from onnx import TensorProto, helper, numpy_helper
except ImportError:
    helper = None

NO_ONNX = "there is no wheel of onnx, with which this test makes its model, for this machine"

CLASSES, HEIGHT, WIDTH = 3, 4, 5
SIZE = HEIGHT * WIDTH
LABELS = ("cat", "dog", "owl")
IN_SCALE, IN_ZERO, W_SCALE, OUT_SCALE, OUT_ZERO = 1 / 64, -64, 1 / 128, 1 / 16, 3
WEIGHT_Q = (np.arange(CLASSES * SIZE).reshape(CLASSES, SIZE) * 37 % 201 - 100).astype(np.int8)
WEIGHT = (WEIGHT_Q * W_SCALE).astype(np.float32)
BIAS = np.float32([0.5, -0.25, 0.125])
PREPROCESSING = Preprocessing("image", height=HEIGHT, width=WIDTH, channels=1, scale=1 / 255, mean=(0.5,), std=(0.5,))


def float_logits(x):
    """What every one of the files approximates; x is (n, 1, h, w) after preprocessing."""
    return x.reshape(len(x), SIZE) @ WEIGHT.T + BIAS


def onnx_model(batch="n", *, op="Gemm", bias=BIAS):
    nodes = [
        helper.make_node("Flatten", ["input"], ["flat"]),
        helper.make_node(op, ["flat", "w", "b"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 1, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, CLASSES])],
        [numpy_helper.from_array(WEIGHT, "w"), numpy_helper.from_array(bias, "b")],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)]).SerializeToString()


def onnx_uint8_model():
    """As a file whose own input is uint8: DequantizeLinear, then float."""
    nodes = [
        helper.make_node("DequantizeLinear", ["input", "s", "z"], ["real"]),
        helper.make_node("Flatten", ["real"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["logits"], transB=1),
    ]
    constants = {"s": np.float32(IN_SCALE), "z": np.uint8(IN_ZERO + 128), "w": WEIGHT, "b": BIAS}
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("input", TensorProto.UINT8, ["n", 1, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", CLASSES])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)]).SerializeToString()


def tflite_model(*, int8=False, bias=BIAS):
    """One FULLY_CONNECTED operator, NHWC input of batch 1."""
    kind = tfl.TensorType.INT8 if int8 else tfl.TensorType.FLOAT32
    bias_q = np.round(BIAS / (IN_SCALE * W_SCALE)).astype(np.int32)
    contents = [None, None, WEIGHT_Q if int8 else WEIGHT, bias_q if int8 else np.float32(bias), None]
    buffers = []
    for content in contents:
        buffer = tfl.BufferT()
        buffer.data = None if content is None else np.frombuffer(content.tobytes(), np.uint8)
        buffers.append(buffer)

    def tensor(name, shape, type_, buffer, scale, zero=0):
        out = tfl.TensorT()
        out.name, out.shape, out.type, out.buffer = name, shape, type_, buffer
        if int8:
            out.quantization = tfl.QuantizationParametersT()
            out.quantization.scale, out.quantization.zeroPoint = [scale], [zero]
        return out

    graph = tfl.SubGraphT()
    graph.tensors = [
        tensor("input", [1, HEIGHT, WIDTH, 1], kind, 1, IN_SCALE, IN_ZERO),
        tensor("w", [CLASSES, SIZE], kind, 2, W_SCALE),
        tensor("b", [CLASSES], tfl.TensorType.INT32 if int8 else kind, 3, IN_SCALE * W_SCALE),
        tensor("logits", [1, CLASSES], kind, 4, OUT_SCALE, OUT_ZERO),
    ]
    graph.inputs, graph.outputs = [0], [3]
    operator = tfl.OperatorT()
    operator.inputs, operator.outputs = [0, 1, 2], [3]
    operator.builtinOptionsType = tfl.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = tfl.FullyConnectedOptionsT()
    graph.operators = [operator]
    code = tfl.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = tfl.BuiltinOperator.FULLY_CONNECTED
    code.version = 4 if int8 else 1
    model = tfl.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], buffers
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def entry(kind):
    """The manifest's words on each of the files."""
    nhwc, nchw = ("input", (HEIGHT, WIDTH, 1), "NHWC"), ("input", (1, HEIGHT, WIDTH), "NCHW")
    logits = TensorInfo("logits", (CLASSES,))
    return {
        "onnx": ModelFile("onnx", "model.onnx", "float32", (TensorInfo(*nchw),), (logits,)),
        "onnx-uint8": ModelFile(
            "onnx", "model.onnx", "int8", (TensorInfo(*nchw, "uint8", IN_SCALE, IN_ZERO + 128),), (logits,)
        ),
        "tflite": ModelFile("tflite", "model.tflite", "float32", (TensorInfo(*nhwc),), (logits,)),
        "tflite-int8": ModelFile(
            "tflite",
            "model.tflite",
            "int8",
            (TensorInfo(*nhwc, "int8", IN_SCALE, IN_ZERO),),
            (TensorInfo("logits", (CLASSES,), "NC", "int8", OUT_SCALE, OUT_ZERO),),
        ),
    }[kind]


CONTENT = {
    **({"onnx": onnx_model(), "onnx-uint8": onnx_uint8_model()} if helper else {}),
    "tflite": tflite_model(int8=False),
    "tflite-int8": tflite_model(int8=True),
}
KINDS = tuple(CONTENT)


def reference_inputs(n=8):
    return np.random.default_rng(0).integers(0, 256, (n, HEIGHT, WIDTH), np.uint8)


def write_bundle(folder, kinds=("onnx", "tflite"), *, content=None, tolerance=0.2, agreement=0.8, logits=None):
    """A bundle folder with the files of these kinds; `content` replaces what is in them."""
    if not helper and any(k.startswith("onnx") for k in kinds):
        pytest.skip(NO_ONNX)
    folder.mkdir(exist_ok=True)
    models = tuple(entry(k) for k in kinds)
    inputs = reference_inputs()
    expected = float_logits(PREPROCESSING(inputs)) if logits is None else logits
    files = {m.path: (content or {}).get(k, CONTENT[k]) for m, k in zip(models, kinds, strict=True)}
    files["reference.npz"] = npz_bytes({"inputs": inputs, **{f"logits_{m.format}": expected for m in models}})
    for path, data in files.items():
        (folder / path).write_bytes(data)
    infos = {path: file_info(data) for path, data in files.items()}
    test = SelfTest("reference.npz", agreement, tolerance)
    manifest = Manifest("tiny", "tests", "image-classification", LABELS, PREPROCESSING, models, infos, test)
    write_manifest(folder, manifest)
    return manifest


@pytest.fixture(autouse=True)
def whole_arithmetic():
    """tflite-runtime's wheel for 32-bit ARM switches subnormal numbers off when it is loaded; hypothesis wants them."""
    if platform.machine() == "armv7l":
        ctypes.CDLL("libm.so.6").fesetenv(ctypes.c_void_p(-1))  # FE_DFL_ENV


@pytest.fixture(name="onnx_model")
def _onnx_model():
    """The maker of ONNX files, to vary one."""
    if not helper:
        pytest.skip(NO_ONNX)
    return onnx_model


@pytest.fixture
def form_model():
    """The maker of files of the format FORM, with a bias of one's own."""
    return functools.partial(tflite_model, int8=False) if FORM == "tflite" else onnx_model


@pytest.fixture
def expected_logits():
    """What numpy makes of raw images (n, h, w)."""
    return lambda raw: float_logits(PREPROCESSING(raw))


@pytest.fixture
def make_bundle(tmp_path):
    """write_bundle in a folder of its own; returns the folder."""

    def make(*kinds, name="bundle", **changes):
        write_bundle(tmp_path / name, kinds or ("onnx", "tflite"), **changes)
        return tmp_path / name

    return make


@pytest.fixture
def bundle(make_bundle):
    """A bundle with a float ONNX and a float TFLite file."""
    return make_bundle()


@pytest.fixture(scope="module")
def tiny_manifest(tmp_path_factory):
    """The manifest of a bundle with two models, one of them int8."""
    return write_bundle(tmp_path_factory.mktemp("tiny"), ("onnx", "tflite-int8"))


@pytest.fixture(scope="module")
def module_bundle(tmp_path_factory):
    """As bundle, for tests that only read it."""
    folder = tmp_path_factory.mktemp("module") / "bundle"
    write_bundle(folder, ("onnx", "tflite"))
    return folder
