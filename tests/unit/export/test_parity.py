"""Exported files against the meaning of the graph, for generated nets and for one net with everything in it.

Tolerances. Float: 1e-4 of values near one, a hundred times float32's rounding over these sums. Int8 in ONNX Runtime:
one step of the output's grid. Its kernels sum exactly and round once, so they differ from the simulation only where
the int32 bias rounds a value over a boundary; measured on 200 nets: 0.3 % of outputs, by one step. Int8 in LiteRT: four
steps; XNNPACK adds in fixed point, which is off by one here and there, and a layer behind an addition multiplies that;
measured: 2.2 % of outputs, at most three steps.
"""

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from onnx import TensorProto, numpy_helper

from compress.export.counts import count_onnx, count_tflite
from compress.export.onnx import to_onnx
from compress.export.tflite import to_tflite
from compress.model.model import Model
from compress.model.nets import build_net
from compress.model.rewrite import fold_batch_norm
from compress.model.shapes import parameter_shapes
from compress.numerics.affine import MIN_SCALE
from tests.unit.export.engines import delegated, interpreter, run_onnx, run_tflite
from tests.unit.export.nets import Net, dynamic, inputs, quantized
from tests.unit.export.reference import logits
from tests.unit.export.strategies import branching_models, models

EXAMPLES = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def everything() -> Model:
    """Residual addition, depthwise, both poolings, both ReLUs, a convolution without bias, flatten over an image."""
    net = Net(3, 14, 13)
    x = net.conv(8, 3, 2, 1, bias=False)
    net.add("relu6")
    x = net.last
    net.conv(8, 3, 1, 1)
    net.add("batch_norm", channels=8, eps=1e-5)
    net.add("add", net.last, x)
    net.add("relu")
    net.conv(8, 3, 1, 1, 8)
    net.add("relu6")
    net.pool("max_pool", 3, 2, 1)
    net.conv(16, 1)
    net.pool("avg_pool", 2, 1)
    net.add("flatten")
    net.linear(12)
    net.add("relu")
    net.linear(10)
    return net.model()


def steps(model: Model, got: np.ndarray, want: np.ndarray) -> np.ndarray:
    return np.abs(got - want) / float(model.weights[f"{model.graph.output}.scale"])


@EXAMPLES
@given(models())
def test_float_onnx_means_the_graph(model):
    x = inputs(model)
    np.testing.assert_allclose(run_onnx(to_onnx(model, name="m"), x), logits(model, x), atol=1e-4)


@EXAMPLES
@given(models(padded_average=False))
def test_float_tflite_means_the_graph(model):
    x = inputs(model)
    np.testing.assert_allclose(run_tflite(to_tflite(model, name="m"), x), logits(model, x), atol=1e-4)


@EXAMPLES
@given(models())
def test_int8_onnx_is_within_one_step_and_all_integer(model):
    x = inputs(model)
    int8 = quantized(model, x)
    data = to_onnx(int8, name="m")
    assert steps(int8, run_onnx(data, x), logits(int8, x)).max() < 1.01
    assert count_onnx(data).kernels == {"integer": len(model.graph.layers), "dynamic-integer": 0, "float": 0}


@EXAMPLES
@given(models(padded_average=False))
def test_int8_tflite_is_within_four_steps_and_all_integer(model):
    x = inputs(model)
    int8 = quantized(model, x)
    data = to_tflite(int8, name="m")
    assert steps(int8, run_tflite(data, x), logits(int8, x)).max() < 4.01
    assert count_tflite(data).kernels == {"integer": len(model.graph.layers), "dynamic-integer": 0, "float": 0}


@EXAMPLES
@given(branching_models())
def test_nets_that_branch_mean_the_same_in_both_files_float_and_int8(model):
    """Measured on 3,000 nets: three steps at most in ONNX Runtime, where branches meet that were rounded apart; five in
    LiteRT, where XNNPACK changes grids in fixed point, 1 % of the values a step too high, and a layer sums them up."""
    x = inputs(model)
    want = logits(model, x)
    np.testing.assert_allclose(run_onnx(to_onnx(model, name="m"), x), want, atol=1e-4)
    np.testing.assert_allclose(run_tflite(to_tflite(model, name="m"), x), want, atol=1e-4)
    int8 = quantized(model, x)
    want = logits(int8, x)
    assert steps(int8, run_onnx(to_onnx(int8, name="m"), x), want).max() < 3.01
    assert steps(int8, run_tflite(to_tflite(int8, name="m"), x), want).max() < 5.01


