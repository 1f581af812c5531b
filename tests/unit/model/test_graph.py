"""Graphs refuse what is malformed in words; shapes and costs by hand-made numbers."""

import pytest

from compress.errors import ModelError, ShapeError
from compress.model.graph import Graph, Node, match_layers
from compress.model.nets import NETS, build_net
from compress.model.shapes import count_macs, count_parameters, infer_shapes, macs_by_layer

CONV = {
    "in_channels": 2,
    "out_channels": 6,
    "kernel": [3, 5],
    "stride": [2, 1],
    "padding": [1, 0],
    "groups": 2,
    "bias": True,
}
INPUT = Node("input", "input", (), {"shape": [2, 9, 9]})


def small():
    nodes = (
        INPUT,
        Node("conv", "conv2d", ("input",), CONV),
        Node("norm", "batch_norm", ("conv",), {"channels": 6, "eps": 1e-5}),
        Node("pool", "max_pool", ("norm",), {"kernel": [2, 2], "stride": [2, 2], "padding": [0, 0]}),
        Node("flat", "flatten", ("pool",)),
        Node("out", "linear", ("flat",), {"in_features": 24, "out_features": 3, "bias": False}),
    )
    return Graph(nodes, "out")


def test_shapes_parameters_and_macs_by_hand():
    shapes = infer_shapes(small())

    assert [shapes[n] for n in ("conv", "norm", "pool", "flat", "out")] == [
        (6, 5, 5),
        (6, 5, 5),
        (6, 2, 2),
        (24,),
        (3,),
    ]
    assert count_parameters(small()) == (6 * 1 * 3 * 5 + 6) + (6 + 6) + 24 * 3
    assert macs_by_layer(small()) == {"conv": 6 * 1 * 3 * 5 * 25, "out": 72}
    assert count_macs(small()) == 2250 + 72


@pytest.mark.parametrize(
    ("nodes", "output", "message"),
    [
        ((INPUT, Node("a", "softmax", ("input",))), "a", "node 'a': operator 'softmax' is not supported"),
        ((INPUT, Node("1a", "relu", ("input",))), "1a", "a node's name is letters, digits and _"),
        ((INPUT, Node("input", "relu", ("input",))), "input", "two nodes have this name"),
        ((INPUT, Node("a", "relu", ("b",)), Node("b", "relu", ("input",))), "a", r"it reads \['b'\], which no earlier"),
        ((Node("a", "relu", ()),), "a", "a graph starts with its one input"),
        ((INPUT, Node("two", "input", (), {"shape": [1]})), "two", "a graph starts with its one input"),
        ((), "a", "a graph starts with its one input"),
        ((INPUT,), "a", "output 'a' is no node"),
    ],
)
def test_a_malformed_graph_is_refused(nodes, output, message):
    with pytest.raises(ModelError, match=message):
        Graph(nodes, output)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (Node("a", "conv2d", ("input",), {**CONV, "in_channels": 3, "groups": 3}), r"given shape \(2, 9, 9\), wants 3"),
        (Node("a", "conv2d", ("input",), {**CONV, "kernel": [3, 10]}), "at least the kernel"),
        (Node("a", "linear", ("input",), {"in_features": 9, "out_features": 1, "bias": False}), r"wants \(9,\)"),
        (Node("a", "batch_norm", ("input",), {"channels": 3, "eps": 1e-5}), "3 channels"),
        (Node("a", "add", ("input",)), "two equal shapes"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(node, message):
    with pytest.raises(ShapeError, match=message):
        infer_shapes(Graph((INPUT, node), "a"))


@pytest.mark.parametrize("net", NETS)
def test_every_net_survives_json_and_ends_in_the_classes(net):
    graph = build_net(net, {}, (1, 20, 20), 7)

    assert Graph.from_json(graph.to_json()) == graph
    assert infer_shapes(graph)[graph.output] == (7,)


def test_patterns_choose_layers_in_graph_order():
    graph = build_net("ds-cnn", {"blocks": 2}, (1, 8, 8), 3)

    assert match_layers(graph, ["classifier", "re:_dw$"], "x") == ("block1_dw", "block2_dw", "classifier")
    assert match_layers(graph, "all", "x") == tuple(n.name for n in graph.layers)
    with pytest.raises(ModelError, match=r"x: pattern 'stm' matches no layer\n  fix: the layers are stem"):
        match_layers(graph, ["stem", "stm"], "x")
    with pytest.raises(ModelError, match=r"'re:\(' is no regular expression"):
        match_layers(graph, ["re:("], "x")


def test_a_net_spelled_out_counts_its_own_channels_and_sizes():
    layers = [
        {"conv": {"channels": 8, "stride": 2}},
        {"depthwise": 5},
        {"block": {"channels": 12, "mid": 6, "stride": 2}},
        {"residual": 4},
        {"max_pool": 2},
        {"flatten": None},
    ]
    graph = build_net("sequence", {"layers": layers}, (1, 21, 21), 3)
    shapes = infer_shapes(graph)

    assert shapes["conv1_relu"] == shapes["depthwise2_relu"] == (8, 11, 11)
    assert shapes["block3_add"] == shapes["residual4_add"] == (12, 6, 6)
    assert graph.node("block3_conv1").attrs["out_channels"] == 6
    assert shapes["flatten6"] == (12 * 3 * 3,)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (["conv"], r"layers\[0\] is 'conv'; want one of conv, depthwise"),
        ([{"conv": 4, "flatten": None}], r"layers\[0\] is \{'conv': 4"),
        ([{"conv": {"width": 4}}], r"layers\[0\].conv takes channels, kernel, stride; got"),
        ([{"conv": 4}, {"conv": {"channels": 0}}], r"layers\[1\].conv.channels is 0; want a number from 1 to 4096"),
        ([{"flatten": None}, {"conv": 4}], r"layers\[1\]: nothing follows flatten"),
        ([{"conv": {"stride": 2}}], "make no net"),
    ],
)
def test_a_net_spelled_out_wrongly_says_which_item(layers, message):
    with pytest.raises(ModelError, match=message):
        build_net("sequence", {"layers": layers}, (1, 8, 8), 3)


@pytest.mark.parametrize(
    ("net", "args", "shape", "message"),
    [
        ("resnet99", {}, (1, 8, 8), "no net 'resnet99'\n  fix: one of bert, ds-cnn, mlp"),
        ("mlp", {"width": 3}, (1, 8, 8), r"mlp takes no \['width'\]\n  fix: it takes hidden"),
        ("ds-cnn", {}, (64,), r"ds-cnn wants images \(c, h, w\), the data has shape \(64,\)\n  fix: use mlp"),
        ("resnet9", {"residuals": [0]}, (1, 8, 8), "make no net"),
    ],
)
def test_a_net_that_cannot_be_built_says_why(net, args, shape, message):
    with pytest.raises(ModelError, match=message):
        build_net(net, args, shape, 3)
