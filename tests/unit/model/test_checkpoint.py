"""Checkpoints: read back exactly, equal bytes for equal models, and damage anywhere is told in words."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.errors import ModelError
from compress.model.checkpoint import load_checkpoint, save_checkpoint
from compress.model.module import initial_model
from compress.model.nets import build_net

MODEL = initial_model(build_net("ds-cnn", {"width": 4, "blocks": 1}, (1, 8, 8), 3), 0)
OTHERS = st.sampled_from([None, "x", -1, 0, 1.5, [], {}, [0, 0], 10**30])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint")
    save_checkpoint(path, MODEL, {"loss": [0.5, 0.25]})
    return path


@pytest.fixture
def copied(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def test_a_checkpoint_reads_back_exactly(folder):
    found = load_checkpoint(folder)

    assert found.graph == MODEL.graph
    assert found.digest() == MODEL.digest()
    assert all(np.array_equal(found.weights[k], v) for k, v in MODEL.weights.items())
    assert json.loads((folder / "metrics.json").read_text()) == {"loss": [0.5, 0.25]}


def test_equal_models_are_equal_bytes(folder, tmp_path):
    backwards = type(MODEL)(MODEL.graph, dict(reversed(MODEL.weights.items())))
    save_checkpoint(tmp_path, backwards, {"loss": [0.5, 0.25]})

    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == {f.name: f.read_bytes() for f in folder.iterdir()}


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
def test_a_missing_or_cut_file_is_named(copied, name):
    content = (copied / name).read_bytes()
    (copied / name).write_bytes(content[:-20])
    with pytest.raises(ModelError, match="it cannot be read") as caught:
        load_checkpoint(copied)
    assert str(copied) in str(caught.value)
    (copied / name).unlink()
    with pytest.raises(ModelError, match=f"{name} missing"):
        load_checkpoint(copied)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "x"}, "model.json is no compress checkpoint"),
        ({"version": 2}, "format version 2, this compress reads 1\n  fix: upgrade compress"),
        ({"digest": "0"}, "its content does not match its digest"),
        ({"graph": []}, "not a graph"),
    ],
)
def test_another_format_version_or_content_is_refused(copied, change, message):
    doc = json.loads((copied / "model.json").read_text())
    (copied / "model.json").write_text(json.dumps({**doc, **change}))

    with pytest.raises(ModelError, match=message):
        load_checkpoint(copied)


def test_one_changed_weight_is_noticed(copied):
    content = bytearray((copied / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (copied / "weights.safetensors").write_bytes(content)

    with pytest.raises(ModelError, match="its content does not match its digest"):
        load_checkpoint(copied)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data(), value=OTHERS)
def test_a_graph_with_anything_wrong_in_it_is_a_model_error(folder, tmp_path_factory, data, value):
    doc = json.loads((folder / "model.json").read_text())
    node = data.draw(st.sampled_from(doc["graph"]["nodes"]))
    place = data.draw(st.sampled_from([node, node["attrs"]] if node["attrs"] else [node]))
    key = data.draw(st.sampled_from(sorted(place)))
    if data.draw(st.booleans()):
        del place[key]
    elif place[key] == value or (place[key] in ([], {}) and value in ([], {})):
        return  # the same, or an empty list for an empty table
    else:
        place[key] = value
    path = tmp_path_factory.mktemp("damaged")
    (path / "weights.safetensors").write_bytes((folder / "weights.safetensors").read_bytes())
    (path / "model.json").write_text(json.dumps(doc))

    with pytest.raises(ModelError) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)
