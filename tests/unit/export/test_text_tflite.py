"""Text models as TFLite files: one signature a length, shared weights, held against the simulation in torch."""

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from edge_runtime.scan import scan_model

from compress.errors import ExportError
from compress.export.counts import count_tflite
from compress.export.read_back import read_back
from compress.export.tflite import to_tflite
from compress.model.model import Model
from compress.model.rewrite import with_ranges_found_running
from compress.stages.placement import place_quantizers
from tests.unit.export.engines import delegated
from tests.unit.export.test_text import dynamic, ids, in_torch, lively, quantized

LENGTHS = (6, 9, 12)


def in_tflite(data, x):
    """One text at a time, by the signature of just its length."""
    runner = Interpreter(model_content=data, num_threads=1).get_signature_runner(f"ids_{x.shape[1]}")
    return np.concatenate([runner(input_ids=row[np.newaxis].astype(np.int32))["logits"] for row in x])


@pytest.mark.parametrize(
    ("pooling", "head"),
    [("mean", "linear"), ("first", "tanh-linear"), ("first", "relu-linear"), ("mean", "relu-linear")],
)
def test_a_float_file_says_what_the_graph_says(pooling, head):
    model = lively(pooling=pooling, head=head)
    data = to_tflite(model, name="text", lengths=LENGTHS)

    for x in (ids(), ids(2, 12), ids(4, 6)):
        np.testing.assert_allclose(in_tflite(data, x), in_torch(model, x), rtol=1e-4, atol=1e-4)
    assert data == to_tflite(model, name="text", lengths=LENGTHS)


def test_padding_changes_nothing():
    data = to_tflite(lively(), name="text", lengths=LENGTHS)
    short = ids(3, 6)
    longer = np.pad(short, ((0, 0), (0, 6)))

    np.testing.assert_allclose(in_tflite(data, short), in_tflite(data, longer), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", [quantized, dynamic])
def test_an_integer_file_is_near_the_simulation_for_every_length(make):
    model = make(lively())
    data = to_tflite(model, name="text", lengths=LENGTHS)

    for x in (ids(), ids(2, 12), ids(4, 6)):
        want = in_torch(with_ranges_found_running(model), x)
        assert np.abs(in_tflite(data, x) - want).max() < 0.1 * max(want.std(), 1.0)
        assert np.abs(in_tflite(data, x) - in_torch(lively(), x)).max() > 0  # it is no float file


def test_operators_are_those_that_the_last_engine_for_32_bit_arm_has():
    """tflite-runtime 2.14: a newer version of any of these would not load there."""
    file = schema.ModelT.InitFromPackedBuf(to_tflite(quantized(lively()), name="text", lengths=LENGTHS))
    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    versions = {names[c.builtinCode]: c.version for c in file.operatorCodes}

    assert versions.pop("CONV_2D") == 5
    assert versions.pop("GATHER") in (1, 2)
    assert versions.pop("DEQUANTIZE") == 2
    assert set(versions.values()) == {1}
    assert "GELU" in versions  # since 2.9


def test_layers_compute_in_integers_in_every_subgraph():
    model = quantized(lively())
    counts = count_tflite(to_tflite(model, name="text", lengths=LENGTHS))
    linear = [n.name for n in model.graph.layers if n.op == "linear"]

    assert counts.layer_kernels["embedding"] == "integer"
    assert {counts.layer_kernels[n] for n in linear} == {"dynamic-integer"}
    assert counts.kernels == {"integer": 1, "dynamic-integer": 13, "float": 5}  # products between tokens, and the mean
    assert counts.operators["CONV_2D"] == 9  # of one signature, not of all; query, key and value are one


def test_a_float_layer_in_one_subgraph_alone_is_noticed():
    """The canary: the longest signature alone has lost a layer's integers."""
    file = schema.ModelT.InitFromPackedBuf(to_tflite(quantized(lively()), name="text", lengths=LENGTHS))
    tensor = next(t for t in file.subgraphs[1].tensors if t.name == b"layer1_ffn_in")
    tensor.type = schema.TensorType.FLOAT32
    builder = flatbuffers.Builder(1024)
    builder.Finish(file.Pack(builder), file_identifier=b"TFL3")

    assert count_tflite(bytes(builder.Output())).layer_kernels["layer1_ffn_in"] == "float"


def test_a_layer_left_in_float_stays_float():
    model = lively()
    chosen = [n.name for n in model.graph.layers if n.name != "classifier"]
    placed, _ = place_quantizers(model.graph, chosen, 8)
    made = quantized(model)
    names = {n.name for n in placed if n.op == "quantize"} | set(chosen)
    weights = {k: v for k, v in made.weights.items() if k in model.weights or k.rsplit(".", 1)[0] in names}
    kernels = count_tflite(to_tflite(Model(placed, weights), name="text")).layer_kernels

    assert (kernels["classifier"], kernels["layer1_query"]) == ("float", "dynamic-integer")


def test_weights_are_stored_once():
    model = quantized(lively(vocabulary=5000, width=64, ffn=256, max_length=32))
    one = len(to_tflite(model, name="text"))
    four = len(to_tflite(model, name="text", lengths=(8, 16, 24, 32)))

    assert four - one < 3 * 26_000  # operators and tensors of a subgraph; its weights are over 400 kB
    assert one > 400_000
    assert count_tflite(to_tflite(model, name="text", lengths=(8, 32))).weight_bytes < 1.01 * one


def test_xnnpack_takes_all_but_the_look_up_in_one_piece():
    for model in (lively(), quantized(lively())):
        interpreter = Interpreter(model_content=to_tflite(model, name="text", lengths=(12,)), num_threads=1)
        interpreter.allocate_tensors()
        assert sum(op["op_name"] == "DELEGATE" for op in interpreter._get_ops_details()) == 1
        assert not delegated(interpreter)  # ids are looked up in front of it


def test_half_precision_halves_the_file():
    model = lively(vocabulary=2000)
    whole, half = (to_tflite(model, name="text", lengths=LENGTHS, float16=f) for f in (False, True))

    assert len(half) < 0.65 * len(whole)
    np.testing.assert_allclose(in_tflite(half, ids()), in_torch(model, ids()), rtol=0.05, atol=0.1)


def test_the_scanner_takes_several_subgraphs():
    assert scan_model("tflite", to_tflite(quantized(lively()), name="text", lengths=LENGTHS), "model.tflite") == set()


@pytest.mark.parametrize("lengths", [(0, 6), (6, 13)])
def test_a_length_that_the_model_does_not_read_is_refused(lengths):
    with pytest.raises(ExportError, match=r"lengths \[.*\] are not some of 1 to 12"):
        to_tflite(lively(), name="text", lengths=lengths)


def test_it_cannot_be_read_back():
    model = quantized(lively())
    with pytest.raises(ExportError, match="text models"):
        read_back(to_tflite(model, name="text", lengths=LENGTHS), "tflite", model)
