"""Channel groups: what hangs together, what cannot be removed, and that narrowing leaves a net that still fits."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.errors import ModelError, ShapeError
from compress.model.channels import Tie, channel_groups, choose_groups, is_depthwise, narrow_evenly, with_channels
from compress.model.graph import Graph, Node
from compress.model.nets import NETS, build_net
from compress.model.shapes import count_macs, count_parameters, infer_shapes


def conv(name, x, cin, cout, groups=1, stride=1):
    attrs = {"in_channels": cin, "out_channels": cout, "kernel": [3, 3], "stride": [stride, stride],
             "padding": [1, 1], "groups": groups, "bias": True}  # fmt: skip
    return Node(name, "conv2d", (x,), attrs)


def linear(name, x, fin, fout):
    return Node(name, "linear", (x,), {"in_features": fin, "out_features": fout, "bias": True})


def image(channels=1, size=8):
    return Node("input", "input", (), {"shape": [channels, size, size]})


def by_name(graph):
    return {g.name: g for g in channel_groups(graph)}


def test_an_addition_ties_both_branches():
    groups = by_name(build_net("resnet8", {}, (1, 28, 28), 10))

    assert groups["stem"].producers == ("stem", "block1_1_conv2")
    assert groups["block2_1_conv2"].producers == ("block2_1_conv2", "block2_1_skip")
    assert [t.node for t in groups["block2_1_conv2"].consumers] == ["block3_1_conv1", "block3_1_skip"]
    assert groups["block1_1_conv1"].consumers == (Tie("block1_1_conv2"),)


def test_a_depthwise_convolution_follows_its_producer():
    graph = build_net("ds-cnn", {}, (1, 28, 28), 10)
    groups = by_name(graph)

    assert is_depthwise(graph.node("block1_dw"))
    assert "block1_dw" not in groups
    assert groups["stem"].followers == (Tie("stem_bn"), Tie("block1_dw"), Tie("block1_dw_bn"))
    assert groups["stem"].consumers == (Tie("block1_pw"),)


def test_flattening_spreads_a_channel_over_several_columns():
    head = linear("fc", "flat", 4 * 64, 10)
    graph = Graph((image(), conv("a", "input", 1, 4), Node("flat", "flatten", ("a",)), head), "fc")

    assert by_name(graph)["a"].consumers == (Tie("fc", 64),)
    assert with_channels(graph, {"a": 3}).node("fc").attrs["in_features"] == 3 * 64


@pytest.mark.parametrize(
    ("nodes", "name", "reason"),
    [
        ([conv("a", "input", 4, 4), Node("p", "global_avg_pool", ("a",))], "a", "its channels are the classes"),
        ([conv("a", "input", 4, 4, groups=4)], "a", "its channels are those of the net's input"),
        ([conv("a", "input", 4, 8, groups=2), conv("b", "a", 8, 2)], "a", "a is a grouped convolution"),
        ([conv("a", "input", 4, 8), conv("b", "a", 8, 4, groups=2)], "a", "b is a grouped convolution"),
        ([conv("a", "input", 4, 1), conv("b", "a", 1, 4)], "a", "it has a single channel"),
        ([conv("a", "input", 4, 4), Node("s", "add", ("a", "input")), conv("b", "s", 4, 2)], "a", "the net's input"),
    ],
    ids=["output", "input", "grouped", "before-grouped", "single", "added-to-input"],
)
def test_a_group_that_cannot_be_pruned_says_why(nodes, name, reason):
    graph = Graph((image(4), *nodes), nodes[-1].name)
    group = by_name(graph)[name]

    assert not group.prunable
    assert reason in group.reason
    if group.channels > 1:
        with pytest.raises(ModelError, match="its channels cannot be removed"):
            with_channels(graph, {name: 1})


def test_adding_a_flattened_to_a_plain_vector_is_refused():
    nodes = (
        image(1, 2), conv("a", "input", 1, 4), Node("f", "flatten", ("a",)), linear("l", "f", 16, 16),
        Node("s", "add", ("f", "l")), linear("out", "s", 16, 3),
    )  # fmt: skip
    assert by_name(Graph(nodes, "out"))["a"].reason == "s adds a flattened tensor to one that is not"


@pytest.mark.parametrize(
    ("keep", "message"),
    [({"stme": 8}, "no channel group 'stme'"), ({"stem": 0}, "0 channels of 32"), ({"stem": 33}, "33 channels of 32")],
)
def test_impossible_widths_are_refused(keep, message):
    with pytest.raises(ModelError, match=message):
        with_channels(build_net("ds-cnn", {}, (1, 28, 28), 10), keep)


def test_even_narrowing_meets_its_goal_in_the_wanted_multiples():
    graph = build_net("resnet8", {}, (1, 28, 28), 10)
    groups = [g for g in channel_groups(graph) if g.prunable]

    small = narrow_evenly(graph, groups, 0.5, 8)

    assert 0.35 < count_macs(small) / count_macs(graph) <= 0.5
    assert all(g.channels % 8 == 0 for g in channel_groups(small) if g.prunable)
    fewer = narrow_evenly(graph, groups, 0.5, 8, count_parameters)
    assert count_parameters(fewer) <= 0.5 * count_parameters(graph)


@st.composite
def random_graphs(draw):
    """A small net: convolutions of every sort, norms, pools and additions in any order, then a classifier."""
    nodes = [image(draw(st.integers(1, 3)))]
    shapes = infer_shapes(Graph(tuple(nodes), "input"))
    for i in range(draw(st.integers(1, 8))):
        x = draw(st.sampled_from(sorted(shapes)))
        c = shapes[x][0]
        same = [n for n in sorted(shapes) if shapes[n] == shapes[x]]
        name = f"n{i}"
        kind = draw(st.sampled_from(["conv", "depthwise", "grouped", "norm", "relu", "pool", "add"]))
        if kind == "conv":
            node = conv(name, x, c, draw(st.integers(1, 4)))
        elif kind == "depthwise":
            node = conv(name, x, c, c, groups=c)
        elif kind == "grouped":
            node = conv(name, x, c, 2 * c, groups=c)
        elif kind == "norm":
            node = Node(name, "batch_norm", (x,), {"channels": c, "eps": 1e-5})
        elif kind == "pool":
            node = Node(name, "max_pool", (x,), {"kernel": [3, 3], "stride": [1, 1], "padding": [1, 1]})
        elif kind == "add":
            node = Node(name, "add", (x, draw(st.sampled_from(same))))
        else:
            node = Node(name, "relu", (x,))
        nodes.append(node)
        shapes = infer_shapes(Graph(tuple(nodes), name))
    last = nodes[-1].name
    c, h, w = shapes[last]
    if draw(st.booleans()):
        nodes += [Node("flat", "flatten", (last,)), linear("out", "flat", c * h * w, 3)]
    else:
        nodes += [Node("pool", "global_avg_pool", (last,)), linear("out", "pool", c, 3)]
    return Graph(tuple(nodes), "out")


@settings(max_examples=150, deadline=None)
@given(random_graphs(), st.data())
def test_any_prunable_group_can_be_narrowed_and_the_net_still_fits(graph, data):
    groups = channel_groups(graph)
    layers = {n.name for n in graph.layers}
    owned = [n for g in groups for n in (*g.producers, *(t.node for t in g.followers)) if n in layers]
    assert sorted(owned) == sorted(layers)  # each layer is in exactly one group
    keep = {g.name: data.draw(st.integers(1, g.channels)) for g in groups if g.prunable}

    small = with_channels(graph, keep)

    assert infer_shapes(small)["out"] == (3,)
    assert small.input_shape == graph.input_shape
    after = {g.name: g for g in channel_groups(small)}
    assert all(after[n].channels == k for n, k in keep.items())


@settings(max_examples=100, deadline=None)
@given(random_graphs())
def test_groups_are_the_smallest_that_fit(graph):
    """Narrowing one producer of several breaks the net: nothing is tied in vain."""
    for group in channel_groups(graph):
        if not group.prunable or len(group.producers) < 2:
            continue
        nodes = [n.with_attrs(out_channels=n.attrs["out_channels"] - 1) if n.name == group.producers[0] else n
                 for n in graph]  # fmt: skip
        with pytest.raises(ShapeError, match="it is given shape"):
            infer_shapes(graph.with_nodes(nodes))


def test_all_chooses_every_prunable_group_and_explains_the_rest():
    graph = build_net("ds-cnn", {}, (1, 28, 28), 10)

    chosen, kept = choose_groups(graph, "all", "prune")

    assert [g.name for g in chosen] == ["stem", "block1_pw", "block2_pw", "block3_pw", "block4_pw"]
    assert kept == {"classifier": "its channels are the classes, the net's output"}


def test_a_group_is_left_alone_unless_all_its_producers_are_chosen():
    graph = build_net("resnet8", {}, (1, 28, 28), 10)

    chosen, kept = choose_groups(graph, ("re:^block1", "block2_1_skip"), "prune")

    assert [g.name for g in chosen] == ["block1_1_conv1"]
    assert kept["stem"] == "not chosen by `layers`"
    assert kept["block1_1_conv2"] == "its channels are tied to stem, which `layers` does not choose"
    assert kept["block2_1_skip"] == "its channels are tied to block2_1_conv2, which `layers` does not choose"


def test_a_depthwise_layer_cannot_be_pruned_without_its_producer():
    graph = build_net("ds-cnn", {}, (1, 28, 28), 10)

    chosen, kept = choose_groups(graph, ("block1_dw", "block1_pw"), "prune")

    assert [g.name for g in chosen] == ["block1_pw"]
    assert kept["block1_dw"] == "depthwise: its channels are those of stem, which `layers` does not choose"
    assert "block2_dw" not in kept  # it follows block1_pw


def test_a_pattern_without_a_layer_is_refused():
    with pytest.raises(ModelError, match="pattern 're:blok' matches no layer"):
        choose_groups(build_net("ds-cnn", {}, (1, 28, 28), 10), ("re:blok",), "prune")


def test_every_named_net_has_something_to_prune():
    for name in NETS:
        assert any(g.prunable for g in channel_groups(build_net(name, {}, (1, 28, 28), 10))), name
