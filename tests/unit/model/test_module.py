import numpy as np
import pytest
import torch

from compress.model.graph import Graph, Node
from compress.model.model import Model
from compress.model.module import GraphModule, initial_model
from compress.model.nets import build_net
from compress.numerics.affine import (
    activation_grid,
    dequantize_activation,
    quantize_activation,
    quantize_weight,
    weight_scales,
)


def test_a_model_survives_the_trip_through_torch():
    model = initial_model(build_net("resnet8", {}, (1, 16, 16), 4), 0)

    assert GraphModule(model).to_model().digest() == model.digest()


def test_training_the_module_leaves_the_model_alone():
    model = initial_model(build_net("mlp", {}, (1, 4, 4), 3), 0)
    before = model.digest()
    module = GraphModule(model)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(1.0)

    assert model.digest() == before
    assert module.to_model().digest() != before


def test_taps_give_the_outputs_of_nodes():
    model = initial_model(build_net("ds-cnn", {}, (1, 16, 16), 4), 0)
    logits, taps = GraphModule(model).eval()(torch.ones(2, 1, 16, 16), taps=("stem_relu", "classifier"))

    assert set(taps) == {"stem_relu", "classifier"}
    assert taps["stem_relu"].shape == (2, 32, 8, 8)
    assert torch.equal(taps["classifier"], logits)


@pytest.mark.parametrize("bits", [7, 8])
def test_simulated_rounding_equals_the_integers_that_are_exported(bits):
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 1, (3, 8)).astype(np.float32)
    x = rng.normal(0, 2, (5, 8)).astype(np.float32)
    scale, zero_point = activation_grid(-3.0, 4.0)
    nodes = (
        Node("input", "input", (), {"shape": [8]}),
        Node("input_q", "quantize", ("input",), {"bits": 8}),
        Node("fc", "linear", ("input_q",), {"in_features": 8, "out_features": 3, "bias": False, "weight_bits": bits,
                                            "activations": "static"}),
    )  # fmt: skip
    scales = weight_scales(weight, bits) * 0.7  # so that some weights are clipped
    weights = {"input_q.scale": np.asarray(scale), "input_q.zero_point": np.asarray(zero_point), "fc.weight": weight,
               "fc.weight_scale": scales}  # fmt: skip
    with torch.no_grad():
        simulated = GraphModule(Model(Graph(nodes, "fc"), weights)).eval()(torch.from_numpy(x)).numpy()

    integers = quantize_weight(weight, scales, bits).astype(np.float32) * scales[:, None]
    inputs = dequantize_activation(quantize_activation(x, scale, zero_point), scale, zero_point)
    np.testing.assert_allclose(simulated, inputs @ integers.T, rtol=1e-4, atol=1e-4)


def test_scales_learn_and_stay_positive():
    nodes = (Node("input", "input", (), {"shape": [4]}), Node("q", "quantize", ("input",), {"bits": 8}))
    model = Model(Graph(nodes, "q"), {"q.scale": np.float32(1e-3).reshape(()), "q.zero_point": np.int32(0).reshape(())})
    module = GraphModule(model)
    optimizer = torch.optim.SGD(module.parameters(), lr=10.0)
    x = torch.full((16, 4), 5.0)
    for _ in range(20):
        loss = (module(x) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    assert float(module.to_model().weights["q.scale"]) > 1e-3
