"""Bundles of older formats, as they were written then: they load and answer as they did."""

from pathlib import Path

import edge_runtime
import numpy as np
import pytest
from edge_runtime.manifest import Manifest, read_manifest

from tests.edge_runtime.engines_here import FORMS

GOLDEN = Path(__file__).parent / "golden"
SCORES = {"onnx": [0.8704451, 0.03653136, 0.09302355], "tflite": [0.8720873, 0.03599535, 0.09191733]}


@pytest.mark.parametrize("engine", FORMS)
def test_a_bundle_of_version_1_answers_as_when_it_was_written(engine):
    with edge_runtime.load(GOLDEN / "v1", engine=engine) as model:
        assert model.check().ok
        answer = model.predict(np.arange(20, dtype=np.uint8).reshape(4, 5))

    assert answer.label == "cat"
    assert answer.scores == pytest.approx(SCORES[engine], abs=1e-5)


def test_a_manifest_of_version_1_is_read_as_one_of_today():
    manifest = read_manifest(GOLDEN / "v1")

    assert [m.inputs for m in manifest.models] == [(m.input,) for m in manifest.models]
    assert [m.outputs for m in manifest.models] == [(m.output,) for m in manifest.models]
    assert manifest.models[0].signatures == ()
    assert manifest.reference_statistics is None
    assert manifest.to_json()["format_version"] == 2
    assert Manifest.from_json(manifest.to_json()) == manifest


@pytest.mark.parametrize("models", [None, [], [None], [{"input": None}], {"a": 1}, [{"inputs": [], "outputs": []}]])
def test_a_damaged_manifest_of_version_1_is_refused_in_todays_words(models):
    doc = {"format": "edge-bundle", "format_version": 1, "models": models}

    with pytest.raises(edge_runtime.BundleError, match="name: missing"):
        Manifest.from_json(doc)
    assert doc == {"format": "edge-bundle", "format_version": 1, "models": models}
