"""--set: what it reaches, and what it says where there is nothing to reach."""

import pytest

from compress.recipe.load import parse_recipe
from compress.recipe.schema import QuantizeConfig


@pytest.mark.parametrize(
    ("override", "look", "value"),
    [
        ("stages.0.distill.epochs=2", lambda r: r.stages[0].epochs, 2),
        ("stages[0].distill.epochs=2", lambda r: r.stages[0].epochs, 2),
        ("stages.0.distill.learning_rate=1e-3", lambda r: r.stages[0].learning_rate, 1e-3),
        ("stages.2={quantize: {how: dynamic}}", lambda r: r.stages[2], QuantizeConfig(how="dynamic")),
        ("stages.1.prune.layers=[stem, 're:block']", lambda r: r.stages[1].layers, ("stem", "re:block")),
        ("seed=7", lambda r: r.seed, 7),
        ("budget.size_bytes=10_000", lambda r: r.budget.size_bytes, 10000),
        ("data.augment.shift_pixels=2", lambda r: r.data.augment.shift_pixels, 2),
        ("teacher.args.hidden=[8, 8]", lambda r: r.teacher.args, {"hidden": (8, 8)}),
        ("export=[tflite]", lambda r: r.export, ("tflite",)),
        ("export.0=tflite-float16", lambda r: r.export, ("tflite-float16", "tflite")),
        ("budget={}", lambda r: r.budget.latency_ms, {}),
        ("name = other", lambda r: r.name, "other"),
    ],
)
def test_it_changes_what_it_names_and_nothing_else(good, override, look, value):
    before, after = parse_recipe(good, "r.yaml"), parse_recipe(good, "r.yaml", [override])

    assert look(after) == value
    assert look(before) != value


def test_an_index_one_past_the_end_appends(good):
    recipe = parse_recipe(good, "r.yaml", ["stages.3={train: {epochs: 1}}"])

    assert [s.kind for s in recipe.stages] == ["distill", "prune", "quantize", "train"]


def test_overrides_apply_in_order(good):
    assert parse_recipe(good, "r.yaml", ["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.0.distil.epochs=2", "stages[0] has no 'distil'; did you mean 'distill'?"),
        ("stages.0.prune.keep_macs=1", "stages[0] is a distill stage, not prune"),
        ("stages.7.distill.epochs=2",
         "stages is a list, '7' is no index of it; its entries are 0 (distill), 1 (prune), 2 (quantize)"),
        ("stages.distill.epochs=2",
         "stages is a list, 'distill' is no index of it; its entries are 0 (distill), 1 (prune), 2 (quantize)"),
        ("stages.3.train.epochs=2",
         "stages is a list, '3' is no index of it; its entries are 0 (distill), 1 (prune), 2 (quantize)"),
        ("budgt.size_bytes=3", "recipe has no 'budgt'; did you mean 'budget'?"),
        ("zzz.a=3", "recipe has no 'zzz'; it has allow_slower, attribution, budget, costs, data, export, invariance, "
                    "measure, name, seed, sensitive, slices, stages, student, target, task, teacher, version"),
        ("name.a=2", "name is the text 'small'; there is nothing inside it"),
        ("seed.a=2", "there is nothing at seed to look into"),
        ("seed", "want PATH=VALUE, such as stages.0.distill.epochs=2"),
        ("=2", "want PATH=VALUE, such as stages.0.distill.epochs=2"),
        ("a..b=2", "want PATH=VALUE, such as stages.0.distill.epochs=2"),
        ("name=[1",
         "its value: it is no YAML: while parsing a flow sequence expected ',' or ']', but got '<stream end>'"),
        ("name=!!str x", "its value: tag 'tag:yaml.org,2002:str': recipes have no tags, only plain values"),
        # what is set is checked like the file, and blamed on the --set
        ("data.augment.noise=1",
         "data.augment.noise: unknown key; known here: horizontal_flip, shift_pixels, erase, mixup_alpha, gain, "
         "shift_steps, jitter, text_copies"),
        ("stages.0.distill.epoch=1", "stages[0].distill.epoch: unknown key; did you mean 'epochs'?"),
        ("stages.0.distill={epochs: 0}", "stages[0].distill.epochs: 0 is out of range; want at least 1"),
        ("student.args.width=0", "student.args: ds-cnn: width: want a whole number from 1 to 4096, got 0; correct it"),
    ],
)  # fmt: skip
def test_a_path_that_leads_nowhere_says_what_there_is(good, problems, override, message):
    found = problems(good, override)

    assert found in ([f"--set {override}: {message}"], [f"line 7: {message}"])


def test_problems_of_overrides_come_after_those_of_the_file(change, problems):
    found = problems(change("epochs: 2", "epochs: 0"), "sed=1", "seed=-1")

    assert found == [
        "line 6: teacher.train.epochs: 0 is out of range; want at least 1",
        "--set sed=1: sed: unknown key; did you mean 'seed'?",
        "--set seed=-1: seed: -1 is out of range; want at least 0",
    ]
