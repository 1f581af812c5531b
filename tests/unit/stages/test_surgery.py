"""Channel surgery: exact where the removed channels were zero, checked against an independent tool."""

import numpy as np
import pytest
import torch

from compress.errors import ModelError
from compress.model.channels import channel_groups
from compress.model.graph import Graph, Node
from compress.model.model import Model
from compress.model.module import GraphModule, initial_model
from compress.model.nets import NETS, build_net
from compress.stages.surgery import remove_channels

SMALL = {
    "resnet8": {"widths": [4, 8, 12]},
    "resnet8-wide": {"widths": [4, 6, 8]},
    "resnet14-wide": {"widths": [4, 6, 8]},
    "ds-cnn": {"width": 8, "blocks": 2},
    "mlp": {"hidden": [12, 8]},
    "resnet9": {"widths": [4, 6, 8], "residuals": [1, 1]},
    "sequence": {
        "layers": [
            {"conv": 6},
            {"block": {"channels": 8, "mid": 5}},
            {"avg_pool": 2},
            {"depthwise": {}},
            {"residual": 7},
            {"max_pool": 2},
            {"flatten": {}},
        ]
    },
}


def lively(graph, seed=0):
    """Random weights everywhere, batch norm statistics too."""
    generator = np.random.default_rng(seed)
    model = initial_model(graph, seed)
    weights = {}
    for k, v in model.weights.items():
        weights[k] = generator.normal(0, 0.5, v.shape).astype(np.float32)
        if "bn." in k and not k.endswith("running_mean"):
            weights[k] = np.abs(weights[k]) + np.float32(0.5)  # or every ReLU of a deep net is off, and nothing shows
    return Model(graph, weights)


def net(name):
    return lively(build_net(name, SMALL.get(name, {}), (1, 8, 8), 3))


def outputs(model):
    x = torch.from_numpy(np.random.default_rng(1).normal(0, 1, (5, *model.graph.input_shape)).astype(np.float32))
    with torch.no_grad():
        return GraphModule(model).eval()(x).numpy()


def silence(model, group, channels):
    """Make channels exactly zero wherever they are made: rows, biases and what batch norm would add."""
    weights = {k: v.copy() for k, v in model.weights.items()}
    for producer in group.producers:
        for parameter in ("weight", "bias"):
            if f"{producer}.{parameter}" in weights:
                weights[f"{producer}.{parameter}"][channels] = 0
    for tie in group.followers:
        rows = [c * tie.repeat + r for c in channels for r in range(tie.repeat)]
        for parameter in ("weight", "bias", "running_mean"):
            if f"{tie.node}.{parameter}" in weights:
                weights[f"{tie.node}.{parameter}"][rows] = 0
    return Model(model.graph, weights)


def cnn_with_flatten():
    """A convolution whose channels become blocks of 4 features, then batch norm over those features."""
    conv = {"in_channels": 1, "out_channels": 6, "kernel": [3, 3], "stride": [2, 2], "padding": [0, 0], "groups": 1}
    return Graph(
        (
            Node("input", "input", (), {"shape": [1, 5, 5]}),
            Node("conv", "conv2d", ("input",), {**conv, "bias": True}),
            Node("flat", "flatten", ("conv",)),
            Node("flat_bn", "batch_norm", ("flat",), {"channels": 24, "eps": 1e-5}),
            Node("head", "linear", ("flat_bn",), {"in_features": 24, "out_features": 3, "bias": True}),
        ),
        "head",
    )


