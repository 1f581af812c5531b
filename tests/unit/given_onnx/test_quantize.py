"""Each kind of graph becomes the integer file that suits it; the counts come from the graph as ONNX Runtime runs it."""

from dataclasses import replace

import numpy as np
import pytest
from onnx import numpy_helper

from compress.errors import DataError, UsageError
from compress.export.counts import count_onnx
from compress.given_onnx.analyse import analyse
from compress.given_onnx.compare import fidelity, run_file
from compress.given_onnx.judge import Limits, complaint
from compress.given_onnx.placement import integer_nodes
from compress.given_onnx.quantize import observe, quantized
from compress.given_onnx.recipe import make_recipe
from compress.given_onnx.tune import layer_noise, tune
from compress.onnx_file.open import open_onnx
from compress.onnx_file.prepare import prepare
from compress.plan.target import load_target
from tests.unit.onnx_file import nets

RNG = np.random.default_rng(3)
FEEDS = {
    "conv": [{"x": x[None]} for x in nets.images(48)],
    "dense": [{"x": RNG.normal(size=(1, 20)).astype(np.float32)} for _ in range(48)],
    "attention": [{"ids": RNG.integers(0, 100, (1, n % 12 + 3))} for n in range(48)],
    "lstm": [{"x": RNG.normal(size=(6, 1, 12)).astype(np.float32)} for _ in range(48)],
}
NETS = {"conv": nets.conv_net, "dense": nets.dense_net, "attention": nets.attention_net, "lstm": nets.lstm_net}


def ready(tmp_path, kind, target="x86-vnni", **options):
    prepared = prepare(open_onnx(nets.save(tmp_path / "net.onnx", NETS[kind]())))
    analysis = analyse(prepared, FEEDS[kind][0])
    return prepared, analysis, make_recipe(analysis, load_target(target), **options)


@pytest.mark.parametrize(
    ("kind", "seen", "first", "integer"),
    [
        ("conv", "convolutions", "static", {"integer": 3}),
        ("dense", "dense", "static", {"integer": 3}),
        ("attention", "transformer", "dynamic", {"dynamic-integer": 7}),
        ("lstm", "recurrent", "dynamic", {"dynamic-integer": 2}),
    ],
)
def test_the_kind_decides_and_every_layer_ends_up_integer(tmp_path, kind, seen, first, integer):
    prepared, analysis, recipe = ready(tmp_path, kind)
    candidate = recipe.candidates[0]

    data = quantized(prepared, recipe, candidate, observe(prepared, FEEDS[kind][:24], "minmax"))
    rows = fidelity(run_file(prepared.data, FEEDS[kind][24:], "a"), run_file(data, FEEDS[kind][24:], "b"))

    assert (analysis.kind, candidate.name) == (seen, first)
    kernels = count_onnx(data).kernels
    assert {k: v for k, v in kernels.items() if k != "float" and v} == integer
    assert kernels["float"] == (2 if kind == "attention" else 0)  # products of two activations stay float
    assert min(r.sqnr_db for r in rows) > 20
    assert max(abs(v) for k, v in analysis.time_share.items()) <= 1


def test_macs_are_those_of_the_formula(tmp_path):
    _, analysis, _ = ready(tmp_path, "conv")

    assert {x.name: x.macs for x in analysis.layers if x.op == "Conv"} == {
        "stem": 16 * 3 * 9 * 144, "body": 16 * 16 * 9 * 144}  # fmt: skip
    assert sum(x.parameters for x in analysis.layers) == 16 * 27 + 16 * 144 + 16 * 5


def test_whole_chains_are_integer_and_the_spelled_out_insides_of_a_norm_are_not(tmp_path):
    prepared, _, recipe = ready(tmp_path, "conv")
    assert (
        "QLinearAdd"
        in count_onnx(
            quantized(prepared, recipe, recipe.candidates[0], observe(prepared, FEEDS["conv"][:9], "minmax"))
        ).operators
    )

    prepared, _, recipe = ready(tmp_path, "attention")
    chosen = integer_nodes(prepared.model, {*recipe.candidates[1].operators, "Add", "Mul"}, ())
    assert "proj_q" in chosen
    assert chosen & {"softmax", "residual"} == set()  # one of what is added comes from the embedding


