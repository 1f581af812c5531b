"""The exported files as files: size, structure, equal bytes, refusals."""

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema

from compress.errors import ExportError
from compress.export.flatbuffer import Tensor, TfliteFile
from compress.export.onnx import to_onnx
from compress.export.tflite import to_tflite
from compress.model.model import Model
from compress.model.nets import build_net
from compress.model.shapes import count_parameters
from tests.unit.export.engines import delegated, interpreter
from tests.unit.export.nets import Net, dynamic, inputs, quantized, random_model


@pytest.fixture(scope="module")
def resnet8() -> Model:
    return random_model(build_net("resnet8", {}, (1, 28, 28), 10))


@pytest.fixture(scope="module")
def resnet8_int8(resnet8: Model) -> Model:
    return quantized(resnet8, inputs(resnet8))


def test_bytes_per_parameter_of_an_int8_resnet8(resnet8, resnet8_int8):
    parameters = count_parameters(resnet8.graph)
    assert parameters == 77_754
    assert len(to_onnx(resnet8_int8, name="resnet8")) < 1.11 * parameters
    assert len(to_tflite(resnet8_int8, name="resnet8")) < 1.12 * parameters
    assert len(to_onnx(dynamic(resnet8), name="resnet8")) < 1.08 * parameters
    assert len(to_onnx(resnet8, name="resnet8")) < 4.03 * parameters
    assert len(to_tflite(resnet8, name="resnet8")) < 4.05 * parameters
    assert len(to_tflite(resnet8, name="resnet8", float16=True)) < 2.10 * parameters


def test_xnnpack_takes_all_of_resnet8(resnet8, resnet8_int8):
    for model, float16 in ((resnet8, False), (resnet8, True), (resnet8_int8, False)):
        assert delegated(interpreter(to_tflite(model, name="m", float16=float16)))


def test_equal_models_give_equal_bytes(resnet8_int8):
    shuffled = Model(resnet8_int8.graph, dict(sorted(resnet8_int8.weights.items(), reverse=True)))
    for export in (to_onnx, to_tflite):
        assert export(resnet8_int8, name="m") == export(shuffled, name="m")


def test_the_model_given_is_not_changed(resnet8_int8):
    before = resnet8_int8.digest()
    to_onnx(resnet8_int8, name="m")
    to_tflite(resnet8_int8, name="m")
    assert resnet8_int8.digest() == before


def test_onnx_signature_opset_and_names(resnet8_int8):
    model = onnx.load_from_string(to_onnx(resnet8_int8, name="net"))
    assert (model.opset_import[0].version, model.ir_version, model.graph.name) == (13, 7, "net")
    names = [v.name for v in (*model.graph.input, *model.graph.output)]
    assert names == ["input", "logits"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    named = [n.name for n in model.graph.node if n.name]
    assert named == [n.name for n in resnet8_int8.graph.layers]
    integers = {i.data_type for i in model.graph.initializer if len(i.dims) > 1}
    assert integers == {onnx.TensorProto.INT8}


def test_tflite_identifier_alignment_and_integer_signature(resnet8_int8):
    data = to_tflite(resnet8_int8, name="net")
    assert data[4:8] == b"TFL3"
    model = schema.Model.GetRootAs(data, 0)
    for i in range(1, model.BuffersLength()):
        buffer = model.Buffers(i)
        start = buffer._tab.Vector(buffer._tab.Offset(4))
        assert start % 16 == 0
    it = interpreter(data)
    (source,), (target,) = it.get_input_details(), it.get_output_details()
    assert (source["name"], target["name"]) == ("input", "logits")
    assert source["dtype"] == target["dtype"] == np.int8
    assert source["shape"].tolist() == [1, 28, 28, 1]
    grid = resnet8_int8.weights
    assert source["quantization"][1] == int(grid["input_q.zero_point"]) - 128
    assert np.float32(source["quantization"][0]) == grid["input_q.scale"]


def test_integer_tflite_needs_no_operator_newer_than_tflite_runtime_2_14(resnet8, resnet8_int8):
    """Which knows these, loaded these files and gave the same logits to within two steps (tried on x86-64)."""
    known = {"CONV_2D": 6, "ADD": 2, "PAD": 2, "MEAN": 2, "RESHAPE": 1, "FULLY_CONNECTED": 1, "DEQUANTIZE": 3}
    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    for model, float16 in ((resnet8_int8, False), (dynamic(resnet8), False), (resnet8, True)):
        for code in schema.ModelT.InitFromPackedBuf(to_tflite(model, name="m", float16=float16)).operatorCodes:
            assert code.version <= known[names[code.builtinCode]]


def test_a_tflite_batch_can_be_resized(resnet8):
    it = interpreter(to_tflite(resnet8, name="m"))
    index = it.get_input_details()[0]["index"]
    x = np.moveaxis(inputs(resnet8, 3), 1, -1)
    one = []
    for example in x:
        it.set_tensor(index, example[np.newaxis])
        it.invoke()
        one.append(it.get_tensor(it.get_output_details()[0]["index"])[0])
    it.resize_tensor_input(index, x.shape)
    it.allocate_tensors()
    it.set_tensor(index, x)
    it.invoke()
    np.testing.assert_allclose(it.get_tensor(it.get_output_details()[0]["index"]), one, atol=1e-4)


def test_equal_parts_of_a_tflite_file_are_stored_once():
    file = TfliteFile()
    zeros = np.zeros(1000, np.int8)
    alone = file.add(Tensor((1000,), "int8", data=zeros))
    file.inputs = file.outputs = [alone]
    size = len(file.pack("m"))
    file.add(Tensor((1000,), "int8", data=zeros.copy()))
    assert len(file.pack("m")) < size + 100


def test_an_output_that_is_no_vector_is_refused():
    net = Net(1, 4, 4)
    net.conv(2, 3)
    for export in (to_onnx, to_tflite):
        with pytest.raises(ExportError, match=r"'conv2d1'.*shape \(2, 2, 2\).*\n.*fix: end the net in a pooling"):
            export(net.model(), name="m")


def test_tflite_refuses_an_average_that_it_would_get_wrong():
    net = Net(1, 8, 8)
    net.pool("avg_pool", 3, 2, 1)
    net.add("flatten")
    net.linear(2)
    with pytest.raises(ExportError, match=r"avg_pool1'.*cannot average.*\n.*fix: use padding 0"):
        to_tflite(net.model(), name="m")


def test_tflite_refuses_a_flattened_image_as_output():
    net = Net(1, 4, 4)
    net.conv(2, 3)
    net.add("flatten")
    with pytest.raises(ExportError, match=r"flattened image.*\n.*fix: put a linear layer"):
        to_tflite(net.model(), name="m")


def test_float16_refuses_a_weight_that_it_cannot_hold():
    net = Net(3)
    net.linear(2)
    model = net.model()
    model = Model(model.graph, {**model.weights, "linear1.weight": np.full((2, 3), 1e5, np.float32)})
    with pytest.raises(ExportError, match=r"layer 'linear1'.*65504.*\n.*fix: export float32"):
        to_tflite(model, name="m", float16=True)
