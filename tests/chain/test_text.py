"""A whole run on texts: a tiny BERT from a Hugging Face folder to a bundle that takes strings."""

import json
import shutil

import edge_runtime
import numpy as np
import pytest

from tests.unit.model.text_folders import write_bert

pytestmark = pytest.mark.slow

RECIPE = """\
version: 1
name: tiny_text
task: text-classification
data: {csv: said.csv, text: said, label: side, max_length: 16, lengths: [8, 16], calibration: 64, test: 0.3}
teacher: {hf: bert, train: {epochs: 12, learning_rate: 0.003, batch_size: 16}}
student: {from_teacher: {layers: [2]}}
stages:
  - distill:
      epochs: 4
      batch_size: 16
      learning_rate: 0.003
      augment: {text_copies: 1}
      hints: [{teacher: layer2_norm, student: layer1_norm}]
      relations: [{teacher: layer2_attention, student: layer1_attention}]
  - vocabulary: {min_count: 1, rank: 12}
  - prune: {keep_macs: 0.7, round_to: 8, importance: taylor, finetune_epochs: 1, batch_size: 16}
  - quantize: {how: static}
export: [onnx, tflite]
measure: {profile: smoke}
allow_slower: true
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    from tests.chain.conftest import Cli

    cli = Cli(tmp_path_factory.mktemp("text"))
    write_bert(cli.folder / "bert", kind="BertModel", spread=0.1)
    rng = np.random.default_rng(0)
    rows = ["said,side"]
    for _ in range(320):
        side = int(rng.integers(2))
        start = rng.choice(["the film is", "a story was", "the plot"])
        rows.append(f"{start} {rng.choice([['bad', 'dull'], ['good', 'great']][side])},{['thumbs down', 'up'][side]}")
    (cli.folder / "said.csv").write_text("\n".join(rows) + "\n")
    (cli.folder / "recipe.yaml").write_text(RECIPE)
    cli("run", "recipe.yaml")
    return cli


def result(cli):
    return json.loads((cli.folder / "runs/tiny_text/result.json").read_text())


def test_every_step_is_on_the_record(ran):
    doc = result(ran)
    steps = {s["name"]: s["metrics"] for s in doc["steps"]}
    last = next(a for a in doc["artefacts"] if a["id"] == "04-quantize.onnx")

    assert [a["role"] for a in doc["artefacts"]] == [
        "teacher ONNX", "student ONNX", "trimmed ONNX", "pruned ONNX", "int8 ONNX", "dynamic int8 TFLite"
    ]  # fmt: skip
    assert steps["02-vocabulary"]["tokens"][1] < steps["02-vocabulary"]["tokens"][0]
    assert 0 < steps["02-vocabulary"]["table_error"] < 0.5
    assert last["kernels"]["integer"] == 9  # a table and what widens it, six linear layers, the classifier
    assert doc["artefacts"][-1]["kernels"] == {"integer": 1, "dynamic-integer": 8, "float": 3}
    assert all(h["ok"] for h in doc["ledger"])
    assert next(a for a in doc["artefacts"][0]["accuracy"] if a["split"] == "test")["top1"] > 0.9


AWKWARD = (
    "",
    " ",
    "\U0001f600\U0001f600",
    "x" * 10_000,
    "good " * 10_000,
    "\u6620\u753b good \u0444\u0438\u043b\u044c\u043c",
    "a\x00b\u202e",
    "dull",
)


@pytest.mark.parametrize("engine", ["onnx", "tflite"])
def test_the_bundle_takes_strings(ran, engine):
    with edge_runtime.load(ran.folder / "runs/tiny_text/bundle", engine=engine) as model:
        good, bad = model.predict("The film is GREAT"), model.predict("a story was dull")
        awkward = model.predict_batch(list(AWKWARD))
        alone = [model.predict(text) for text in AWKWARD]

    assert (good.label, bad.label) == ("up", "thumbs down")
    assert [p.label for p in awkward] == [p.label for p in alone]
    names = {p.name for p in (ran.folder / "runs/tiny_text/bundle").iterdir()}
    assert {"manifest.json", "model.onnx", "model.tflite", "tokenizer.json", "config.json"} <= names


def test_both_files_say_the_same_of_awkward_texts(ran):
    rows = {}
    for engine in ("onnx", "tflite"):
        with edge_runtime.load(ran.folder / "runs/tiny_text/bundle", engine=engine) as model:
            rows[engine] = model.logits(list(AWKWARD))

    assert np.isfinite(rows["tflite"]).all()
    assert np.abs(rows["onnx"] - rows["tflite"]).max() < 0.3 * rows["onnx"].std()


def test_the_manifest_has_a_signature_a_length(ran):
    doc = json.loads((ran.folder / "runs/tiny_text/artefacts/04-quantize.tflite/manifest.json").read_text())

    assert doc["models"][0]["signatures"] == [{"length": 8, "name": "ids_8"}, {"length": 16, "name": "ids_16"}]
    assert doc["preprocessing"]["lengths"] == [8, 16]


def test_a_second_run_comes_from_the_cache(ran):
    assert "cached" in ran("run", "recipe.yaml").stderr + ran("run", "recipe.yaml").stdout


def test_a_checkpoint_of_it_can_teach(ran):
    shutil.copytree(ran.folder / "runs/tiny_text/checkpoints/00-teacher", ran.folder / "taught", dirs_exist_ok=True)

    done = ran("plan", "recipe.yaml", "--set", "teacher={checkpoint: taught}")

    assert "open taught" in done.stdout
    assert "find their ranges while running there" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("export=[tflite-int4]", "tflite-int4"),
        ("stages.1.vocabulary.rank=99", "cannot be factorised to 99; give a smaller rank"),
        (
            "data={csv: said.csv, text: said, label: side, max_length: 40}",
            "reads at most 24 tokens, the recipe wants 40",
        ),
        ("data.tokenizer=nowhere.json", "there is no nowhere.json"),
        ("data.lengths=[16, 8]", "do not ascend to max_length"),
        ("student.from_teacher.layers=[3]", "are not some of 1 to 2"),
        ("teacher.hf=./nowhere", "there is no such folder"),
        ("teacher.revision=abc", "a folder has no revision"),
        ("stages.0.distill.relations=[{teacher: layer2_query, student: layer1_attention}]", "is no attention"),
        ("task=image-classification", "the data are text data; write text-classification"),
        ("data.augment.mixup_alpha=0.2", "it is for numbers"),
        ("data.augment.horizontal_flip=true", "it is for images"),
    ],
)
def test_what_does_not_go_together_is_said_before_anything_runs(ran, change, said):
    done = ran("lint", "recipe.yaml", "--set", change, check=None)

    assert done.returncode != 0
    assert said in " ".join((done.stdout + done.stderr).split())


def test_a_tokenizer_of_another_model_is_refused(ran):
    doc = json.loads((ran.folder / "bert/tokenizer.json").read_text())
    doc["model"]["vocab"] |= {f"word{i}": len(doc["model"]["vocab"]) + i for i in range(50)}
    (ran.folder / "other.json").write_text(json.dumps(doc))

    done = ran("run", "recipe.yaml", "--out", "other", "--set", "data.tokenizer=other.json", check=1)

    assert "it is another model's" in done.stderr


def test_every_layer_of_a_text_file_is_blamed(ran):
    from compress.blamed import load_blame

    done = ran("blame", "runs/tiny_text", "--examples", "40", "--out", "blame", "--no-times")
    found = load_blame(ran.folder / "blame" / "blame.json")

    names = {r.name for r in found.layers}
    assert {"embedding", "layer1_query", "classifier"} <= names, names
    assert found.count > 20
    assert "divergence" in done.stdout


def test_text_runs_are_compared_with_their_sentences(ran):
    ran("compare", "runs/tiny_text:00-teacher.onnx", "runs/tiny_text", "--out", "told")
    doc = json.loads((ran.folder / "told" / "compare.json").read_text())

    assert not [n for n in doc["notes"] if "not shown" in n]
    assert {"words", "class"} <= {s["family"] for s in doc["comparisons"][0]["slices"]}