def test_the_avx2_target_keeps_weights_within_seven_bits(tmp_path):
    largest = {}
    for target in ("x86-vnni", "x86-avx2"):
        prepared, _, recipe = ready(tmp_path, "conv", target)
        data = quantized(prepared, recipe, recipe.candidates[0], observe(prepared, FEEDS["conv"][:9], "minmax"))
        import onnx

        arrays = [numpy_helper.to_array(i) for i in onnx.load_from_string(data).graph.initializer]
        largest[target] = max(int(np.abs(a.astype(int)).max()) for a in arrays if a.dtype == np.int8 and a.ndim > 1)
    assert largest == {"x86-vnni": 127, "x86-avx2": 64}  # 2 x 64 x 255 fits 16 bits


@pytest.mark.parametrize("method", ["percentile", "entropy"])
def test_other_calibrations_give_narrower_ranges(tmp_path, method):
    prepared, _, _ = ready(tmp_path, "conv")
    wide, narrow = (observe(prepared, FEEDS["conv"], m) for m in ("minmax", method))

    assert wide.keys() == narrow.keys()
    assert wide["x"] == narrow["x"]  # an input's ends carry the picture
    assert all(narrow[k][1] <= wide[k][1] + 1e-6 for k in wide)


def test_a_layer_that_is_kept_stays_float_between_integer_ones(tmp_path):
    prepared, _, recipe = ready(tmp_path, "conv", keep_float=["body"])
    candidate = recipe.candidates[0]

    counts = count_onnx(quantized(prepared, recipe, candidate, observe(prepared, FEEDS["conv"][:9], "minmax")))

    assert counts.layer_kernels["body"] == "float"  # without the guard ONNX Runtime makes it integer, unasked
    assert counts.kernels["integer"] == 2
    with pytest.raises(UsageError, match="the graph has no layer 'trunk'\n  fix: one of body, head, stem"):
        ready(tmp_path, "conv", keep_float=["trunk"])


def test_targets_without_onnx_runtime_and_graphs_without_layers_are_refused(tmp_path):
    with pytest.raises(UsageError, match="armv7 has no ONNX Runtime"):
        ready(tmp_path, "conv", "armv7")

    net = nets.conv_net()
    del net.graph.node[0:], net.graph.initializer[:]
    net.graph.node.add(op_type="Softmax", input=["x"], output=["y"])
    net.graph.output[0].CopyFrom(nets.info("y", ["n", 3, 12, 12]))
    prepared = prepare(open_onnx(nets.save(tmp_path / "soft.onnx", net)))
    with pytest.raises(UsageError, match="no convolution, matrix product or recurrent layer"):
        make_recipe(analyse(prepared, FEEDS["conv"][0]), load_target("x86-vnni"))


def test_layers_hidden_inside_branches_are_refused_with_the_way_out(tmp_path):
    prepared = prepare(open_onnx(nets.save(tmp_path / "net.onnx", nets.branching_net())))
    feed = {**FEEDS["conv"][0], "rate": np.array(8)}
    with pytest.raises(
        UsageError, match="all 2 layers stand inside If nodes, which no quantizer reaches\n  fix: fix the"
    ):
        make_recipe(analyse(prepared, feed), load_target("x86-vnni"))


def test_the_part_outside_the_branches_is_quantized_and_the_inside_counts_as_float(tmp_path):
    prepared = prepare(open_onnx(nets.save(tmp_path / "net.onnx", nets.branching_net(hidden=False))))
    feeds = [{**f, "rate": np.array(8 * (i % 2))} for i, f in enumerate(FEEDS["conv"][:16])]
    recipe = make_recipe(analyse(prepared, feeds[0]), load_target("x86-vnni"))

    counts = count_onnx(quantized(prepared, recipe, recipe.candidates[0], observe(prepared, feeds, "minmax")))

    assert counts.kernels["integer"] == 1  # the second one's output is read inside the branches, by its float name
    assert counts.kernels["float"] == 3


