"""Numbers read back from exported files: writing them again gives the same bytes."""

import numpy as np
import pytest

from compress.errors import ExportError
from compress.export.onnx import to_onnx
from compress.export.read_back import read_back
from compress.export.tflite import to_tflite
from compress.model.graph import Graph, Node
from compress.model.model import Model
from compress.model.nets import build_net
from compress.model.rewrite import fold_batch_norm
from compress.model.shapes import parameter_shapes
from compress.numerics.affine import activation_grid, weight_scales
from compress.stages.placement import mark_dynamic, place_quantizers

WRITERS = {"onnx": to_onnx, "tflite": to_tflite}
NETS = {
    "resnet8": {"widths": [8, 8, 12]},
    "ds-cnn": {"width": 8, "blocks": 2},
    "mlp": {"hidden": [6]},
    "resnet9": {"widths": [8, 8, 8, 8]},
}


def made(net, keep_float=()):
    """An int8 model with made-up numbers."""
    rng = np.random.default_rng(0)
    graph = build_net(net, NETS[net], (1, 8, 8), 4)
    weights = {
        f"{n.name}.{p}": rng.normal(0, 0.3, s).astype(np.float32) for n in graph for p, s in parameter_shapes(n).items()
    }
    weights |= {k: np.abs(v) + 0.5 for k, v in weights.items() if k.endswith("running_var")}
    folded = fold_batch_norm(Model(graph, weights))
    chosen = [n.name for n in folded.graph.layers if n.name not in keep_float]
    placed, grids = place_quantizers(folded.graph, chosen, 8)
    numbers = dict(folded.weights)
    numbers |= {f"{n}.weight_scale": weight_scales(folded.weights[f"{n}.weight"]) for n in chosen}
    for i, grid in enumerate(grids):
        scale, zero = activation_grid(-0.5 * (i % 3), 2.0 + i)
        numbers[f"{grid}.scale"], numbers[f"{grid}.zero_point"] = np.asarray(scale), np.asarray(zero)
    return Model(placed, numbers)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("net", NETS)
def test_writing_again_what_was_read_gives_the_same_bytes(net, kind):
    model, write = made(net), WRITERS[kind]
    data = write(model, name="x")

    assert write(read_back(data, kind, model), name="x") == data


@pytest.mark.parametrize("kind", WRITERS)
def test_the_numbers_are_the_files_not_the_checkpoints(kind):
    model = made("ds-cnn")
    layer = model.graph.layers[1].name
    changed = {**model.weights, f"{layer}.weight": -model.weights[f"{layer}.weight"]}
    grid = next(k for k in model.weights if k.endswith("_q.scale"))
    changed[grid] = model.weights[grid] * np.float32(2)
    found = read_back(WRITERS[kind](Model(model.graph, changed), name="x"), kind, model)

    step = model.weights[f"{layer}.weight_scale"].max()
    assert np.abs(found.weights[f"{layer}.weight"] - changed[f"{layer}.weight"]).max() <= step / 2 * 1.01
    assert found.weights[grid] == changed[grid]


@pytest.mark.parametrize("kind", WRITERS)
def test_layers_left_in_float_are_read_too(kind):
    model = made("resnet8", keep_float=("stem",))
    found = read_back(WRITERS[kind](model, name="x"), kind, model)

    assert np.array_equal(found.weights["stem.weight"], model.weights["stem.weight"])


@pytest.mark.parametrize("kind", WRITERS)
def test_another_models_file_is_refused(kind):
    with pytest.raises(ExportError, match="it is not the export of this model"):
        read_back(WRITERS[kind](made("mlp"), name="x"), kind, made("resnet8"))


@pytest.mark.parametrize(("kind", "text"), [("onnx", "it is no ONNX file"), ("tflite", "it is no TFLite file")])
def test_damaged_bytes_are_refused(kind, text):
    with pytest.raises(ExportError, match=text):
        read_back(b"\xff" * 40, kind, made("mlp"))


def test_dynamic_activations_have_no_grids_to_read():
    layer = Node("fc", "linear", ("input",), {"in_features": 4, "out_features": 2, "bias": False})
    graph = Graph((Node("input", "input", (), {"shape": [4]}), layer), "fc")
    weight = np.ones((2, 4), np.float32)
    model = Model(mark_dynamic(graph, ["fc"], 8), {"fc.weight": weight, "fc.weight_scale": weight_scales(weight)})
    with pytest.raises(ExportError, match="dynamic activations cannot be read back"):
        read_back(to_onnx(model, name="x"), "onnx", model)