@pytest.mark.parametrize("name", [*NETS, "flatten"])
def test_removing_silent_channels_changes_no_output(name):
    model = lively(cnn_with_flatten()) if name == "flatten" else net(name)
    groups = [g for g in channel_groups(model.graph) if g.prunable]
    assert groups
    keep = {}
    for group in groups:
        gone = [0, group.channels // 2]
        model = silence(model, group, gone)
        keep[group.name] = [i for i in range(group.channels) if i not in gone]

    narrow = remove_channels(model, keep)

    assert np.ptp(outputs(model), axis=0).min() > 1e-3  # the net is alive
    assert sum(a.size for a in narrow.weights.values()) < sum(a.size for a in model.weights.values())
    np.testing.assert_allclose(outputs(narrow), outputs(model), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETS)
def test_canary_removing_live_channels_does_change_them(name):
    model = net(name)
    group = next(g for g in channel_groups(model.graph) if g.prunable)

    narrow = remove_channels(model, {group.name: range(1, group.channels)})

    assert np.abs(outputs(narrow) - outputs(model)).max() > 1e-3


@pytest.mark.parametrize("name", NETS)
def test_torch_pruning_removes_the_same_weights(name):
    """An independent tool traces the torch module and decides by itself what must go together."""
    tp = pytest.importorskip("torch_pruning")
    model = net(name)
    for group in [g for g in channel_groups(model.graph) if g.prunable]:
        module = _as_layers(model)
        graph = tp.DependencyGraph().build_dependency(module, torch.zeros(2, *model.graph.input_shape))
        target = getattr(module, group.producers[0])
        prune = tp.prune_conv_out_channels if isinstance(target, torch.nn.Conv2d) else tp.prune_linear_out_channels
        gone = [0, group.channels - 1]
        graph.get_pruning_group(target, prune, idxs=gone).prune()

        ours = remove_channels(model, {group.name: [i for i in range(group.channels) if i not in gone]})

        theirs = {k.replace("__", "."): v.numpy() for k, v in module.state_dict().items()}
        for key, array in ours.weights.items():
            np.testing.assert_array_equal(array, theirs[key], err_msg=f"{group.name}: {key}")


class _Layers(torch.nn.Module):
    """The graph as ordinary torch layers, which is what torch-pruning can trace."""

    def __init__(self, model):
        super().__init__()
        self.graph = model.graph
        for n in model.graph:
            a = n.attrs
            if n.op == "conv2d":
                layer = torch.nn.Conv2d(a["in_channels"], a["out_channels"], a["kernel"], a["stride"], a["padding"],
                                        groups=a["groups"], bias=a["bias"])  # fmt: skip
            elif n.op == "linear":
                layer = torch.nn.Linear(a["in_features"], a["out_features"], a["bias"])
            elif n.op == "batch_norm":
                layer = torch.nn.BatchNorm2d(a["channels"], a["eps"])
            else:
                continue
            layer.load_state_dict(
                {
                    k.split(".")[1]: torch.from_numpy(v.copy())
                    for k, v in model.weights.items()
                    if k.split(".")[0] == n.name
                },
                strict=False,
            )
            setattr(self, n.name, layer)

    def forward(self, x):
        values = {}
        for n in self.graph:
            inputs = [values[i] for i in n.inputs] or [x]
            if hasattr(self, n.name) and n.op in ("conv2d", "linear", "batch_norm"):
                values[n.name] = getattr(self, n.name)(*inputs)
            elif n.op == "relu":
                values[n.name] = torch.relu(*inputs)
            elif n.op == "add":
                values[n.name] = inputs[0] + inputs[1]
            elif n.op in ("max_pool", "avg_pool"):
                pool = torch.nn.functional.max_pool2d if n.op == "max_pool" else torch.nn.functional.avg_pool2d
                values[n.name] = pool(inputs[0], n.attrs["kernel"], n.attrs["stride"], n.attrs["padding"])
            elif n.op == "global_avg_pool":
                values[n.name] = inputs[0].mean((2, 3))
            elif n.op == "flatten":
                values[n.name] = inputs[0].flatten(1)
            else:
                values[n.name] = inputs[0]
        return values[self.graph.output]


def _as_layers(model):
    return _Layers(model).eval()


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ({"nope": [0]}, "no channel group 'nope'"),
        ({"classifier": [0, 1]}, "its channels cannot be removed: its channels are the classes"),
        ({"stem": [1, 0]}, r"\[1, 0\] are no ascending channels"),
        ({"stem": [0, 0]}, r"\[0, 0\] are no ascending channels"),
        ({"stem": [0, 4]}, r"\[0, 4\] are no ascending channels"),
        ({"stem": [-1, 0]}, r"\[-1, 0\] are no ascending channels"),
        ({"stem": []}, "0 channels of 4"),
    ],
)
def test_wrong_channels_are_refused(keep, message):
    with pytest.raises(ModelError, match=message):
        remove_channels(net("resnet8"), keep)


def test_the_input_is_left_alone_and_all_channels_is_no_change():
    model = net("resnet8")
    before = model.digest()

    assert remove_channels(model, {"stem": range(4)}).digest() == before
    remove_channels(model, {"stem": [0, 2]})
    assert model.digest() == before
