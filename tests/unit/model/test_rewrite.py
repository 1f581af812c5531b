"""Rewrites that must not change the function: checked by running both sides."""

import numpy as np
import pytest
import torch

from compress.errors import ModelError
from compress.model.graph import Graph, Node
from compress.model.model import Model
from compress.model.module import GraphModule, initial_model
from compress.model.nets import NETS, build_net
from compress.model.rewrite import drop_quantizers, fold_batch_norm
from compress.numerics.affine import weight_scales
from compress.stages.placement import place_quantizers


def trained(graph, seed=0):
    """A model whose batch norms have seen data, so that folding has something to get wrong."""
    rng = np.random.default_rng(seed)
    model = initial_model(graph, seed)
    weights = dict(model.weights)
    for node in graph:
        if node.op == "batch_norm":
            c = node.attrs["channels"]
            weights[f"{node.name}.weight"] = rng.uniform(0.5, 2, c).astype(np.float32)
            weights[f"{node.name}.bias"] = rng.normal(0, 1, c).astype(np.float32)
            weights[f"{node.name}.running_mean"] = rng.normal(0, 1, c).astype(np.float32)
            weights[f"{node.name}.running_var"] = rng.uniform(0.5, 2, c).astype(np.float32)
    return Model(graph, weights)


def run(model, seed=0):
    x = torch.from_numpy(np.random.default_rng(seed).normal(0, 1, (3, *model.graph.input_shape)).astype(np.float32))
    with torch.no_grad():
        return GraphModule(model).eval()(x).numpy()


@pytest.mark.parametrize("net", NETS)
def test_folding_batch_norm_keeps_the_function(net):
    model = trained(build_net(net, {}, (1, 16, 16), 5))
    folded = fold_batch_norm(model)

    assert not [n for n in folded.graph if n.op == "batch_norm"]
    np.testing.assert_allclose(run(folded), run(model), rtol=1e-4, atol=1e-4)


def test_canary_a_fold_that_forgets_the_mean_is_noticed():
    model = trained(build_net("ds-cnn", {}, (1, 16, 16), 5))
    weights = dict(model.weights)
    weights["stem_bn.running_mean"] = weights["stem_bn.running_mean"] * 0
    wrong = fold_batch_norm(Model(model.graph, weights))

    assert np.abs(run(wrong) - run(model)).max() > 1e-2


def conv_and_norms(*norms, output):
    """A 1x1 convolution `conv`, then batch norms given as (name, what it reads), then `pool` of the last one."""
    conv = {"in_channels": 3, "out_channels": 3, "kernel": [1, 1], "stride": [1, 1], "padding": [0, 0], "groups": 1,
            "bias": True}  # fmt: skip
    nodes = [Node("input", "input", (), {"shape": [3, 4, 4]}), Node("conv", "conv2d", ("input",), conv)]
    nodes += [Node(name, "batch_norm", (reads,), {"channels": 3, "eps": 1e-5}) for name, reads in norms]
    return trained(Graph((*nodes, Node("pool", "global_avg_pool", (norms[-1][0],))), output))


@pytest.mark.parametrize("reads", ["bn1", "conv"], ids=["one behind the other", "two beside each other"])
def test_two_batch_norms_of_one_convolution_fold_too(reads):
    model = conv_and_norms(("bn1", "conv"), ("bn2", reads), output="pool")
    folded = fold_batch_norm(model)

    assert not [n for n in folded.graph if n.op == "batch_norm"]
    np.testing.assert_allclose(run(folded), run(model), rtol=1e-5, atol=1e-5)


def test_a_convolution_that_is_the_output_itself_keeps_its_weights():
    model = conv_and_norms(("bn1", "conv"), output="conv")

    np.testing.assert_allclose(run(fold_batch_norm(model)), run(model), rtol=1e-5, atol=1e-5)