def test_a_relu_that_a_branch_reads_is_not_folded_into_the_grid(tmp_path):
    """ONNX Runtime's quantizer drops the Relu; the If would then read the convolution's raw output."""
    net = nets.branching_net(hidden=False)
    second = net.graph.node[2]
    second.output[0] = "raw"
    net.graph.node.insert(3, nets.helper.make_node("Relu", ["raw"], ["c0"], name="clip"))
    prepared = prepare(open_onnx(nets.save(tmp_path / "net.onnx", net)))
    feeds = [{**f, "rate": np.array(8 * (i % 2))} for i, f in enumerate(FEEDS["conv"][:16])]
    recipe = make_recipe(analyse(prepared, feeds[0]), load_target("x86-vnni"))

    data = quantized(prepared, recipe, recipe.candidates[0], observe(prepared, feeds, "minmax"))

    assert fidelity(run_file(prepared.data, feeds, "a"), run_file(data, feeds, "b"))[0].sqnr_db > 20


def test_an_activation_that_overflows_is_refused(tmp_path):
    prepared, _, _ = ready(tmp_path, "conv")
    with pytest.raises(DataError, match="an activation is not finite"):
        observe(prepared, [{"x": np.full((1, 3, 12, 12), 3e38, np.float32)}], "minmax")


def spoiled(tmp_path):
    """A net with one layer that int8 ruins: its input holds one huge value, everything else is tiny beside it."""
    net = nets.conv_net()
    w = next(i for i in net.graph.initializer if i.name == "b2")
    array = numpy_helper.to_array(w).copy()
    array[0] = 3000.0
    w.CopyFrom(nets.constant("b2", array))
    head = next(i for i in net.graph.initializer if i.name == "w3")
    array = numpy_helper.to_array(head).copy()
    array[:, 0] = 0.0
    head.CopyFrom(nets.constant("w3", array))
    prepared = prepare(open_onnx(nets.save(tmp_path / "net.onnx", net)))
    analysis = analyse(prepared, FEEDS["conv"][0])
    return prepared, analysis, make_recipe(analysis, load_target("x86-vnni"))


def test_tuning_puts_the_layer_that_costs_most_back_to_float(tmp_path):
    prepared, analysis, recipe = spoiled(tmp_path)
    ranges, feeds = observe(prepared, FEEDS["conv"][:24], "minmax"), FEEDS["conv"][24:]
    reference = run_file(prepared.data, feeds, "float")

    def judge(rows, outputs):
        return complaint(Limits(min_agreement=0.999), "classes", rows, outputs, reference, None)

    candidate = recipe.candidates[1]
    noise = layer_noise(prepared, recipe, candidate, ranges, feeds[:8], ["stem", "body", "head"])
    plain = quantized(prepared, recipe, candidate, ranges)
    tuned = tune(prepared, analysis, recipe, candidate, ranges, feeds, reference, judge)

    first = next(iter(noise))
    assert judge(fidelity(reference, run_file(plain, feeds, "")), run_file(plain, feeds, "")) != ""
    assert tuned.complaint == ""
    assert list(tuned.candidate.keep_float) == [first]
    assert tuned.candidate.keep_float[first] == f"in int8 it alone would leave {noise[first]:.0f} dB at an output"
    assert replace(tuned.candidate, keep_float={}) == replace(candidate, keep_float={})


def test_limits_are_told_apart_by_what_is_known():
    right, wrong = np.array([[0.0, 1.0]], np.float32), np.array([[1.0, 0.0]], np.float32)
    before, after, labels = {"y": [right] * 8}, {"y": [wrong] * 2 + [right] * 6}, np.array([1] * 8)
    rows = fidelity(before, after)
    numbers = {"y": [np.ones((1, 3, 3), np.float32)] * 4}
    noisy = {"y": [np.full((1, 3, 3), 1.5, np.float32)] * 4}

    assert complaint(Limits(), "classes", rows, before, before, None) == ""
    assert (
        complaint(Limits(), "classes", rows, after, before, None)
        == "it agrees with the float file on 75.0% (want 98.0% or more)"
    )
    assert (
        complaint(Limits(), "classes", rows, after, before, labels) == "it loses 25.00 points of accuracy (at most 1)"
    )
    assert complaint(Limits(max_drop_points=30), "classes", rows, after, before, labels) == ""
    said = complaint(Limits(), "values", fidelity(numbers, noisy), noisy, numbers, None)
    assert said == "output 'y' keeps 6.0 dB of signal to noise (want 20)"
