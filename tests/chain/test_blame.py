"""`compress blame` on a finished run, and on files damaged on purpose."""

import json

import numpy as np
import pytest

from compress.blame.blame import blame
from compress.blame.plans import worst_first
from compress.blame.variants import integer_layers, mixed
from compress.blamed import load_blame
from compress.data.sources import open_data
from compress.errors import ExportError, ParityError
from compress.export.onnx import to_onnx
from compress.export.read_back import read_back
from compress.export.tflite import to_tflite
from compress.model.checkpoint import load_checkpoint
from compress.model.model import Model
from compress.model.rewrite import drop_quantizers, fold_batch_norm
from compress.recipe.load import load_recipe
from compress.recipe.schema import DataConfig

WRITERS = {"onnx": to_onnx, "tflite": to_tflite}


@pytest.fixture(scope="module")
def checkpoint(finished):
    return load_checkpoint(finished.folder / "runs/digits_tiny/checkpoints/03-quantize")


@pytest.fixture(scope="module")
def data():
    return open_data(DataConfig(source="digits", limit=500, calibration=64), 0).load()


def blamed(checkpoint, data, kind, damage):
    weights = {k: v.copy() for k, v in checkpoint.weights.items()}
    damage(weights)
    content = WRITERS[kind](Model(checkpoint.graph, weights), name="x")
    return blame(content, kind, checkpoint, data, name="run", artefact=f"x.{kind}", examples=60)


def wrong_scale(weights):
    weights["block1_pw.weight"] *= np.float32(4)
    weights["block1_pw.weight_scale"] *= np.float32(4)


def zeroed(weights):
    weights["block1_pw.weight"][::2] = 0


@pytest.fixture(scope="module")
def relu_grid(checkpoint):
    """The grid behind block1_pw and its activation."""
    relu = next(n for n in checkpoint.graph.users("block1_pw"))
    return next(n.name for n in checkpoint.graph.users(relu.name) if n.op == "quantize")


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    ("damage", "finding"), [(wrong_scale, "wrong scale"), (zeroed, "zeros"), ("cut range", "clipped range")]
)
def test_a_damaged_layer_stands_first_with_what_is_wrong(checkpoint, data, relu_grid, kind, damage, finding):
    def cut(weights):
        weights[f"{relu_grid}.scale"] = weights[f"{relu_grid}.scale"] * np.float32(0.05)

    found = blamed(checkpoint, data, kind, cut if damage == "cut range" else damage)

    assert worst_first(found.layers, found.kl)[0].name == "block1_pw"
    assert any(finding in f for f in next(r for r in found.layers if r.name == "block1_pw").findings)
    assert found.plan is not None
    assert found.plan.kl < 0.2 * found.kl


def test_a_sound_file_is_left_alone(checkpoint, data):
    found = blamed(checkpoint, data, "onnx", lambda weights: None)

    assert not any(r.findings for r in found.layers)


@pytest.mark.parametrize("kind", WRITERS)
def test_mixed_files_hold_what_they_should(checkpoint, kind):
    real = fold_batch_norm(drop_quantizers(checkpoint))
    found = read_back(WRITERS[kind](checkpoint, name="x"), kind, checkpoint)
    layers = integer_layers(found)

    assert WRITERS[kind](mixed(real, found, layers), name="x") == WRITERS[kind](checkpoint, name="x")
    assert mixed(real, found, ()).digest() == real.digest()
    one = mixed(real, found, {layers[2]})
    assert integer_layers(one) == (layers[2],)
    assert np.array_equal(one.weights[f"{layers[0]}.weight"], real.weights[f"{layers[0]}.weight"])


def test_the_command_writes_its_reports(finished):
    done = finished("blame", "runs/digits_tiny:03-quantize.onnx", "--examples", "40", "--out", "blame", "--no-times")
    found = load_blame(finished.folder / "blame" / "blame.json")

    assert found.layers[0].name == "stem"
    assert found.count == 40
    assert "Without it" in done.stdout
    assert (finished.folder / "blame" / "blame.html").read_text().startswith("<!doctype html>")
    assert "| Layer |" in (finished.folder / "blame" / "blame.md").read_text()


def test_a_float_file_has_nothing_to_blame(finished):
    done = finished("blame", "runs/digits_tiny:00-teacher.onnx", check=None)

    assert done.returncode == 2
    assert "it is float32, not int8" in done.stderr
    assert "int8 files of this run: 03-quantize.onnx, 03-quantize.tflite" in done.stderr


def test_a_file_of_another_model_is_refused(finished, checkpoint, data):
    other = fold_batch_norm(load_checkpoint(finished.folder / "runs/digits_tiny/checkpoints/00-teacher"))
    with pytest.raises(ExportError, match="it is not the export of this model"):
        blame(to_onnx(other, name="x"), "onnx", checkpoint, data, name="run", artefact="x", examples=20)


def test_fix_writes_a_recipe_that_can_be_run(finished, checkpoint, data, tmp_path):
    from compress.blame.find import write_fix
    from compress.compare.sides import find

    found = find(str(finished.folder / "runs/digits_tiny"))
    write_fix(found, blamed(checkpoint, data, "onnx", wrong_scale), tmp_path / "mended.yaml")
    recipe = load_recipe(tmp_path / "mended.yaml")

    assert recipe.name == "digits_tiny-mended"
    assert "block1_pw" in recipe.stages[-1].keep_float
    doc = json.loads(recipe.model_dump_json())
    assert doc["stages"][:-1] == json.loads(found.result.model_dump_json())["recipe"]["stages"][:-1]


@pytest.mark.parametrize("kind", WRITERS)
def test_dynamic_int8_is_blamed_by_its_checkpoint(checkpoint, data, kind):
    from tests.unit.export.nets import dynamic

    model = dynamic(fold_batch_norm(drop_quantizers(checkpoint)))
    content = WRITERS[kind](model, name="x")
    found = blame(content, kind, model, data, name="run", artefact=f"x.{kind}", examples=40)

    assert [r.name for r in found.layers] == [n.name for n in model.graph.layers]
    assert found.kl < 0.1
    assert all(r.alone_kl <= found.kl + 0.01 for r in found.layers)
    damaged = Model(model.graph, {**model.weights, "block1_pw.weight": 3 * model.weights["block1_pw.weight"]})
    with pytest.raises(ParityError, match="its numbers do not explain"):
        blame(WRITERS[kind](damaged, name="x"), kind, model, data, name="run", artefact="x", examples=60)