@EXAMPLES
@given(models())
def test_dynamic_onnx_means_the_graph_for_each_example(model):
    model = dynamic(model)
    data = to_onnx(model, name="m")
    for x in np.split(inputs(model, 2), 2):
        want = logits(model, x)
        # A float32 sum at a rounding boundary of the next layer's range moves one activation by one step.
        np.testing.assert_allclose(run_onnx(data, x), want, atol=0.02 * max(1.0, np.abs(want).max()))
    assert count_onnx(data).kernels["dynamic-integer"] == len(model.graph.layers)


def test_a_dynamic_onnx_file_cannot_be_given_a_batch_whose_range_all_would_share():
    model = dynamic(everything())
    x = inputs(model, 2)
    with pytest.raises(Exception, match="Got: 2 Expected: 1"):
        run_onnx(to_onnx(model, name="m"), x)


@pytest.mark.parametrize("bits", [7, 8])
def test_a_net_with_everything_in_it_in_int8(bits):
    model = everything()
    x = inputs(model, 64)
    int8 = quantized(model, x, bits=bits)
    want = logits(int8, x)
    ort, tflite = to_onnx(int8, name="m"), to_tflite(int8, name="m")
    assert steps(int8, run_onnx(ort, x), want).max() < 1.01
    assert steps(int8, run_tflite(tflite, x), want).max() < 3.01
    assert (steps(int8, run_tflite(tflite, x), want) > 0.5).mean() < 0.1
    assert count_onnx(ort).layer_kernels == count_tflite(tflite).layer_kernels
    assert set(count_onnx(ort).layer_kernels.values()) == {"integer"}
    operators = count_onnx(ort).operators
    assert operators == {
        "QuantizeLinear": 1, "Pad": 1, "QLinearConv": 4, "QLinearAdd": 1, "MaxPool": 1,
        "QLinearAveragePool": 1, "Flatten": 1, "QGemm": 2, "DequantizeLinear": 1,
    }  # fmt: skip
    assert delegated(interpreter(tflite))


@pytest.mark.parametrize(("bits", "limit"), [(7, 63), (8, 127)])
def test_both_files_hold_weights_of_that_many_bits_however_small_the_learnt_scale(bits, limit):
    model = everything()
    int8 = quantized(model, inputs(model, 16), bits=bits)
    learnt = {k: v / 2 if k.endswith("weight_scale") else v for k, v in int8.weights.items()}
    int8 = Model(int8.graph, learnt)
    constants = onnx.load_from_string(to_onnx(int8, name="m")).graph.initializer
    weights = [numpy_helper.to_array(i) for i in constants if len(i.dims) > 1 and i.data_type == TensorProto.INT8]
    it = interpreter(to_tflite(int8, name="m"))
    named = [d for d in it.get_tensor_details() if d["name"] in {n.name for n in model.graph.layers}]

    assert [int(np.abs(w.astype(int)).max()) for w in weights] == [limit] * 6
    assert [int(np.abs(it.get_tensor(d["index"]).astype(int)).max()) for d in named] == [limit] * 6


@pytest.mark.parametrize("kept", ["conv2d1", "conv2d3", "conv2d7", "conv2d10", "linear13", "linear15"])
def test_a_layer_that_stays_float_among_integer_ones(kept):
    model = everything()
    x = inputs(model, 16)
    assert kept in {n.name for n in model.graph.layers}
    mixed = quantized(model, x, keep_float=[kept])
    want = logits(mixed, x)
    tolerance = 0.02 * np.abs(want).max()
    ort, tflite = to_onnx(mixed, name="m"), to_tflite(mixed, name="m")
    for data, run, count in ((ort, run_onnx, count_onnx), (tflite, run_tflite, count_tflite)):
        np.testing.assert_allclose(run(data, x), want, atol=tolerance)
        kernels = count(data).layer_kernels
        assert [name for name, kind in kernels.items() if kind == "float"] == [kept]
        assert len(kernels) == 6


