"""The export step's record: what it says is read from the file."""

import numpy as np
import pytest

from compress.data.splits import make_dataset
from compress.errors import StageError
from compress.model.model import Model
from compress.readers.raw import Raw
from compress.recipe.schema import DataConfig
from compress.run.exports import ArtefactPlan, write_artefact
from tests.unit.export.nets import Net, dynamic, quantized

RNG = np.random.default_rng(0)
DATA = make_dataset(
    Raw(RNG.integers(0, 256, (60, 6, 6), dtype=np.uint8), np.arange(60) % 3), DataConfig(npz="x.npz"), 0, name="toy",
    fingerprint="f",
)  # fmt: skip


@pytest.fixture
def model():
    net = Net(1, 6, 6)
    net.conv(8, 3, 1, 1)
    net.add("relu")
    net.conv(8, 3, 1, 1)
    net.add("relu")
    net.add("global_avg_pool")
    net.linear(3)
    return net.model()


@pytest.fixture(params=["onnx", "tflite"])
def facts_of(request, tmp_path):
    """facts_of(model): the record of its export, once in either format."""
    plan = ArtefactPlan("01-quantize.file", "01-quantize", request.param, "as-is")
    return lambda m: write_artefact(tmp_path / "b", m, plan, name="m", task="image-classification", data=DATA)


def int8(model):
    return quantized(model, DATA.inputs(DATA.train))


def without_grid_behind(model, layer):
    """The quantized model with the grid behind a layer (and its ReLU) taken out."""
    graph = model.graph
    grid = next(n for n in graph if n.op == "quantize" and graph.node(n.inputs[0]).inputs[:1] == (layer,))
    nodes = []
    for node in graph:
        if node is not grid:
            inputs = tuple(grid.inputs[0] if i == grid.name else i for i in node.inputs)
            nodes.append(type(node)(node.name, node.op, inputs, node.attrs))
    weights = {k: v for k, v in model.weights.items() if not k.startswith(f"{grid.name}.")}
    return Model(graph.with_nodes(nodes), weights)


def test_a_layer_that_was_to_be_integer_and_is_not_is_named(model, facts_of):
    assert facts_of(int8(model))["strays"] == []
    facts = facts_of(without_grid_behind(int8(model), "conv2d1"))

    assert facts["strays"] == ["conv2d1", "conv2d3"]  # one has no grid to write to, the other none to read from
    assert facts["kernels"]["integer"] == 1


def test_float_and_dynamic_layers_are_no_strays(model, facts_of):
    assert facts_of(model)["strays"] == []
    assert facts_of(dynamic(model))["strays"] == []


def test_a_file_that_lost_all_its_integers_is_an_error(model, facts_of):
    lost = int8(model)
    for layer in ("conv2d1", "conv2d3"):
        lost = without_grid_behind(lost, layer)
    graph = lost.graph.with_nodes(
        n.with_attrs(weight_bits=None, activations=None) if n.op == "linear" else n for n in lost.graph
    )
    lost = Model(graph, {k: v for k, v in lost.weights.items() if k != "linear6.weight_scale"})

    with pytest.raises(StageError, match=r"no layer of 01-quantize\.file runs in integers though 2 should"):
        facts_of(lost)


def test_zeros_are_counted_among_the_integers_of_the_file(model, facts_of):
    """A weight that rounds to zero is zero where it runs, though its float origin is not."""
    weights = dict(model.weights)
    weights["conv2d3.weight"] = weights["conv2d3.weight"].copy()
    weights["conv2d3.weight"][:, 4:] *= 1e-6
    small = Model(model.graph, weights)
    share = small.weights["conv2d3.weight"].size / 2 / sum(w.size for k, w in weights.items() if k.endswith("weight"))

    assert facts_of(small)["sparsity"] == 0.0
    assert facts_of(int8(small))["sparsity"] == pytest.approx(share, abs=0.02)
