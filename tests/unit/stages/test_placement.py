import pytest

from compress.errors import StageError
from compress.model.graph import Graph, Node
from compress.model.module import initial_model
from compress.model.nets import NETS, build_net
from compress.model.rewrite import fold_batch_norm
from compress.stages.placement import integer_nodes, mark_dynamic, place_quantizers


def folded(net):
    return fold_batch_norm(initial_model(build_net(net, {}, (1, 16, 16), 5), 0)).graph


@pytest.mark.parametrize("net", NETS)
def test_with_every_layer_chosen_everything_reads_a_grid(net):
    graph = folded(net)
    placed, grids = place_quantizers(graph, [n.name for n in graph.layers], 8)

    for node in placed.layers:
        source = placed.node(node.inputs[0])
        while source.op in ("flatten", "max_pool"):
            source = placed.node(source.inputs[0])
        assert source.op == "quantize", node.name
    assert placed.node(placed.output).op == "quantize"
    assert set(grids.values()) <= {n.name for n in graph}


def test_a_convolution_with_a_relu_of_its_own_is_quantized_behind_it():
    graph = folded("resnet8")
    _, grids = place_quantizers(graph, [n.name for n in graph.layers], 8)

    assert "stem_relu" in grids.values()
    assert "stem" not in grids.values()
    assert "block1_1_add" not in grids.values()
    assert {"block2_1_conv2", "block2_1_skip"} <= set(grids.values())  # both arms of an addition stand on grids


def test_a_float_layer_keeps_its_neighbours_integer():
    graph = folded("ds-cnn")
    chosen = [n.name for n in graph.layers if n.name != "block2_pw"]
    placed, grids = place_quantizers(graph, chosen, 8)

    assert "weight_bits" not in placed.node("block2_pw").attrs
    assert placed.node("block3_dw").attrs["weight_bits"] == 8
    assert "block2_pw" not in integer_nodes(graph, chosen)
    assert "block2_pw_relu" in grids.values()  # the next layer needs it


def test_two_float_layers_in_a_row_have_no_grid_between_them():
    graph = folded("mlp")
    _, grids = place_quantizers(graph, ["classifier"], 8)

    assert set(grids.values()) == {"fc2_relu", "classifier"}


def test_the_nodes_of_a_grid_never_clash_with_names_of_the_net():
    nodes = (
        Node("input", "input", (), {"shape": [4]}),
        Node("input_q", "linear", ("input",), {"in_features": 4, "out_features": 2, "bias": True}),
    )
    placed, grids = place_quantizers(Graph(nodes, "input_q"), ["input_q"], 8)

    assert set(grids) == {"input_qq", "input_q_q"}
    assert placed.output == "input_q_q"


def test_quantizing_twice_is_refused():
    graph = folded("mlp")
    placed, _ = place_quantizers(graph, ["fc1"], 8)

    for again in (place_quantizers, mark_dynamic):
        with pytest.raises(StageError, match="quantized already"):
            again(placed, ["fc2"], 8)


def test_an_unfolded_batch_norm_is_refused():
    graph = build_net("ds-cnn", {}, (1, 16, 16), 5)
    with pytest.raises(StageError, match="batch norm 'stem_bn' is not folded"):
        place_quantizers(graph, ["stem"], 8)
