"""Time by layer: the profiler's names traced back to layers, files timed beside each other, the order of plans."""

import numpy as np
import onnx
import pytest
from edge_runtime.edge_protocol import Profile

from compress.blame import times
from compress.blame.blame import blame
from compress.blame.plans import best, cheapest_first, heaviest_first, worst_first
from compress.blame.times import Timed, profiled, timed
from compress.blame.variants import integer_layers
from compress.blamed import LayerBlame, Mixed
from compress.data.sources import open_data
from compress.errors import MeasureError
from compress.export.bundle import write_bundle
from compress.export.onnx import to_onnx
from compress.export.tflite import to_tflite
from compress.model.model import Model
from compress.model.nets import build_net
from compress.model.rewrite import drop_quantizers
from compress.recipe.schema import DataConfig
from compress.report.pages.blame import render
from tests.unit.export.nets import inputs, quantized, random_model

QUICK = Profile(processes=2, seconds=0.02, warmup_s=0.01, min_runs=5, starts=0, throughput_s=0.0)


def layer(name, *, kl, saves=None, findings=()):
    return LayerBlame(name=name, op="conv2d", weight_sqnr_db=40, output_sqnr_db=40, clipped=0, zero_channels=0, gain=1,
                      alone_kl=0.1, alone_top1=0.9, without_kl=kl, without_top1=0.9, saves_ms=saves,
                      findings=findings)  # fmt: skip


def mix(*kept, kl, ms, recovered=None):
    return Mixed(keep_float=kept, predicted_kl=kl, kl=kl, top1=0.9, size_bytes=1, recovered=recovered, milliseconds=ms)


class Ground:
    kl = 1.0


@pytest.fixture(scope="module")
def net():
    model = random_model(build_net("ds-cnn", {"width": 16, "blocks": 1}, (1, 12, 12), 4))
    return quantized(model, inputs(model))


@pytest.mark.parametrize("integer", [True, False])
def test_every_layer_has_its_time_whatever_the_optimiser_calls_it(net, integer):
    model = net if integer else drop_quantizers(net)
    names = [n.name for n in net.graph.layers]
    content = to_onnx(model, name="x")
    feed = {onnx.load_from_string(content).graph.input[0].name: inputs(net, 1)}

    how, found = profiled(content, "onnx", feed, names)

    assert "onnxruntime" in how
    assert set(found) == set(names)
    assert all(ms > 0 for ms, _ in found.values())
    assert sum(share for _, share in found.values()) <= 1.0 + 1e-9


def test_tflite_says_why_it_has_no_times(net):
    how, found = profiled(to_tflite(net, name="x"), "tflite", {}, integer_layers(net))

    assert found == {}
    assert "no time of single operators" in how


def test_a_file_is_timed_beside_the_int8_one(net, tmp_path):
    from edge_runtime.preprocessing import Preprocessing

    c, h, w = net.graph.input_shape
    made = {}
    for name, model in {"int8": net, "float": drop_quantizers(net)}.items():
        image = Preprocessing("image", height=h, width=w, channels=c, scale=1.0, mean=(0.0,) * c, std=(1.0,) * c)
        raw = np.zeros((2, h, w, c), np.uint8)
        write_bundle(tmp_path / name, name="x", task="image-classification", labels=list("abcd"), preprocessing=image,
                     files={"onnx": to_onnx(model, name="x")}, precision="int8", reference_inputs=raw)  # fmt: skip
        made[name] = tmp_path / name

    found = timed(made, "int8", QUICK, lambda done, total, note: None)

    base, other = found["int8"].milliseconds, found["float"]
    assert found["int8"].slower_ms == 0
    assert other.milliseconds == pytest.approx(base + other.slower_ms)
    assert other.ci95[0] <= other.slower_ms <= other.ci95[1]


def test_a_bundle_that_cannot_be_opened_is_told(tmp_path):
    with pytest.raises(MeasureError, match="manifest"):
        timed({"int8": tmp_path}, "int8", QUICK, lambda done, total, note: None)


def test_what_comes_back_is_weighed_against_its_time():
    dear, cheap, idle = layer("dear", kl=0.2, saves=1.0), layer("cheap", kl=0.4, saves=0.01), layer("idle", kl=1.1)
    broken = layer("broken", kl=0.9, saves=5.0, findings=("wrong scale",))

    assert [r.name for r in worst_first([idle, cheap, dear, broken], 1.0)] == ["broken", "dear", "cheap", "idle"]
    assert [r.name for r in cheapest_first([idle, dear, cheap, broken], 1.0)] == ["broken", "cheap", "dear", "idle"]


def test_layers_that_each_ruin_the_answers_stand_by_what_each_costs_alone():
    light, heavy = layer("light", kl=0.9), layer("heavy", kl=1.0).model_copy(update={"alone_kl": 0.8})

    assert [r.name for r in worst_first([heavy, light], 1.0)] == ["light", "heavy"]
    assert [r.name for r in heaviest_first([light, heavy], 1.0)] == ["heavy", "light"]


def test_of_plans_that_give_enough_back_the_fastest_is_advised():
    tried = [mix("a", kl=0.1, ms=0.9), mix("b", "c", kl=0.15, ms=0.6), mix("c", kl=0.5, ms=0.5)]

    assert best(tried, Ground, Timed(1.0, 0.5, None)) is tried[1]


def test_a_plan_as_slow_as_float_is_none():
    tried = [mix("a", kl=0.1, ms=1.1)]

    assert best(tried, Ground, Timed(1.0, 0.5, None)) is None
    assert best(tried, Ground, None) is tried[0]


def test_suffixes_of_the_optimiser_are_cut():
    assert times._SUFFIX.sub("", "block1_1_conv1_token_6") == "block1_1_conv1"
    assert times._SUFFIX.sub("", "d_nchwc") == "d"


@pytest.mark.slow
def test_with_times_a_plan_is_predicted_and_measured(monkeypatch):
    for name in ("LAYERS", "PLANS"):
        monkeypatch.setattr(times, name, Profile(1, 0.02, 0.01, 5, starts=0, throughput_s=0.0))
    data = open_data(DataConfig(source="digits", limit=500, calibration=64), 0).load()
    model = random_model(build_net("ds-cnn", {"width": 16, "blocks": 1}, data.input_shape, 10))
    sound = quantized(model, data.inputs(data.calibration))
    weights = {k: v.copy() for k, v in sound.weights.items()}
    weights["block1_pw.weight"][::2] = 0
    content = to_onnx(Model(sound.graph, weights), name="x")

    found = blame(content, "onnx", sound, data, name="run", artefact="x.onnx", examples=40, timing=True)

    assert all(r.saves_ms is not None and r.milliseconds > 0 for r in found.layers)
    assert found.milliseconds > 0
    assert found.float_milliseconds > 0
    assert found.tried[0].keep_float == ("block1_pw",)
    assert found.tried[0].predicted_slower_ms == next(r.saves_ms for r in found.layers if r.name == "block1_pw")
    assert found.tried[0].slower_ms is not None
    assert "Cost in accuracy against cost in time" in render(found)
