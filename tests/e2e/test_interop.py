"""Optimum, in an environment of its own (scripts/interop builds it), opens what we write, and we what it exports."""

import json
import os
import subprocess
from pathlib import Path

import edge_runtime
import numpy as np
import pytest
from click.testing import CliRunner
from edge_runtime.preprocessing import Preprocessing

from compress.cli import main
from compress.export.bundle import write_bundle
from compress.export.onnx import to_onnx
from compress.model.module import initial_model
from compress.model.nets import build_net
from compress.quantize_result import load
from tests.chain.conftest import Cli
from tests.unit.model.text_folders import write_bert

HOME = Path(os.environ.get("COMPRESS_INTEROP") or Path.home() / ".cache" / "compress-interop")
OPTIMUM = HOME / "optimum" / "bin" / "python"
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not OPTIMUM.exists(), reason=f"{OPTIMUM} is not there: run scripts/interop, which builds it"),
]
OPEN = """
import json, numpy as np, torch
from optimum.onnxruntime import {cls}
model = {cls}.from_pretrained({folder!r})
inputs = {{name: torch.from_numpy(array) for name, array in np.load({data!r}).items()}}
np.save({answer!r}, model(**inputs).logits.numpy())
print(json.dumps(model.config.id2label))
"""
READ = """
import json, numpy as np
from optimum.onnxruntime import ORTModelForSequenceClassification
from transformers import AutoTokenizer, pipeline
model = ORTModelForSequenceClassification.from_pretrained({folder!r})
tokenizer = AutoTokenizer.from_pretrained({folder!r})
texts = json.loads({texts!r})
inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
answers = dict(together=model(**inputs).logits.numpy())
inputs["attention_mask"] = (inputs["input_ids"] != tokenizer.pad_token_id).long()  # as other callers give it
answers["masked"] = model(**inputs).logits.numpy()
answers["alone"] = np.concatenate([model(**tokenizer(t, truncation=True, return_tensors="pt")).logits for t in texts])
np.savez({answer!r}, **answers)
print(json.dumps(pipeline("text-classification", model=model, tokenizer=tokenizer)(texts, truncation=True)))
"""
EXPORT = """
import torch
from transformers import BertConfig, BertForSequenceClassification
from optimum.exporters.onnx import onnx_export_from_model
torch.manual_seed(0)
config = BertConfig(vocab_size=200, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
                    max_position_embeddings=64, num_labels=3)
onnx_export_from_model(BertForSequenceClassification(config).eval(), {folder!r}, task="text-classification")
"""


