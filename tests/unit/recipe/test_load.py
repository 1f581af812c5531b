"""What a recipe becomes, and every message about its form by value."""

import pickle

import pytest

from compress.errors import RecipeError
from compress.recipe.load import load_recipe, parse_recipe, recipe_from_json
from compress.recipe.schema import DistillConfig, PruneConfig, QuantizeConfig, Recipe, TrainConfig


def test_stages_become_typed_configs_in_order(good):
    recipe = parse_recipe(good, "r.yaml")

    assert [type(s) for s in recipe.stages] == [DistillConfig, PruneConfig, QuantizeConfig]
    assert [s.kind for s in recipe.stages] == ["distill", "prune", "quantize"]
    assert recipe.stages[0].epochs == 3
    assert recipe.export == ("onnx", "tflite")
    assert recipe.budget.latency_ms == {"cpu": 1.0}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("100_000", 100000), ("7", 7), ("+7", 7),
    ],
)  # fmt: skip
def test_whole_numbers_may_be_grouped(change, text, value):
    recipe = parse_recipe(change("  latency_ms", f"  size_bytes: {text}\n  latency_ms"), "r.yaml")

    assert recipe.budget.size_bytes == value


@pytest.mark.parametrize(("text", "value"), [("1e-3", 1e-3), ("1", 1.0), (".5", 0.5), ("2.", 2.0), ("1.5E+1", 15.0)])
def test_numbers_are_what_they_look_like(change, text, value):
    recipe = parse_recipe(change("{epochs: 3}", f"{{epochs: 3, learning_rate: {text}}}"), "r.yaml")

    assert recipe.stages[0].learning_rate == value


def test_a_stage_without_options_has_all_defaults(change):
    recipe = parse_recipe(change("- distill: {epochs: 3}", "- distill:"), "r.yaml")

    assert recipe.stages[0] == DistillConfig()


def test_a_byte_order_mark_and_windows_line_ends_are_fine(good):
    text = b"\xef\xbb\xbf" + good.replace("\n", "\r\n").encode()

    assert parse_recipe(text, "r.yaml").name == "small"


def test_a_recipe_is_frozen_and_survives_pickling_and_json(good):
    recipe = parse_recipe(good, "r.yaml")

    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 1
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    assert recipe_from_json(recipe.model_dump(mode="json"), "result.json") == recipe


def test_stages_can_be_given_as_configs_in_python():
    recipe = Recipe(version=1, name="a", data={"source": "digits"}, teacher={"net": "mlp", "train": {}},
                    stages=(TrainConfig(epochs=2), {"quantize": {"how": "dynamic"}}))  # fmt: skip

    assert recipe.stages == (TrainConfig(epochs=2), QuantizeConfig(how="dynamic"))
    assert list(recipe.model_dump(mode="json")["stages"][1]) == ["quantize"]


def test_json_that_is_no_recipe_is_refused():
    with pytest.raises(RecipeError, match=r"result.json: 4 problems\n.*version: missing"):
        recipe_from_json({}, "result.json")


