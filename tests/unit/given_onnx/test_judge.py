"""What outputs are taken for, and the limit that follows from it."""

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import helper

from compress.cli import main
from compress.errors import UsageError
from compress.given_onnx.compare import fidelity
from compress.given_onnx.judge import Limits, choose_judge, complaint
from compress.given_onnx.opened import Options, open_all
from compress.given_onnx.run import quantize_file
from compress.report.text.given import cells, markdown
from tests.unit.onnx_file import nets

RNG = np.random.default_rng(1)
ROWS = RNG.normal(size=(40, 1, 64)).astype(np.float32)


def outputs(name, rows=ROWS):
    return {name: list(rows)}


def softmax(rows):
    exp = np.exp(rows)
    return exp / exp.sum(-1, keepdims=True)


@pytest.mark.parametrize(
    ("found", "asked", "labelled", "kind", "why"),
    [
        (outputs("embedding"), "auto", False, "values", "'embedding' may be an embedding"),
        (outputs("output"), "auto", False, "values", "no labels, no probabilities"),
        (outputs("classifier_free"), "auto", False, "values", "may be an embedding"),
        (outputs("embedding"), "auto", True, "classes", "labels are given"),
        (outputs("output", softmax(ROWS)), "auto", False, "classes", "probabilities"),
        (outputs("output", np.log(softmax(ROWS))), "auto", False, "classes", "probabilities"),
        (outputs("logits"), "auto", False, "classes", "called 'logits'"),
        (outputs("target_label"), "auto", False, "classes", "called 'target_label'"),
        (outputs("embedding"), "classes", False, "classes", "--judge"),
        (outputs("logits"), "values", True, "values", "--judge"),
        (outputs("logits", ROWS[:, :, :1]), "auto", False, "values", "no single row of scores"),
        (outputs("a") | outputs("logits"), "auto", False, "values", "no single row of scores"),
    ],
)
def test_classes_only_where_something_says_so(found, asked, labelled, kind, why):
    judge = choose_judge(asked, found, labelled=labelled)
    assert judge.kind == kind
    assert why in judge.why


def test_classes_cannot_be_asked_of_other_outputs():
    with pytest.raises(UsageError, match="no single row of class scores") as caught:
        choose_judge("classes", outputs("map", np.ones((4, 1, 3, 3), np.float32)), labelled=False)
    assert "--judge values" in str(caught.value.fix)


def noisy(energy, factor=1.0):
    noise = RNG.normal(size=ROWS.shape) * np.sqrt(energy)
    return factor * (ROWS + noise).astype(np.float32)


def test_an_embedding_is_held_to_its_direction_and_length_and_not_to_its_largest_coordinate():
    before = outputs("e")
    near, far, longer = (outputs("e", noisy(*x)) for x in ((0.01,), (0.1,), (0.001, 1.5)))

    (row,) = fidelity(before, near)
    each = [float(a[0] @ b[0] / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in zip(ROWS, near["e"], strict=True)]
    assert row.vector_cosine == pytest.approx(np.mean(each), abs=1e-6)
    assert row.agreement < 0.98
    assert complaint(Limits(), "values", (row,), near, before, None) == ""
    assert "agrees with the float file on" in complaint(Limits(), "classes", (row,), near, before, None)
    said = complaint(Limits(), "values", fidelity(before, far), far, before, None)
    assert said.startswith("output 'e' keeps a cosine similarity of 0.9")
    assert said.endswith("(want 0.99 or more)")
    said = complaint(Limits(), "values", fidelity(before, longer), longer, before, None)
    assert said == "output 'e' is 1.50 times as long as the float file's (want a difference of 10% at most)"


def test_vectors_of_nothing_are_equal_to_nothing_alone():
    nothing = outputs("e", np.zeros((3, 1, 4), np.float32))
    (same,), (other,) = fidelity(nothing, nothing), fidelity(nothing, outputs("e", np.ones((3, 1, 4), np.float32)))
    assert (same.vector_cosine, same.length_ratio) == (1.0, 1.0)
    assert (other.vector_cosine, other.length_ratio) == (0.0, 0.0)


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    """Images to 64 numbers without a name that says anything, and examples."""
    folder = tmp_path_factory.mktemp("embedder")
    net = nets.conv_net(classes=64)
    net.graph.node[-1].output[0] = net.graph.output[0].name = "embedding"
    np.savez(folder / "data.npz", x=nets.images(80))
    return nets.save(folder / "net.onnx", net), folder / "data.npz"


def test_the_result_names_the_judge_and_its_reason(embedder, tmp_path):
    path, data = embedder
    result = quantize_file(path, Options(data, profile="smoke", how="static", allow_slower=True), tmp_path / "out")

    assert (result.judge, result.limits) == ("values", {"min_cosine": 0.99})
    assert result.files[1].test[0].sqnr_db is not None
    assert "Judged as: values, as 'embedding' may be an embedding" in markdown(result)
    kept = cells(result.files[1], result)[2]
    assert kept.startswith("cosine ")
    assert "equal" not in kept


def test_the_command_line_overrides_it(embedder, tmp_path):
    path, data = embedder
    assert open_all(path, Options(data, judge="classes")).judge.kind == "classes"
    arguments = ["quantize", str(path), "--data", str(data), "--dry-run"]
    done = CliRunner().invoke(main, arguments)
    assert "outputs judged as values: 'embedding' may be" in " ".join(done.output.split())
    done = CliRunner().invoke(main, [*arguments, "--judge", "classes"])
    assert "outputs judged as classes: asked for with --judge" in " ".join(done.output.split())


def test_a_softmax_at_the_end_of_the_graph_makes_it_a_classifier(tmp_path):
    net = nets.conv_net()
    net.graph.node[-1].output[0] = "raw"
    net.graph.node.append(helper.make_node("Softmax", ["raw"], ["y"], name="softmax", axis=-1))
    np.savez(tmp_path / "data.npz", x=nets.images(32))
    assert open_all(nets.save(tmp_path / "net.onnx", net), Options(tmp_path / "data.npz")).judge.kind == "classes"
