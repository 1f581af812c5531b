"""The steps of a plan, what they read and carry, and what is foretold of each layer."""

import json

import pytest

from compress.errors import PlanError
from compress.model.channels import channel_groups
from compress.model.nets import build_net
from compress.model.shapes import count_macs, count_parameters
from compress.plan.file import plan_text, read_plan
from compress.plan.plan import make_plan
from compress.recipe.schema import KINDS, NetConfig, StudentConfig
from compress.recipe.smoke import smoke_version


def test_steps_come_in_order_with_their_names_and_inputs(long_recipe):
    plan = make_plan(long_recipe)

    assert [(s.name, s.kind, s.inputs) for s in plan.steps[:6]] == [
        ("data", "data", ()),
        ("00-teacher", "teacher", ("data",)),
        ("01-distill", "distill", ("data", "00-teacher")),
        ("02-prune", "prune", ("data", "01-distill", "00-teacher")),
        ("03-prune", "prune", ("data", "02-prune")),  # no fine-tuning, so no teacher
        ("04-quantize", "quantize", ("data", "03-prune", "00-teacher")),
    ]
    assert [s.name for s in plan.steps if s.kind == "export"] == [
        "00-teacher.onnx", "01-distill.onnx", "02-prune.onnx", "03-prune.onnx",
        "04-quantize.onnx", "04-quantize.tflite", "04-quantize-float16.tflite",
    ]  # fmt: skip
    assert [s.name for s in plan.steps[-5:]] == ["evaluate", "measure", "select", "bundle", "report"]


def test_every_input_is_an_earlier_step(long_recipe, recipe_of):
    for recipe in (long_recipe, recipe_of(""), recipe_of("stages: [{quantize: {how: dynamic}}]")):
        seen = set()
        for step in make_plan(recipe).steps:
            assert set(step.inputs) <= seen, step.name
            assert step.name not in seen
            assert step.description
            seen.add(step.name)


def test_a_steps_config_holds_all_that_changes_its_outcome(long_recipe):
    steps = {s.name: s for s in make_plan(long_recipe).steps}

    for step in steps.values():
        assert json.loads(json.dumps(step.config)) == step.config
    stage = steps["04-quantize"].config["stage"]
    assert stage["weight_bits"] == 7  # from the target
    assert stage["augment"]["shift_pixels"] == 2  # from the data
    assert steps["00-teacher"].config["train"]["augment"]["shift_pixels"] == 2
    assert steps["01-distill"].config["student"]["args"] == {"width": 16}
    assert steps["00-teacher"].config["seed"] == 0
    for index, original in enumerate(long_recipe.stages):
        name = f"{index + 1:02d}-{original.kind}"
        again = KINDS[original.kind].model_validate(steps[name].config["stage"], strict=False)
        changed = {k for k in again.model_fields_set if getattr(again, k) != getattr(original, k)}
        assert changed <= {"augment", "weight_bits"}


@pytest.mark.parametrize(
    "change",
    [{"seed": 3}, {"stages": ()}, {"target": "arm64"}, {"student": StudentConfig(net="ds-cnn")}],
    ids=lambda c: next(iter(c)),
)
def test_whatever_changes_a_model_changes_a_steps_config(long_recipe, change):
    def configs(recipe):
        return [(s.name, s.config) for s in make_plan(recipe).steps if s.kind in {*KINDS, "teacher"}]

    assert configs(long_recipe) != configs(long_recipe.model_copy(update=change))


