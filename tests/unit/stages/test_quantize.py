import numpy as np
import pytest
import torch

from compress.data.sources import open_data
from compress.errors import ModelError, StageError
from compress.model.graph import Graph
from compress.model.module import GraphModule, initial_model
from compress.model.nets import build_net
from compress.recipe.schema import DataConfig, QuantizeConfig, TrainConfig
from compress.stages.base import Context, run_stage
from compress.stages.quantize import quantize
from compress.stages.train import train


@pytest.fixture(scope="module")
def data():
    return open_data(DataConfig(source="digits", limit=800), 0).load().without_test()


@pytest.fixture(scope="module")
def model(data):
    fresh = initial_model(build_net("resnet8", {"widths": [8, 8, 8]}, data.input_shape, 10), 0)
    config = TrainConfig(epochs=6, learning_rate=0.02)
    return run_stage(train, fresh, config, Context(0, data), where="train").model


def apply(model, data, **options):
    return run_stage(quantize, model, QuantizeConfig(**options), Context(0, data), where="quantize")


def top1(model, data):
    with torch.no_grad():
        logits = GraphModule(model).eval()(torch.from_numpy(data.inputs(data.validation)))
    return float((logits.argmax(1).numpy() == data.validation.y).mean())


@pytest.mark.parametrize(
    "options",
    [
        {"how": "static"},
        {"how": "static", "calibration": "percentile"},
        {"how": "static", "calibration": "entropy"},
        {"how": "static", "weight_bits": 7},
        {"how": "dynamic"},
        {"how": "qat", "epochs": 1},
    ],
    ids=str,
)
def test_every_way_keeps_most_of_the_accuracy_of_a_trained_net(model, data, options):
    before = top1(model, data)
    result = apply(model, data, **options)

    assert before > 0.9
    assert top1(result.model, data) >= before - 0.05
    assert all(n.attrs["weight_bits"] == options.get("weight_bits", 8) for n in result.model.graph.layers)
    assert not result.kept


def test_canary_ranges_a_hundred_times_too_small_destroy_it(model, data):
    result = apply(model, data, how="static")
    weights = {k: v / 100 if k.endswith("_q.scale") else v for k, v in result.model.weights.items()}

    assert top1(type(model)(result.model.graph, weights), data) < 0.5


def test_qat_learns_weights_and_scales(model, data):
    static, tuned = apply(model, data, how="static").model, apply(model, data, how="qat", epochs=1).model

    moved = [k for k in static.weights if not np.array_equal(static.weights[k], tuned.weights[k])]
    assert any(k.endswith("_q.scale") for k in moved)
    assert any(k.endswith(".weight_scale") for k in moved)
    assert any(k.endswith(".weight") for k in moved)
    assert not [k for k in moved if k.endswith(".zero_point")]


def test_a_layer_left_in_float_says_why(model, data):
    result = apply(model, data, layers=("re:block", "classifier"), keep_float=("classifier",))

    assert result.kept == {"stem": "not chosen by layers", "classifier": "chosen by keep_float"}
    assert "weight_bits" not in result.model.graph.node("stem").attrs


def test_patterns_that_fit_nothing_or_leave_nothing_are_errors(model, data):
    with pytest.raises(
        ModelError, match=r"quantize.layers: pattern 're:block9' matches no layer\n  fix: the layers are"
    ):
        apply(model, data, layers=("re:block9",))
    with pytest.raises(StageError, match="no layer is left to quantize"):
        apply(model, data, keep_float=("re:.*",))


def test_quantizing_twice_is_refused(model, data):
    once = apply(model, data, how="static").model
    with pytest.raises(StageError, match="quantized already"):
        apply(once, data, how="static")
    assert isinstance(once.graph, Graph)
