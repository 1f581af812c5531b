"""The sliver of a recipe keeps its shape and drops what a sliver cannot keep."""

import pytest

from compress.recipe.load import parse_recipe, recipe_from_json
from compress.recipe.smoke import smoke_version

LONG = """\
version: 1
name: long
data: {source: mnist-5k, calibration: 512}
teacher: {net: resnet8, train: {epochs: 30, learning_rate: 0.02}}
student: {net: ds-cnn}
stages:
  - train: {epochs: 9}
  - distill: {epochs: 20, temperature: 3}
  - prune: {keep_macs: 0.5, finetune_epochs: 8, iterations: 4}
  - prune: {keep_macs: 0.9}
  - quantize: {how: qat, epochs: 5}
measure: {profile: default, threads: 2}
budget: {accuracy_drop_points: 1, size_bytes: 9000, latency_ms: {cpu: 1}}
"""


@pytest.fixture
def pair():
    recipe = parse_recipe(LONG, "r.yaml")
    return recipe, smoke_version(recipe)


def test_the_chain_stays_and_every_training_is_one_epoch(pair):
    whole, sliver = pair

    assert [s.kind for s in sliver.stages] == [s.kind for s in whole.stages]
    assert sliver.teacher.train.epochs == 1
    assert [getattr(s, "epochs", None) for s in sliver.stages] == [1, 1, None, None, 1]
    assert [s.finetune_epochs for s in sliver.stages[2:4]] == [1, 0]
    assert sliver.stages[2].iterations == 1


def test_what_decides_shapes_and_formats_stays(pair):
    whole, sliver = pair

    for kept in ("name", "seed", "student", "target", "export"):
        assert getattr(sliver, kept) == getattr(whole, kept)
    assert sliver.stages[1].temperature == 3
    assert sliver.stages[2].keep_macs == 0.5
    assert sliver.teacher.train.learning_rate == 0.02
    assert sliver.measure.threads == 2


def test_only_promises_that_a_sliver_can_keep_remain(pair):
    _, sliver = pair

    assert sliver.budget.model_dump() == {
        "accuracy_drop_points": None,
        "size_bytes": 9000,
        "latency_ms": {},
        "consistency_drop_points": None,
    }
    assert sliver.allow_slower
    assert sliver.measure.profile == "smoke"
    assert (sliver.data.limit, sliver.data.calibration) == (400, 128)


def test_it_never_enlarges_and_is_its_own_sliver(pair):
    whole, sliver = pair
    small = whole.model_copy(update={"data": whole.data.model_copy(update={"limit": 50, "calibration": 10})})

    assert (smoke_version(small).data.limit, smoke_version(small).data.calibration) == (50, 10)
    assert smoke_version(sliver) == sliver
    assert recipe_from_json(sliver.model_dump(mode="json"), "x") == sliver