def test_each_layer_has_a_treatment_in_every_stage_or_a_reason(long_recipe):
    plan = make_plan(long_recipe)
    layers = {layer.name: {t.step: t for t in layer.treatments} for layer in plan.layers}

    assert all(list(t) == ["01-distill", "02-prune", "03-prune", "04-quantize"] for t in layers.values())
    assert layers["stem"]["02-prune"].action == "narrowed"
    assert layers["block1_dw"]["02-prune"].detail == "together with stem"  # it follows, though no pattern names it
    assert layers["classifier"]["02-prune"].detail == "not chosen by `layers`"
    assert layers["stem"]["03-prune"].action == "kept"
    assert (layers["block1_pw"]["03-prune"].action, layers["block1_pw"]["03-prune"].share) == ("zeroed", 0.5)
    assert layers["stem"]["04-quantize"].detail == "stays float: chosen by `keep_float`"
    assert layers["block1_pw"]["04-quantize"].action == "int7"
    assert {t.action for t in (layers[n]["01-distill"] for n in layers)} == {"trained"}


def test_a_reason_says_why_channels_must_stay(recipe_of):
    plan = make_plan(recipe_of("stages: [{prune: {keep_macs: 0.5}}]"))
    kept = {layer.name: layer.treatments[0].detail for layer in plan.layers if layer.treatments[0].action == "kept"}

    assert kept == {"classifier": "its channels are the classes, the net's output"}
    tied = next(layer for layer in plan.layers if layer.name == "block2_1_skip").treatments[0]
    assert tied.detail == "together with block2_1_conv2"


def test_estimates_follow_the_model_down(recipe_of):
    rest = "stages: [{prune: {keep_macs: 0.5}}, {quantize: {how: static}}]"
    plan = make_plan(recipe_of(rest))
    graph = build_net("resnet8", {}, (1, 28, 28), 10)
    start, pruned, integer = plan.estimates

    assert (start.parameters, start.macs, start.exact) == (count_parameters(graph), count_macs(graph), True)
    assert 0.42 * start.macs < pruned.macs <= 0.5 * start.macs
    assert not pruned.exact
    assert integer.macs == pruned.macs
    assert integer.weight_bytes < 0.3 * pruned.weight_bytes
    widths = {layer.name: layer.treatments[0].channels for layer in plan.layers}
    assert all(widths[g.name][0] == g.channels for g in channel_groups(graph) if g.prunable)


def test_facts_of_nets_are_exact(recipe_of):
    plan = make_plan(recipe_of("student: {net: ds-cnn}\nstages: [{train: {}}]"))
    graph = build_net("ds-cnn", {}, (1, 28, 28), 10)

    assert (plan.input_shape, plan.classes) == ((1, 28, 28), 10)
    assert (plan.student.name, plan.student.layers) == ("ds-cnn", len(graph.layers))
    assert (plan.student.parameters, plan.student.macs) == (count_parameters(graph), count_macs(graph))
    assert sum(layer.macs for layer in plan.layers) == count_macs(graph)
    assert plan.teacher.name == "resnet8"


def test_a_data_set_of_unknown_shape_still_has_steps(recipe_of):
    plan = make_plan(recipe_of("stages: [{quantize: {how: static}}]", data="{hf: a/b, revision: abc1234x}"))

    assert plan.layers == ()
    assert plan.teacher is None
    assert plan.notes == ("The data's shape is known only once it is downloaded, so layers are not listed here.",)
    assert [s.name for s in plan.steps][:3] == ["data", "00-teacher", "01-quantize"]


def test_without_stages_the_teacher_itself_is_exported(recipe_of):
    plan = make_plan(recipe_of("export: [onnx, tflite, tflite-float16]"))

    assert [s.name for s in plan.steps if s.kind == "export"] == [
        "00-teacher.onnx", "00-teacher.tflite", "00-teacher-float16.tflite",
    ]  # fmt: skip
    assert plan.notes == ("No quantize stage: the result stays float.",)


def test_a_recipe_for_tflite_alone_exports_every_step_as_tflite(recipe_of):
    plan = make_plan(recipe_of("target: tflite\nstages: [{quantize: {how: static}}]\nexport: [tflite]"))

    assert [s.name for s in plan.steps if s.kind == "export"] == ["00-teacher.tflite", "01-quantize.tflite"]