def test_all_problems_come_at_once_in_the_order_of_the_file(problems):
    text = """\
version: 1
name: Bad Name
techer: {net: mlp}
data: {source: mnist5k, limit: 0}
student: {net: ds-cn}
stages:
  - distil: {epochs: 3}
  - distill: {epochs: "3"}
  - prune: {keep_macs: 1.5, sparcity: 2}
  - quantize:
    how: qat
export: onnx
measure: {devices: [gpu]}
budget: {latency_ms: {cppu: 1}}
"""
    assert problems(text) == [
        "line 2: name: the text 'Bad Name'; want lower-case letters, digits, - and _, 64 at most, "
        "beginning with a letter or digit",
        "line 3: techer: unknown key; did you mean 'teacher'?",
        "line 4: data.source: the text 'mnist5k' is none of mnist-5k, digits, fashion-mnist, gestures, "
        "movie-sentences; did you mean 'mnist-5k'?",
        "line 4: data.limit: 0 is out of range; want at least 1",
        "line 5: student.net: no net 'ds-cn'; did you mean 'ds-cnn'?",
        "line 7: stages[0]: 'distil' is no kind of stage; did you mean 'distill'?",
        "line 8: stages[1].distill.epochs: want a whole number, got the text '3'",
        "line 9: stages[2].prune.keep_macs: 1.5 is out of range; want less than 1",
        "line 9: stages[2].prune.sparcity: unknown key; did you mean 'sparsity'?",
        "line 10: stages[3]: 'how' beside 'quantize'; indent a stage's options below it",
        "line 12: export: want a list, got the text 'onnx'; write [onnx]",
        "line 14: budget.latency_ms.cppu: 'cppu' is not among measure.devices; measured are gpu",
    ]


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("version: 1", "version: 2", "line 1: version: recipe version 2; this compress reads version 1"),
        ("version: 1\n", "", "line 1: version: missing; add it"),
        ("name: small", "name: 7", "line 2: name: want text, got 7; put it in quotes"),
        ("name: small", "name: yes\nseed: yes", "line 3: seed: want a whole number, got the text 'yes'"),
        ("{source: digits}", "{source: digits, zzz: 1}", "line 3: data.zzz: unknown key; known here: source, idx,"),
        (
            "{source: digits}",
            "{}",
            "line 3: data: give exactly one of source, idx, npz, hf, csv, jsonl, images, python; got none",
        ),
        ("{source: digits}", "", "line 3: data: want a mapping of keys, got nothing"),
        ("epochs: 2", "epochs: 2.5", "line 6: teacher.train.epochs: want a whole number, got 2.5"),
        ("epochs: 2", "epochs: true", "line 6: teacher.train.epochs: want a whole number, got true"),
        ("epochs: 2", "learning_rate: .inf", "line 6: teacher.train.learning_rate: want a number, got the text '.inf'"),
        ("epochs: 2", "learning_rate: 1e999", "line 6: teacher.train.learning_rate: want a finite number, got inf"),
        ("- distill: {epochs: 3}", "- distill", "line 9: stages[0]: write `distill: {}`, a stage with its options"),
        (
            "- distill: {epochs: 3}",
            "- destil",
            "the text 'destil' is no stage; want one of train, distill, prune, quan",
        ),
        ("- distill: {epochs: 3}", "- 5", "line 9: stages[0]: want a stage such as `distill: {epochs: 10}`, got 5"),
        ("- distill: {epochs: 3}", "- {distill: {}, train: {}}", "one stage an entry, got distill and train; begin"),
        ("how: static", "how: qat", "line 11: stages[2].quantize: how: qat with epochs: 0; qat wants at least 1"),
        ("how: static", "layers: stem", "line 11: stages[2].quantize.layers: want `all` or a list of layer names"),
        ("how: static", "layers: [stem, 3]", "stages[2].quantize.layers: want texts in this list, got 3; put it in"),
        ("how: static", "weight_bits: 4", "line 11: stages[2].quantize.weight_bits: 4 is none of 7, 8"),
        ("keep_macs: 0.8", "sparsity: 0.8", "stages[1].prune: what: channels wants exactly one of keep_macs, keep_p"),
        ("devices: [cpu]", "devices: []", "line 13: measure.devices: want at least one entry"),
        ("{cpu: 1}", "{cpu: 0}", "line 15: budget.latency_ms.cpu: 0 is out of range; want more than 0"),
        ("{cpu: 1}", "[1]", "line 15: budget.latency_ms: want a mapping of keys, got a list"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(change, problems, old, new, line):
    assert any(line in found for found in problems(change(old, new))), problems(change(old, new))
    assert len(problems(change(old, new))) == 1


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "line 1: it is empty"),
        ("# only a comment\n", "line 1: it is empty"),
        ("- a\n", "line 1: want a mapping of keys, got a list"),
        ("hello", "line 1: want a mapping of keys, got the text 'hello'"),
        ("a: [1\nb: 2\n", "line 2: it is no YAML: while parsing a flow sequence expected ',' or ']', but got ':'"),
        (
            "a: 1\n\tb: 2\n",
            "line 2: it is no YAML: while scanning for the next token found character '\\t' that cannot "
            "start any token; indent with spaces, not tabs",
        ),
        ("a: 1\n---\nb: 2\n", "line 2: a second document starts here; one recipe a file"),
        (b"a: 1\nb: \xff\n", "line 2: byte 8 is not UTF-8; save the file as UTF-8"),
        ("a: \x07\n", "line 1: it is no YAML: character U+0007 is not allowed"),
        ("a: " + "[" * 60 + "]" * 60, "line 1: nested more than 24 levels deep"),
        ("[" * 100_000, "line 1: nested more than 24 levels deep"),
        ("a: [" + "1," * 20_000 + "]", "line 1: more than 10,000 values; this is no recipe"),
        (b"#" * 300_000, "line 1: 300,000 bytes; a recipe has at most 262,144"),
        ('a: "\\UFFFFFFFF"\n', "line 1: it is no YAML: "),
    ],
    ids=lambda v: repr(v)[:20],
)
def test_what_is_no_recipe_at_all_is_refused(problems, text, line):
    assert any(found.startswith(line) for found in problems(text)), problems(text)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("name: a\nname: b\n", "line 2: key 'name' stands here twice, first on line 1"),
        ("a: &x {b: 1}\nc: *x\n", "line 1: anchor &x: recipes have no anchors, write the value out"),
        ("a: &x {b: 1}\nc: *x\n", "line 2: alias *x: recipes have no aliases, write the value out"),
        ("a: !!python/object/apply:os.system [ls]\n", "line 1: tag 'tag:yaml.org,2002:python/object/apply:os.system':"),
        ("a: !!int '3'\n", "line 1: tag 'tag:yaml.org,2002:int': recipes have no tags, only plain values"),
        ("1: a\n", "line 1: key 1 is not text; put it in quotes"),
        ("null: a\n", "line 1: key None is not text; put it in quotes"),
        ("{a: 1}: b\n", "line 1: a key is text, not a list or a mapping"),
        ("? [a]\n: {c: 1}\nname: x\n", "line 1: a key is text, not a list or a mapping"),
        ('a: "\\0"\n', "line 1: text with a control character: '\\x00'"),
        ('a: "\\uD800"\n', "line 1: text with a control character: '\\ud800'"),
        ("a: 1234567890123456789012\n", "line 1: a number of 22 digits"),
    ],
)
def test_yaml_beyond_plain_values_is_refused(problems, text, line):
    assert any(found.startswith(line) for found in problems(text)), problems(text)


def test_what_follows_a_bad_key_is_still_read(problems):
    found = problems("? [a]\n: {c: 1}\nname: small\nname: other\nnmae: x\n")

    assert "line 5: nmae: unknown key; did you mean 'name'?" in found
    assert "line 4: key 'name' stands here twice, first on line 3" in found


def test_files_that_cannot_be_read_say_so(tmp_path):
    with pytest.raises(RecipeError, match="there is no such file"):
        load_recipe(tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match="it is a folder"):
        load_recipe(tmp_path)
    with pytest.raises(RecipeError, match="it cannot be read"):
        load_recipe(tmp_path / ("x" * 5000))


def test_the_error_survives_a_worker_process(problems, good):
    with pytest.raises(RecipeError) as caught:
        parse_recipe(good + "seed: -1\n", "r.yaml")

    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert str(caught.value) == (
        "r.yaml: 1 problem\n    line 16: seed: -1 is out of range; want at least 0\n"
        "  fix: correct the lines above; nothing has run"
    )