def test_a_batch_norm_behind_an_addition_becomes_a_depthwise_convolution():
    conv = {"in_channels": 3, "out_channels": 3, "kernel": [1, 1], "stride": [1, 1], "padding": [0, 0], "groups": 1,
            "bias": True}  # fmt: skip
    nodes = (
        Node("input", "input", (), {"shape": [3, 4, 4]}),
        Node("a", "conv2d", ("input",), conv),
        Node("sum", "add", ("a", "input")),
        Node("norm", "batch_norm", ("sum",), {"channels": 3, "eps": 1e-5}),
        Node("out", "global_avg_pool", ("norm",)),
    )
    model = trained(Graph(nodes, "out"))
    folded = fold_batch_norm(model)

    assert folded.graph.node("norm").op == "conv2d"
    assert folded.graph.node("norm").attrs["groups"] == 3
    np.testing.assert_allclose(run(folded), run(model), rtol=1e-4, atol=1e-5)


def test_a_shared_convolution_is_not_folded_into():
    conv = {"in_channels": 2, "out_channels": 2, "kernel": [1, 1], "stride": [1, 1], "padding": [0, 0], "groups": 1,
            "bias": False}  # fmt: skip
    nodes = (
        Node("input", "input", (), {"shape": [2, 4, 4]}),
        Node("a", "conv2d", ("input",), conv),
        Node("norm", "batch_norm", ("a",), {"channels": 2, "eps": 1e-5}),
        Node("sum", "add", ("a", "norm")),
        Node("out", "global_avg_pool", ("sum",)),
    )
    model = trained(Graph(nodes, "out"))

    np.testing.assert_allclose(run(fold_batch_norm(model)), run(model), rtol=1e-4, atol=1e-5)


def test_a_batch_norm_over_a_vector_without_a_layer_is_refused():
    nodes = (
        Node("input", "input", (), {"shape": [4]}),
        Node("norm", "batch_norm", ("input",), {"channels": 4, "eps": 1e-5}),
    )
    with pytest.raises(ModelError, match="neither right behind a linear layer of its own nor right before one"):
        fold_batch_norm(trained(Graph(nodes, "norm")))


def test_a_batch_norm_over_a_vector_goes_into_all_linear_layers_that_read_it():
    """As tables begin (norm the columns) and many heads do (pool, norm, dropout, linear)."""
    nodes = (
        Node("input", "input", (), {"shape": [3, 4, 4]}),
        Node("pool", "global_avg_pool", ("input",), {}),
        Node("norm", "batch_norm", ("pool",), {"channels": 3, "eps": 1e-5}),
        Node("one", "linear", ("norm",), {"in_features": 3, "out_features": 5, "bias": False}),
        Node("other", "linear", ("norm",), {"in_features": 3, "out_features": 5, "bias": True}),
        Node("behind", "batch_norm", ("other",), {"channels": 5, "eps": 1e-5}),
        Node("sum", "add", ("one", "behind"), {}),
    )
    model = trained(Graph(nodes, "sum"))
    folded = fold_batch_norm(model)
    assert not [n for n in folded.graph if n.op == "batch_norm"]
    np.testing.assert_allclose(run(folded), run(model), rtol=1e-4, atol=1e-5)


def test_dropping_quantizers_gives_the_float_model_back():
    model = fold_batch_norm(trained(build_net("resnet8", {}, (1, 16, 16), 5)))
    graph, grids = place_quantizers(model.graph, [n.name for n in model.graph.layers], 8)
    weights = dict(model.weights)
    for layer in model.graph.layers:
        weights[f"{layer.name}.weight_scale"] = weight_scales(weights[f"{layer.name}.weight"])
    for grid in grids:
        weights[f"{grid}.scale"], weights[f"{grid}.zero_point"] = np.float32(0.05).reshape(()), np.int32(3).reshape(())
    quantized = Model(graph, weights)

    assert quantized.graph.quantized
    assert drop_quantizers(quantized).digest() == model.digest()
    assert np.abs(run(quantized) - run(model)).max() > 1e-3  # so the equality above says something
