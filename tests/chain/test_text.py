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
  - vocabulary: {min_count: 1}
  - prune: {keep_macs: 0.7, round_to: 8, importance: taylor, finetune_epochs: 1, batch_size: 16}
  - quantize: {how: static}
export: [onnx]
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
        "teacher ONNX", "student ONNX", "trimmed ONNX", "pruned ONNX", "int8 ONNX"
    ]  # fmt: skip
    assert steps["02-vocabulary"]["tokens"][1] < steps["02-vocabulary"]["tokens"][0]
    assert last["kernels"]["integer"] == 8  # a table, six linear layers, the classifier
    assert all(h["ok"] for h in doc["ledger"])
    assert next(a for a in doc["artefacts"][0]["accuracy"] if a["split"] == "test")["top1"] > 0.9


def test_the_bundle_takes_strings(ran):
    with edge_runtime.load(ran.folder / "runs/tiny_text/bundle") as model:
        good, bad = model.predict("The film is GREAT"), model.predict("a story was dull")
        awkward = model.predict_batch(["", "\U0001f600", "x" * 10_000, "\u6620\u753b good"])

    assert (good.label, bad.label) == ("up", "thumbs down")
    assert len(awkward) == 4
    names = {p.name for p in (ran.folder / "runs/tiny_text/bundle").iterdir()}
    assert {"manifest.json", "model.onnx", "tokenizer.json"} <= names


def test_a_second_run_comes_from_the_cache(ran):
    assert "cached" in ran("run", "recipe.yaml").stderr + ran("run", "recipe.yaml").stdout


def test_a_checkpoint_of_it_can_teach(ran):
    shutil.copytree(ran.folder / "runs/tiny_text/checkpoints/00-teacher", ran.folder / "taught", dirs_exist_ok=True)

    done = ran("plan", "recipe.yaml", "--set", "teacher={checkpoint: taught}")

    assert "open taught" in done.stdout


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("export=[onnx, tflite]", "text models are written as ONNX only"),
        ("target=tflite", "choose x86-vnni"),
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
