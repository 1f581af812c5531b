"""Bringing files up to date must not change what they compute, and must say what cannot be done."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from compress.errors import ModelError, UsageError
from compress.given_onnx.compare import run_file
from compress.onnx_file.open import open_onnx
from compress.onnx_file.prepare import control_flow, prepare
from tests.unit.onnx_file import nets


def opened(tmp_path, net):
    return open_onnx(nets.save(tmp_path / "net.onnx", net))


def same(given, prepared, feeds, extra=None):
    before = run_file(given.model.SerializeToString(), [{**f, **(extra or {})} for f in feeds], "given")
    after = run_file(prepared.data, feeds, "prepared")
    return all(np.allclose(a, b, atol=1e-5) for k in before for a, b in zip(before[k], after[k], strict=True))


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 21])
def test_any_opset_from_7_on_is_raised_or_read_as_it_is(tmp_path, opset):
    given = opened(tmp_path, nets.conv_net(opset=opset))

    prepared = prepare(given)

    assert prepared.opset == (17 if opset < 13 else opset)
    assert [t.name for t in prepared.signature.inputs] == ["x"]  # opset 7 lists its weights among the inputs
    assert any("raised to 17" in n for n in prepared.notes) == (opset < 13)
    assert same(given, prepared, [{"x": x[None]} for x in nets.images(4)])


def test_an_old_file_that_no_adapter_can_raise(tmp_path):
    constants = [nets.weights(n, 1, 8, 4 if n == "W" else 2) for n in "WR"]
    nodes = [helper.make_node("LSTM", ["x", "W", "R"], ["y"], hidden_size=2)]
    inputs = [nets.info("x", [3, 1, 4]), *(nets.info(c.name, c.dims) for c in constants)]
    net = nets.model(nodes, inputs, [nets.info("y", [3, 1, 1, 2])], constants, opset=6, ir=3)

    with pytest.raises(ModelError, match=r"opset 6 cannot be raised to 17: No Adapter .*LSTM\n  fix: export the model"):
        prepare(opened(tmp_path, net))


def test_batch_norm_is_folded_into_the_convolution(tmp_path):
    net = nets.conv_net()
    stats = {"s": np.full(16, 1.5), "o": np.full(16, 0.1), "m": np.full(16, 0.2), "v": np.full(16, 0.9)}
    net.graph.initializer.extend(nets.constant(k, v.astype(np.float32)) for k, v in stats.items())
    net.graph.node[1].input[0] = "bn"
    net.graph.node.insert(1, helper.make_node("BatchNormalization", ["c1", *stats], ["bn"], name="norm"))
    given = opened(tmp_path, net)

    prepared = prepare(given)

    assert "BatchNormalization" not in {n.op_type for n in prepared.model.graph.node}
    assert same(given, prepared, [{"x": x[None]} for x in nets.images(4)])


def test_fixing_the_input_that_decides_dissolves_the_branches(tmp_path):
    given = opened(tmp_path, nets.branching_net())

    loose, fixed = prepare(given), prepare(given, {"rate": "8"})

    assert len(control_flow(loose.model)) == 1
    assert control_flow(fixed.model) == []
    assert "1 of 1 If/Loop/Scan nodes dissolved" in fixed.notes
    assert [t.name for t in fixed.signature.inputs] == ["x"]
    assert same(given, fixed, [{"x": x[None]} for x in nets.images(3)], {"rate": np.array(8)})


@pytest.mark.parametrize(
    ("fix", "message"),
    [({"sr": "1"}, r"no input 'sr' to fix\n  fix: one of x, rate"), ({"rate": "fast"}, "'fast' is no int64")],
)
def test_a_wrong_fix_is_named(tmp_path, fix, message):
    with pytest.raises(UsageError, match=message):
        prepare(opened(tmp_path, nets.branching_net()), fix)


def test_functions_are_inlined(tmp_path):
    body = [helper.make_node("Relu", ["a"], ["b"])]
    function = helper.make_function("own", "Mine", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    net = nets.dense_net()
    net.functions.append(function)
    net.opset_import.append(helper.make_opsetid("own", 1))
    net.graph.node[1].op_type, net.graph.node[1].domain = "Mine", "own"
    given = opened(tmp_path, net)

    prepared = prepare(given)

    assert "1 functions inlined" in prepared.notes[0]
    assert same(given, prepared, [{"x": np.ones((1, 20), np.float32)}])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (helper.make_tensor_value_info("x", TensorProto.STRING, ["n"]), "input 'x': it holds strings"),
        (helper.make_tensor_value_info("x", TensorProto.FLOAT, None), "its number of dimensions is not fixed"),
        (helper.make_tensor_value_info("x", TensorProto.DOUBLE, [1, 4]), "input 'x': its elements are float64"),
        (helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None)), "sequence_type"),
    ],
    ids=["strings", "dynamic rank", "double", "sequence"],
)
def test_inputs_that_a_bundle_cannot_carry(tmp_path, value, message):
    if isinstance(value, onnx.TypeProto):
        value = helper.make_value_info("x", value)
        nodes = [helper.make_node("SequenceLength", ["x"], ["y"])]
        out = nets.info("y", [], nets.INT64)
    else:
        kind = value.type.tensor_type.elem_type
        nodes = [helper.make_node("Identity", ["x"], ["y"])]
        out = helper.make_tensor_value_info("y", kind, None)
    with pytest.raises(ModelError, match=message):
        prepare(opened(tmp_path, nets.model(nodes, [value], [out])))


def test_a_gemm_bias_with_two_dimensions_is_flattened(tmp_path):
    net = nets.dense_net()
    bias = next(i for i in net.graph.initializer if i.name == "b0")
    bias.dims[:] = [1, *bias.dims]
    given = opened(tmp_path, net)

    prepared = prepare(given)

    shapes = {i.name: tuple(i.dims) for i in prepared.model.graph.initializer}
    assert all(len(s) == 1 for n, s in shapes.items() if n.startswith("b"))
    assert same(given, prepared, [{"x": np.ones((1, 20), np.float32)}])


def test_every_node_has_a_name_of_its_own(tmp_path):
    net = nets.conv_net()
    for node in net.graph.node:
        node.name = "twin"
    names = [n.name for n in prepare(opened(tmp_path, net)).model.graph.node]
    assert len(set(names)) == len(names)
