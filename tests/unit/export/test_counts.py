"""Counts must see what an engine does, not what a file promises."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from compress.errors import ExportError
from compress.export.counts import count_onnx, count_tflite
from compress.export.onnx import to_onnx
from compress.export.tflite import to_tflite
from compress.model.model import Model
from compress.numerics.affine import quantize_weight
from tests.unit.export.nets import Net, dynamic, inputs, quantized


@pytest.fixture(scope="module")
def model() -> Model:
    net = Net(2, 8, 8)
    net.conv(4, 3, 1, 1)
    net.add("relu")
    net.conv(4, 3, 1, 1, 4)
    net.pool("avg_pool", 2, 2)
    net.add("flatten")
    net.linear(3)
    return net.model()


LAYERS = ["conv2d1", "conv2d3", "linear6"]


def all_of(kind: str) -> dict[str, str]:
    return dict.fromkeys(LAYERS, kind)


def test_each_kind_is_told_from_the_others(model):
    int8 = quantized(model, inputs(model))
    for count, export in ((count_onnx, to_onnx), (count_tflite, to_tflite)):
        assert count(export(model, name="m")).layer_kernels == all_of("float")
        assert count(export(int8, name="m")).layer_kernels == all_of("integer")
        assert count(export(dynamic(model), name="m")).layer_kernels == all_of("dynamic-integer")
        assert count(export(int8, name="m")).kernels == {"integer": 3, "dynamic-integer": 0, "float": 0}


def test_layers_with_the_same_weights_are_counted_each():
    """As a module that is called twice gives them: the file stores the weights once."""
    net = Net(6)
    for _ in range(3):
        net.linear(6)
        net.add("relu")
    net.linear(2)
    model = net.model()
    twins = {f"linear{i}.{p}": model.weights[f"linear1.{p}"] for i in (3, 5) for p in ("weight", "bias")}
    model = Model(model.graph, {**model.weights, **twins})
    for one in (model, quantized(model, inputs(model)), dynamic(model)):
        for count, export in ((count_onnx, to_onnx), (count_tflite, to_tflite)):
            assert list(count(export(one, name="m")).layer_kernels) == ["linear1", "linear3", "linear5", "linear7"]


def test_a_convolution_that_lost_its_quantizer_is_noticed(model):
    """The canary: a file that still holds int8 weights, but whose convolution no engine can run in integers."""
    proto = onnx.load_from_string(to_onnx(quantized(model, inputs(model)), name="m"))
    graph = proto.graph
    conv = next(n for n in graph.node if n.name == "conv2d1")
    behind = next(n for n in graph.node if n.input[0] == conv.output[0])
    assert behind.op_type == "QuantizeLinear"
    sigmoid = onnx.helper.make_node("Sigmoid", [conv.output[0]], ["between"])
    graph.node.insert(list(graph.node).index(behind), sigmoid)
    behind.input[0] = "between"
    counts = count_onnx(proto.SerializeToString())
    assert counts.layer_kernels == {"conv2d1": "float", "conv2d3": "integer", "linear6": "integer"}
    assert counts.kernels == {"integer": 2, "dynamic-integer": 0, "float": 1}


def test_a_float_layer_is_noticed_in_tflite(model):
    mixed = quantized(model, inputs(model), keep_float=["conv2d3"])
    counts = count_tflite(to_tflite(mixed, name="m"))
    assert counts.layer_kernels == {"conv2d1": "integer", "conv2d3": "float", "linear6": "integer"}


def test_nodes_without_names_are_counted_too(model):
    proto = onnx.load_from_string(to_onnx(quantized(model, inputs(model)), name="m"))
    for node in proto.graph.node:
        node.ClearField("name")
    assert count_onnx(proto.SerializeToString()).kernels["integer"] == 3


def test_zero_weights_are_counted(model):
    weights = dict(model.weights)
    weights["conv2d1.weight"] = weights["conv2d1.weight"] * (np.arange(4) % 2).reshape(-1, 1, 1, 1)
    half = Model(model.graph, weights.copy())
    total = sum(weights[f"{name}.weight"].size for name in LAYERS)
    want = weights["conv2d1.weight"].size / 2 / total
    for count, export in ((count_onnx, to_onnx), (count_tflite, to_tflite)):
        assert count(export(half, name="m")).zero_share == pytest.approx(want)
        assert count(export(model, name="m")).zero_share == 0.0


def test_weight_bytes_are_those_of_the_constants(model):
    data = to_onnx(model, name="m")
    want = sum(numpy_helper.to_array(i).nbytes for i in onnx.load_from_string(data).graph.initializer)
    assert count_onnx(data).weight_bytes == want == 4 * sum(w.size for w in model.weights.values())


def test_operators_are_those_that_run(model):
    int8 = quantized(model, inputs(model))
    assert count_onnx(to_onnx(int8, name="m")).operators == {
        "DequantizeLinear": 1, "Flatten": 1, "Pad": 1, "QGemm": 1, "QLinearAveragePool": 1, "QLinearConv": 2,
        "QuantizeLinear": 1,
    }  # fmt: skip
    assert count_tflite(to_tflite(int8, name="m")).operators == {
        "CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "RESHAPE": 2,
    }  # fmt: skip


@pytest.mark.parametrize(("count", "text"), [(count_onnx, "no ONNX file"), (count_tflite, "no TFLite file")])
def test_another_file_is_refused(count, text):
    with pytest.raises(ExportError, match=text):
        count(b"PK\x03\x04 something else")


def test_channels_that_the_export_filled_up_are_no_zero_weights(model):
    int8 = quantized(model, inputs(model))
    integers = [quantize_weight(int8.weights[f"{n}.weight"], int8.weights[f"{n}.weight_scale"]) for n in LAYERS]
    want = sum((w == 0).sum() for w in integers) / sum(w.size for w in integers)
    data = to_onnx(int8, name="m")
    assert [4, 4, 3, 3] in [list(i.dims) for i in onnx.load_from_string(data).graph.initializer]  # 2 channels became 4
    assert count_onnx(data).zero_share == pytest.approx(want)
    assert count_tflite(to_tflite(int8, name="m")).zero_share == pytest.approx(want)
