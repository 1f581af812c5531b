"""`compress blame` on files that `compress quantize` made: which layers cost, what mends it, what is refused."""

import json
import shlex
import shutil

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from edge_runtime._onnx import import_onnxruntime
from onnx import numpy_helper

from compress.blame.given import blame_given, find_given
from compress.blame.given_judge import _log_rows
from compress.blame.plans import how_many
from compress.blamed import load_blame
from compress.cli import main
from compress.errors import DataError, ParityError, UsageError
from compress.given_onnx.judge import Limits
from compress.given_onnx.opened import Options
from compress.given_onnx.recipe import recipe_of
from compress.given_onnx.run import quantize_file
from compress.quantize_result import load
from compress.report.pages.blame import render
from compress.report.text.blame import summary
from tests.unit.onnx_file import nets


def uneven(x, spread=3000.0):
    """Two convolutions and a linear layer that tells the examples x apart; what goes from the first convolution to the
    second is `spread` apart between channels: the same function in float, but one grid serves them badly.
    """
    factors = np.exp(np.random.default_rng(0).uniform(0, np.log(spread), 16)).astype(np.float32)
    w = {c.name: numpy_helper.to_array(c) for c in nets.conv_net().graph.initializer}
    w["w1"], w["b1"] = w["w1"] * factors[:, None, None, None], w["b1"] * factors
    w["w2"], w["w3"] = w["w2"] / factors[:, None, None], 5 * w["w3"]
    nodes = [n for n in nets.conv_net().graph.node if n.name not in ("shortcut", "relu2")]
    nodes[3].input[0] = "c2"

    def net():
        constants = [numpy_helper.from_array(v, k) for k, v in w.items()]
        return nets.model(nodes, [nets.info("x", ["n", 3, 12, 12])], [nets.info("y", ["n", 5])], constants)

    scores = import_onnxruntime().InferenceSession(net().SerializeToString()).run(None, {"x": x})[0]
    w["b3"] = w["b3"] - scores.mean(0)  # no class wins always
    return net()


def made(folder, labelled, judge="auto"):
    x = nets.images(160)
    path = nets.save(folder / "blobs.onnx", uneven(x))
    labels = import_onnxruntime().InferenceSession(str(path)).run(None, {"x": x})[0].argmax(1)
    np.savez(folder / "examples.npz", x=x, **({"labels": labels} if labelled else {}))
    limits = Limits(max_drop_points=100, min_agreement=0, min_cosine=-1, min_sqnr_db=-20)
    options = Options(folder / "examples.npz", how="static", limits=limits, allow_slower=True, profile="smoke",
                      judge=judge)  # fmt: skip
    return quantize_file(path, options, folder / "out")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    made(folder, labelled=True)
    return folder


def invoke(*arguments):
    return CliRunner().invoke(main, [*map(str, arguments)])


def test_every_layer_is_weighed_and_the_plan_gives_back_what_was_lost(folder):
    found = blame_given(find_given(str(folder / "out")), folder / "examples.npz", None, timing=False)

    assert [(r.name, r.op) for r in found.layers] == [("stem", "Conv"), ("body", "Conv"), ("head", "Gemm")]
    assert (found.right, found.measure, found.count) == ("label", "kl", 40)
    assert found.float_top1 == 1.0
    assert found.top1 < 0.8
    assert found.kl > 0.05
    assert all(r.weight_sqnr_db > 30 for r in found.layers)
    assert found.plan is not None
    assert found.plan.kl < 0.2 * found.kl
    assert found.plan.top1 > found.top1
    assert "right on 40 validation examples" in summary(found)
    assert "Measured KL" in render(found)


