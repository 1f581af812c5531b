"""Every stage, the same promises. A new stage gets these tests by adding one EXAMPLES line."""

import json

import numpy as np
import pytest

from compress.recipe.schema import KINDS, DistillConfig, PruneConfig, QuantizeConfig, TrainConfig, VocabularyConfig
from compress.stages.base import Context, run_stage
from compress.stages.catalog import STAGES
from compress.stages.versions import VERSIONS

SHORT = {"batch_size": 64, "learning_rate": 0.005}
EXAMPLES = {
    "train": TrainConfig(epochs=1, **SHORT),
    "distill": DistillConfig(epochs=1, **SHORT),
    "prune-channels": PruneConfig(keep_macs=0.6, finetune_epochs=1, **SHORT),
    "prune-weights": PruneConfig(what="weights", sparsity=0.5, finetune_epochs=1, **SHORT),
    "quantize-qat": QuantizeConfig(how="qat", epochs=1, **SHORT),
    "quantize-static": QuantizeConfig(how="static"),
    "quantize-dynamic": QuantizeConfig(how="dynamic"),
}


def test_catalogue_versions_schema_and_examples_name_the_same_stages():
    of_texts = {VocabularyConfig}  # test_text_stages.py

    assert set(STAGES) == set(VERSIONS) == set(KINDS.values()) == {type(c) for c in EXAMPLES.values()} | of_texts


def apply(name, model, data, seed=0, **context):
    config = EXAMPLES[name]
    return run_stage(STAGES[type(config)], model, config, Context(seed, data, **context), where=name)


@pytest.fixture(scope="module", params=EXAMPLES)
def applied(request, trained, digits):
    """(name, result) of each stage, run through the runner's checks; the test split it is given is empty."""
    assert len(digits.test) == 0
    return request.param, apply(request.param, trained, digits, teacher=trained)


def test_a_stage_keeps_the_runner_s_promises_and_repeats_itself(applied, trained, digits, tmp_path):
    name, result = applied
    again = apply(name, trained, digits, teacher=trained, workdir=tmp_path)

    assert again.model.digest() == result.model.digest()
    assert again.metrics == result.metrics


def test_a_layer_that_was_left_alone_has_a_reason(applied, trained):
    _, result = applied
    untouched = {
        n.name
        for n in trained.graph.layers
        if np.array_equal(trained.weights[f"{n.name}.weight"], result.model.weights[f"{n.name}.weight"])
        and n.attrs == result.model.graph.node(n.name).attrs
    }
    assert untouched <= set(result.kept)


def test_metrics_are_plain_data(applied):
    metrics = dict(applied[1].metrics)

    assert json.loads(json.dumps(metrics)) == metrics
