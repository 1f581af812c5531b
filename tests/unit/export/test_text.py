"""Text models as ONNX files against the simulation in torch."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from compress.export.counts import count_onnx
from compress.export.onnx import to_onnx
from compress.model.bert import BertShape, bert_graph
from compress.model.model import Model
from compress.model.module import GraphModule, initial_model
from compress.numerics.affine import activation_grid, weight_scales
from compress.stages.placement import mark_dynamic, place_quantizers

SHAPE = BertShape(vocabulary=100, layers=2, width=16, heads=4, ffn=32, max_length=12)


def ids(count=6, length=9):
    x = np.random.default_rng(0).integers(1, 100, (count, length))
    x[1:2, 5:], x[2:3, 1:] = 0, 0
    return x


def lively(**changes):
    """A model whose weights are large enough that an error anywhere shows in the logits."""
    model = initial_model(bert_graph(replace(SHAPE, **changes), 3), 0)
    rng = np.random.default_rng(1)
    weights = {k: (v + rng.normal(0, 0.4, v.shape)).astype(np.float32) for k, v in model.weights.items()}
    return Model(model.graph, weights)


def quantized(model):
    chosen = [n.name for n in model.graph.layers]
    graph, grids = place_quantizers(model.graph, chosen, 8)
    with torch.no_grad():
        _, seen = GraphModule(model).eval()(torch.from_numpy(ids()), taps=tuple(grids.values()))
    weights = {**model.weights, **{f"{n}.weight_scale": weight_scales(model.weights[f"{n}.weight"]) for n in chosen}}
    for grid, tensor in grids.items():
        scale, zero_point = activation_grid(float(seen[tensor].min()), float(seen[tensor].max()))
        weights |= {f"{grid}.scale": np.asarray(scale), f"{grid}.zero_point": np.asarray(zero_point)}
    return Model(graph, weights)


def dynamic(model):
    chosen = [n.name for n in model.graph.layers]
    scales = {f"{n}.weight_scale": weight_scales(model.weights[f"{n}.weight"]) for n in chosen}
    return Model(mark_dynamic(model.graph, chosen, 8), {**model.weights, **scales})


def in_torch(model, x):
    with torch.no_grad():
        return GraphModule(model).eval()(torch.from_numpy(x)).numpy()


def in_onnx(data, x):
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(None, {"input_ids": x})[0]


@pytest.mark.parametrize("pooling", ["mean", "first"])
@pytest.mark.parametrize("head", ["linear", "tanh-linear", "relu-linear"])
def test_a_float_file_says_what_the_graph_says(pooling, head):
    model = lively(pooling=pooling, head=head)
    data = to_onnx(model, name="text")

    for x in (ids(), ids(1, 12), ids(4, 6)):
        np.testing.assert_allclose(in_onnx(data, x), in_torch(model, x), rtol=1e-4, atol=1e-4)
    onnx.checker.check_model(data, full_check=True)
    assert data == to_onnx(model, name="text")


def test_an_integer_file_computes_every_layer_in_integers():
    model = quantized(lively())
    data = to_onnx(model, name="text")
    counts = count_onnx(data)

    assert {n: counts.layer_kernels[n] for n in (layer.name for layer in model.graph.layers)} == dict.fromkeys(
        (layer.name for layer in model.graph.layers), "integer"
    )
    assert counts.kernels["float"] == 5  # two products a layer between tokens, and the mean over them
    got, want = in_onnx(data, ids()), in_torch(model, ids())
    assert np.abs(got - want).max() < 0.05 * want.std()
    assert np.abs(want - in_torch(lively(), ids())).max() < 0.3 * want.std()


def test_the_table_is_stored_in_bytes():
    counts = count_onnx(to_onnx(quantized(lively(vocabulary=5000)), name="text"))

    assert counts.weight_bytes < 5000 * 16 + 5000 * 4 + 12_000


def test_ranges_found_while_running():
    model = dynamic(lively())
    data = to_onnx(model, name="text")
    kernels = count_onnx(data).layer_kernels

    assert kernels["embedding"] == "integer"
    assert {kernels[n.name] for n in model.graph.layers if n.op == "linear"} == {"dynamic-integer"}
    got, want = in_onnx(data, ids(1)), in_torch(model, ids(1))
    assert np.abs(got - want).max() < 0.1 * np.abs(want).max()


def test_a_layer_left_in_float_reads_no_grid():
    model = lively()
    graph, grids = place_quantizers(model.graph, ["layer1_ffn_in"], 8)

    assert list(grids.values()) == ["layer1_attention_norm"]
    assert graph.node("layer1_add").inputs == ("layer1_attention_norm", "layer1_ffn_out")
    assert graph.node("layer1_ffn_in").inputs == ("layer1_attention_norm_q",)
    assert graph.output == "classifier"