@pytest.mark.slow
def test_the_script_that_mends_it_runs(folder, tmp_path):
    done = invoke("blame", folder / "out", "--data", folder / "examples.npz", "--no-times", "--fix",
                  tmp_path / "mended.sh", "--out", tmp_path / "blame")  # fmt: skip
    plan = load_blame(tmp_path / "blame/blame.json").plan
    about, line = (tmp_path / "mended.sh").read_text().splitlines()

    assert done.exit_code == 0, done.output
    assert f"sh {tmp_path / 'mended.sh'}" in done.output.replace("\n", "")
    assert "compress blame" in about
    again = invoke(*[w for w in shlex.split(line)[1:] if w != "$@"], "--profile", "smoke", "--allow-slower", "--quiet")
    assert again.exit_code == 0, again.output
    row = load(folder / "out-mended/result.json").files[1]
    assert set(row.keep_float) == set(plan.keep_float)
    assert {r.name for r in row.layers if r.kernel == "float"} == set(plan.keep_float)
    assert row.size_bytes == plan.size_bytes
    mended = find_given(str(folder / "out-mended:static"))
    left = blame_given(mended, folder / "examples.npz", None, timing=False)
    assert {r.name for r in left.layers} == {"stem", "body", "head"} - set(plan.keep_float)
    assert left.kl == pytest.approx(plan.kl, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("judge", "right", "measure", "said"), [
    ("classes", "answer", "kl", "answered as in float"), ("values", "signal", "noise", "of the signal's energy"),
])  # fmt: skip
def test_without_labels_the_float_file_is_the_truth(tmp_path, judge, right, measure, said):
    made(tmp_path, labelled=False, judge=judge)

    found = blame_given(find_given(str(tmp_path / "out")), tmp_path / "examples.npz", None, timing=False)

    assert (found.right, found.measure, found.float_top1) == (right, measure, 1.0)
    assert found.top1 < 1.0
    assert min(r.without_kl for r in found.layers) < found.kl
    assert said in summary(found)
    assert ("energy of the error" in render(found)) == (measure == "noise")


def test_scores_and_probabilities_give_the_same_rows():
    scores = np.random.default_rng(0).normal(size=(1, 7, 4)).astype(np.float32)
    shares = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)

    assert np.allclose(_log_rows([scores]), _log_rows([shares]), atol=1e-5)
    assert _log_rows([shares, shares]).shape == (14, 4)


def refused(kind, *words):
    return pytest.raises(kind, match="(?s)" + ".*".join(words))


def test_what_cannot_be_blamed_says_why(folder, tmp_path):
    given = find_given(str(folder / "out"))
    with refused(UsageError, "not kept with it", "--data examples.npz"):
        blame_given(given, None, None, timing=False)
    np.savez(tmp_path / "other.npz", x=nets.images(160, seed=1))
    with refused(DataError, "not the examples that blobs was quantized with", "examples.npz"):
        blame_given(given, tmp_path / "other.npz", None, timing=False)
    with refused(UsageError, "no int8 file 'float'", "one of static"):
        find_given(str(folder / "out:float"))
    assert find_given(str(tmp_path)) is None
    for name in ("bundle", "files/static", "result.json"):
        assert find_given(str(folder / "out" / name)).row.id == "static"


def test_a_file_that_its_recipe_does_not_make_is_refused(folder, tmp_path):
    shutil.copytree(folder / "out", tmp_path / "out")
    path = tmp_path / "out/files/static/model.onnx"
    net = onnx.load(path)
    weight = next(i for i in net.graph.initializer if i.name == "w2_scale")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(2), weight.name))
    onnx.save(net, path)

    with refused(ParityError, "make another file", "quantize the file again"):
        blame_given(find_given(str(tmp_path / "out")), folder / "examples.npz", None, timing=False)
    path.unlink()
    with refused(UsageError, "cannot be read", "quantize the file again"):
        blame_given(find_given(str(tmp_path / "out")), folder / "examples.npz", None, timing=False)


def test_a_recipe_comes_back_as_it_was_written(folder):
    doc = json.loads((folder / "out/result.json").read_text())["recipe"]

    assert recipe_of(doc).to_json() == doc


def test_examples_are_not_for_runs(tmp_path):
    done = invoke("blame", tmp_path, "--data", tmp_path / "x.npz")

    assert done.exit_code == 2
    assert "a run knows its data" in done.output


def test_more_layers_are_tried_where_there_are_many():
    assert how_many(3) == [1, 2]
    assert how_many(10) == [1, 2, 3, 4, 5]
    assert how_many(51) == [1, 2, 3, 4, 5, 8, 12, 18]