def test_notes_tell_what_a_reader_must_know(long_recipe, recipe_of):
    avx2, zeros, *_ = make_plan(long_recipe).notes
    assert avx2.startswith("7-bit weights because of x86-avx2: AVX2 adds pairs of 8-bit products in 16 bits")
    assert zeros.startswith("Zeroed single weights shrink a file only once it is compressed")
    arm = make_plan(recipe_of("target: armv7\nstages: [{quantize: {how: static}}]\nexport: [onnx, tflite]"))
    assert arm.notes[0].startswith("onnx: armv7 has no engine for onnx files; Neither onnxruntime nor")
    big = make_plan(recipe_of("student: {net: resnet14-wide}\nstages: [{train: {}}, {quantize: {how: static}}]"))
    assert big.notes == ("The student costs more multiply-accumulates than the teacher.",)


LOST = "they do not stay zero"


@pytest.mark.parametrize(
    ("behind", "cure"),
    [
        ("quantize: {how: qat, epochs: 1}", "`how: static` keeps them"),
        ("train: {}", "put 01-prune behind it"),
        ("prune: {keep_macs: 0.5, finetune_epochs: 1}", "put 01-prune behind it"),
        ("quantize: {how: static}", ""),
        ("prune: {what: weights, sparsity: 0.8, finetune_epochs: 1}", ""),
        ("prune: {keep_macs: 0.5}", ""),
    ],
)
def test_a_step_that_trains_zeroed_weights_is_announced(recipe_of, behind, cure):
    zeros = "prune: {what: weights, sparsity: 0.5}"
    notes = [n for n in make_plan(recipe_of(f"stages: [{{{zeros}}}, {{{behind}}}]")).notes if LOST in n]
    step = f"02-{behind.partition(':')[0]}"
    assert notes == ([f"{step} trains the weights that 01-prune sets to zero, and {LOST}; {cure}."] if cure else [])


def test_training_before_the_zeros_is_not_announced(recipe_of):
    zeros = "{prune: {what: weights, sparsity: 0.5}}"

    assert not [n for n in make_plan(recipe_of(f"stages: [{{train: {{}}}}, {zeros}]")).notes if LOST in n]


def test_the_smoke_version_has_the_same_steps(long_recipe):
    whole, sliver = make_plan(long_recipe), make_plan(smoke_version(long_recipe))

    assert [s.name for s in whole.steps] == [s.name for s in sliver.steps]
    assert whole.layers == sliver.layers


def test_a_recipe_made_in_python_with_a_wrong_net_is_a_plan_error(recipe_of):
    recipe = recipe_of("")

    with pytest.raises(PlanError, match="no net 'resnet99'"):
        make_plan(recipe.model_copy(update={"student": NetConfig(net="resnet99")}))


def test_a_pattern_that_matches_nothing_is_a_plan_error_with_the_layers(long_recipe):
    with pytest.raises(PlanError, match=r"03-prune\.layers: pattern 're:pw' matches no layer") as caught:
        make_plan(long_recipe.model_copy(update={"student": None}))
    assert "the layers are stem, block1_1_conv1" in caught.value.fix


def test_a_plan_survives_its_file_and_equal_plans_are_equal_bytes(tmp_path, long_recipe):
    plan = make_plan(long_recipe)
    (tmp_path / "a.json").write_text(plan_text(plan))
    (tmp_path / "b.json").write_text(plan_text(make_plan(long_recipe)))

    assert read_plan(tmp_path / "a.json") == plan
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        ("{", "it cannot be read"),
        ("[]", "it is no compress plan"),
        ('{"format": "compress.plan", "version": 9}', "plan version 9, this compress reads 1"),
        ('{"format": "compress.plan", "version": 1}', "name: Field required"),
    ],
)
def test_a_file_that_is_no_plan_is_refused(tmp_path, content, message):
    path = tmp_path / "plan.json"
    if content is not None:
        path.write_text(content)

    with pytest.raises(PlanError, match=message):
        read_plan(path)