def in_optimum(program: str, **values: object) -> str:
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    command = [str(OPTIMUM), "-W", "ignore", "-c", program.format(**values)]
    alone = {**clean, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=alone, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""


def test_optimum_opens_an_image_bundle_unchanged_and_gives_the_same_logits(tmp_path):
    labels = ["cat", "dog", "eel", "fox"]
    model = initial_model(build_net("ds-cnn", {"width": 16, "blocks": 2}, (3, 16, 16), 4), 0)
    raw = np.random.default_rng(0).integers(0, 255, (5, 16, 16, 3)).astype(np.uint8)
    image = Preprocessing("image", height=16, width=16, channels=3, scale=1 / 255, mean=(0.5,), std=(0.25,))
    write_bundle(tmp_path / "bundle", name="pets", task="image-classification", labels=labels, preprocessing=image,
                 files={"onnx": to_onnx(model, name="pets")}, precision="float32", reference_inputs=raw)  # fmt: skip

    done = CliRunner().invoke(main, ["huggingface", str(tmp_path / "bundle"), str(tmp_path / "hf")])
    assert done.exit_code == 0, done.output
    np.savez(tmp_path / "x.npz", pixel_values=image(raw))
    said = in_optimum(OPEN, cls="ORTModelForImageClassification", folder=str(tmp_path / "hf"),
                      data=str(tmp_path / "x.npz"), answer=str(tmp_path / "y.npy"))  # fmt: skip

    with edge_runtime.load(tmp_path / "bundle") as ours:
        assert np.allclose(np.load(tmp_path / "y.npy"), ours.logits(raw), atol=1e-5)
    assert list(json.loads(said).values()) == labels


TEXT_RECIPE = """\
version: 1
name: films
task: text-classification
data: {csv: said.csv, text: said, label: side, max_length: 16, lengths: [8, 16], calibration: 32}
teacher: {hf: bert, train: {epochs: 6, learning_rate: 0.003, batch_size: 16}}
stages:
  - quantize: {how: static}
export: [onnx]
measure: {profile: smoke}
allow_slower: true
"""


def test_optimum_opens_the_bundle_of_a_text_recipe_as_it_is(tmp_path):
    cli = Cli(tmp_path)
    write_bert(tmp_path / "bert", kind="BertModel", spread=0.1)
    said = {"good": "thumbs up", "great": "thumbs up", "bad": "down", "dull": "down"}
    rows = [f"{start} {word},{side}" for word, side in said.items() for start in ("the film is", "it was") * 20]
    (tmp_path / "said.csv").write_text("\n".join(["said,side", *rows]) + "\n")
    (tmp_path / "recipe.yaml").write_text(TEXT_RECIPE)
    cli("run", "recipe.yaml")
    bundle = tmp_path / "runs/films/bundle"
    texts = ["The film is GREAT", "it was dull", "", "\U0001f600 good", "the film is great " * 9]

    said = in_optimum(READ, folder=str(bundle), texts=json.dumps(texts), answer=str(tmp_path / "y.npz"))

    with edge_runtime.load(bundle) as ours:
        logits, labels = ours.logits(texts), [p.label for p in ours.predict_batch(texts)]
    theirs = np.load(tmp_path / "y.npz")
    for name in ("together", "masked", "alone"):
        assert np.allclose(theirs[name], logits, atol=1e-5), name
    assert [row["label"] for row in json.loads(said)] == labels
    assert len(set(labels)) == 2


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A small BERT classifier as Optimum's exporter leaves it: a folder with model.onnx and config.json."""
    folder = tmp_path_factory.mktemp("optimum") / "bert"
    in_optimum(EXPORT, folder=str(folder))
    return folder


def test_a_folder_that_optimum_exported_is_quantized(exported, tmp_path):
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 200, (48, 32))
    np.savez(tmp_path / "c.npz", input_ids=ids, attention_mask=np.ones_like(ids), token_type_ids=np.zeros_like(ids))
    command = ["quantize", str(exported), "--data", str(tmp_path / "c.npz"), "--out", str(tmp_path / "out"),
               "--profile", "smoke", "--allow-slower", "--min-agreement", "0.8"]  # fmt: skip

    done = CliRunner().invoke(main, command)

    assert done.exit_code == 0, done.output
    result = load(tmp_path / "out" / "result.json")
    assert result.source.kind == "transformer"
    assert result.file("dynamic").kernels["dynamic-integer"] == 2 * 6 + 2  # six products a layer, pooler, classifier
    (exported / "model.onnx").write_bytes((tmp_path / "out" / "int8.onnx").read_bytes())
    four = {"input_ids": ids[:4], "attention_mask": np.ones_like(ids[:4]), "token_type_ids": np.zeros_like(ids[:4])}
    np.savez(tmp_path / "four.npz", **four)
    in_optimum(OPEN, cls="ORTModelForSequenceClassification", folder=str(exported), data=str(tmp_path / "four.npz"),
               answer=str(tmp_path / "y.npy"))  # fmt: skip
    with edge_runtime.load(tmp_path / "out" / "bundle") as ours:
        assert np.allclose(np.load(tmp_path / "y.npy"), ours.outputs(four)["logits"], atol=1e-4)


TEACHER_RECIPE = """\
version: 1
name: optimum
data: {source: digits, limit: 500}
teacher: {onnx: resnet, train: {epochs: 1}}
student: {net: ds-cnn, args: {width: 16, blocks: 2}}
stages:
  - distill: {epochs: 1}
  - quantize: {how: static}
export: [onnx]
measure: {profile: smoke}
allow_slower: true
"""
EXPORT_IMAGES = """
import torch
from transformers import ResNetConfig, ResNetForImageClassification
from optimum.exporters.onnx import onnx_export_from_model
torch.manual_seed(0)
config = ResNetConfig(num_channels=1, embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic",
                      num_labels=10)
config.image_size = 8
onnx_export_from_model(ResNetForImageClassification(config).eval(), {folder!r}, task="image-classification")
"""


def test_a_folder_that_optimum_exported_is_a_teacher(tmp_path):
    in_optimum(EXPORT_IMAGES, folder=str(tmp_path / "resnet"))
    cli = Cli(tmp_path)
    (tmp_path / "recipe.yaml").write_text(TEACHER_RECIPE)

    cli("run", "recipe.yaml")

    doc = json.loads((tmp_path / "runs/optimum/result.json").read_text())
    steps = {s["name"]: s for s in doc["steps"]}
    assert len(steps["01-distill"]["metrics"]["loss"]) == 1
    assert all(h["ok"] for h in doc["ledger"])