def test_float16_weights_are_half_and_close():
    model = everything()
    x = inputs(model)
    full, half = to_tflite(model, name="m"), to_tflite(model, name="m", float16=True)
    assert count_tflite(half).weight_bytes < 0.52 * count_tflite(full).weight_bytes
    np.testing.assert_allclose(run_tflite(half, x), logits(model, x), atol=5e-3)
    assert delegated(interpreter(half))


def test_dynamic_tflite_is_close_to_float_and_counted():
    model = everything()
    x = inputs(model)
    data = to_tflite(dynamic(model), name="m")
    want = logits(model, x)
    np.testing.assert_allclose(run_tflite(data, x), want, atol=0.05 * np.abs(want).max())
    assert set(count_tflite(data).layer_kernels.values()) == {"dynamic-integer"}


@pytest.mark.parametrize("size", [(28, 28), (27, 27), (28, 27), (7, 8)])
@pytest.mark.parametrize(
    ("k", "stride", "pad"), [(3, 2, 1), (3, 1, 1), (5, 2, 2), (2, 2, 1), (1, 2, 0), (3, 2, 0), (4, 3, 1)]
)
def test_tflite_pads_where_torch_does(size, k, stride, pad):
    net = Net(2, *size)
    net.conv(4, k, stride, pad)
    net.pool("max_pool", k, stride, min(pad, k // 2))  # of values below zero: the padding must not win
    net.conv(6, 3, 1, 1, 2)
    net.add("flatten")
    net.linear(3)
    model = net.model()
    x = inputs(model, 2)
    np.testing.assert_allclose(run_tflite(to_tflite(model, name="m"), x), logits(model, x), atol=1e-4)
    int8 = quantized(model, x)
    assert steps(int8, run_tflite(to_tflite(int8, name="m"), x), logits(int8, x)).max() < 2.01


def test_a_vector_net_of_linear_layers_alone():
    net = Net(20)
    net.linear(16)
    net.add("relu")
    net.linear(5)
    model = net.model()
    x = inputs(model, 32)
    int8 = quantized(model, x)
    want = logits(int8, x)
    assert steps(int8, run_onnx(to_onnx(int8, name="m"), x), want).max() < 1.01
    assert steps(int8, run_tflite(to_tflite(int8, name="m"), x), want).max() < 1.01


@pytest.mark.parametrize("zero_point", [0, 10])
def test_an_activation_is_kept_where_the_learnt_grid_does_not_imply_it(zero_point):
    net = Net(1, 6, 6)
    net.conv(4, 3, 1, 1)
    net.add("relu6")
    net.conv(4, 3, 1, 1)
    net.add("relu")
    net.add("global_avg_pool")
    net.linear(3)
    model = net.model()
    x = 20 * inputs(model)
    int8 = quantized(model, x)
    wide = {f"relu{i}_q.scale": np.asarray(int8.weights[f"relu{i}_q.scale"] * np.float32(1.5)) for i in ("62", "4")}
    shift = {k.replace("scale", "zero_point"): np.asarray(np.int32(zero_point)) for k in wide}
    int8 = Model(int8.graph, {**int8.weights, **wide, **shift})
    want = logits(int8, x)
    ort, tflite = to_onnx(int8, name="m"), to_tflite(int8, name="m")
    assert steps(int8, run_onnx(ort, x), want).max() < 1.01
    assert steps(int8, run_tflite(tflite, x), want).max() < 2.01
    assert count_onnx(ort).operators["Clip"] == (2 if zero_point else 1)
    assert count_onnx(ort).kernels["integer"] == 3
    assert delegated(interpreter(tflite))


def test_a_dead_layer_still_loads_and_gives_its_bias():
    """Its output was constant zero while ranges were taken: a grid of almost no width, which XNNPACK refuses."""
    net = Net(1, 6, 6)
    net.conv(2, 1)
    net.add("relu")
    net.add("global_avg_pool")
    net.linear(3)
    model = net.model()
    dead = {"conv2d1.weight": -np.ones((2, 1, 1, 1), np.float32), "conv2d1.bias": -np.ones(2, np.float32)}
    model = Model(model.graph, {**model.weights, **dead})
    x = np.abs(inputs(model))
    int8 = quantized(model, x)
    assert float(int8.weights["relu2_q.scale"]) == pytest.approx(MIN_SCALE)
    for got in (run_onnx(to_onnx(int8, name="m"), x), run_tflite(to_tflite(int8, name="m"), x)):
        np.testing.assert_allclose(got, logits(model, x), atol=0.01)


def test_a_channel_pruned_to_zero_keeps_its_bias():
    """Its weight scale is tiny, and in units of it the bias would not fit 32 bits."""
    net = Net(1, 6, 6)
    net.conv(2, 3, 1, 1)
    net.add("global_avg_pool")
    net.linear(3)
    model = net.model()
    weight = model.weights["conv2d1.weight"].copy()
    weight[0] = 0.0
    model = Model(model.graph, {**model.weights, "conv2d1.weight": weight, "conv2d1.bias": np.float32([9.0, 0.1])})
    x = inputs(model)
    int8 = quantized(model, x)
    want = logits(int8, x)
    for got in (run_onnx(to_onnx(int8, name="m"), x), run_tflite(to_tflite(int8, name="m"), x)):
        assert steps(int8, got, want).max() < 2.01


def test_two_convolutions_read_the_image():
    """Both are widened to four channels; the image is filled up once."""
    net = Net(1, 8, 8)
    wide, narrow = net.conv(4, 3, 1, 1, x="input"), net.conv(4, 1, x="input")
    net.add("add", wide, narrow)
    net.add("relu")
    net.add("global_avg_pool")
    net.linear(3)
    model = net.model()
    x = inputs(model, 16)
    int8 = quantized(model, x)
    want, ort = logits(int8, x), to_onnx(int8, name="m")
    assert steps(int8, run_onnx(ort, x), want).max() < 1.01
    assert steps(int8, run_tflite(to_tflite(int8, name="m"), x), want).max() < 2.01
    assert count_onnx(ort).operators["Pad"] == 1
    assert set(count_onnx(ort).layer_kernels.values()) == {"integer"}


def test_six_is_cut_off_exactly_though_the_grid_before_it_is_coarse():
    """Behind the pooling it has no convolution of its own; of that one's grid the number nearest to 6 may be 0."""
    net = Net(1, 6, 6)
    net.conv(2, 1)
    net.pool("max_pool", 2, 2)
    net.add("relu6")
    net.add("global_avg_pool")
    net.linear(3)
    model = net.model()
    x = 5000 * inputs(model, 16)
    int8 = quantized(model, x)
    assert float(int8.weights["conv2d1_q.scale"]) > 12.0
    want = logits(int8, x)
    assert steps(int8, run_onnx(to_onnx(int8, name="m"), x), want).max() < 2.01
    assert steps(int8, run_tflite(to_tflite(int8, name="m"), x), want).max() < 2.01


@pytest.mark.parametrize(("name", "args"), [("resnet8", {"widths": [8, 12, 16], "kernel": 7}),
                                            ("ds-cnn", {"width": 16, "kernel": 9})])  # fmt: skip
def test_one_dimensional_nets_on_windows(name, args):
    graph = build_net(name, args, (6, 1, 50), 7)
    generator = np.random.default_rng(0)
    drawn = {f"{n.name}.{p}": generator.uniform(0.3, 0.6, s) if p in ("weight", "running_var") and len(s) == 1
             else generator.normal(0, 0.2, s) for n in graph for p, s in parameter_shapes(n).items()}  # fmt: skip
    model = fold_batch_norm(Model(graph, {k: v.astype(np.float32) for k, v in drawn.items()}))
    x = inputs(model, 32)
    want = logits(model, x)
    np.testing.assert_allclose(run_onnx(to_onnx(model, name="m"), x), want, atol=1e-4 * np.abs(want).max())
    np.testing.assert_allclose(run_tflite(to_tflite(model, name="m"), x), want, atol=1e-4 * np.abs(want).max())
    int8 = quantized(model, x)
    want = logits(int8, x)
    for data, run, count, limit in ((to_onnx(int8, name="m"), run_onnx, count_onnx, 1.01),
                                    (to_tflite(int8, name="m"), run_tflite, count_tflite, 4.01)):  # fmt: skip
        assert steps(int8, run(data, x), want).max() < limit
        assert set(count(data).layer_kernels.values()) == {"integer"}
