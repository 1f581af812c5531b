"""The folder for Optimum: names that its classes look for, labels, and the same logits. Optimum itself: tests/e2e."""

import json

import edge_runtime
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from edge_runtime._onnx import import_onnxruntime
from edge_runtime.preprocessing import Preprocessing
from edge_runtime.text import TextPreprocessing
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from compress.cli import main
from compress.export.bundle import write_bundle
from compress.export.onnx import to_onnx
from compress.model.bert import BertShape, bert_graph
from compress.model.module import initial_model
from compress.model.nets import build_net

LABELS = ["cat", "dog", "eel"]


def image_bundle(folder):
    image = Preprocessing("image", height=12, width=12, channels=3, scale=1 / 255, mean=(0.5,), std=(0.25,))
    model = initial_model(build_net("ds-cnn", {"width": 8, "blocks": 1}, (3, 12, 12), 3), 0)
    raw = np.random.default_rng(0).integers(0, 255, (4, 12, 12, 3)).astype(np.uint8)
    write_bundle(folder, name="pets", task="image-classification", labels=LABELS, preprocessing=image,
                 files={"onnx": to_onnx(model, name="pets")}, precision="float32", reference_inputs=raw)  # fmt: skip
    return raw, image(raw)


def text_bundle(folder):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *["a", "good", "bad", "film", "was", "this"]]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(words[:4])
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]",
                                                             special_tokens=[("[CLS]", 2), ("[SEP]", 3)])  # fmt: skip
    text = TextPreprocessing("tokenizer.json", 8, (8,)).with_tokenizer(tokenizer.to_str().encode())
    shape = BertShape(vocabulary=len(words), layers=1, width=16, heads=2, ffn=32, max_length=8)
    raw = ["this film was good", "a bad film"]
    write_bundle(folder, name="films", task="text-classification", labels=LABELS, preprocessing=text,
                 files={"onnx": to_onnx(initial_model(bert_graph(shape, 3), 0), name="films")}, precision="float32",
                 reference_inputs=raw)  # fmt: skip
    return raw, text(raw)


@pytest.mark.parametrize(
    ("make", "cls", "source"),
    [
        (image_bundle, "ORTModelForImageClassification", "pixel_values"),
        (text_bundle, "ORTModelForSequenceClassification", "input_ids"),
    ],
)
def test_the_folder_has_the_names_the_labels_and_the_same_function(tmp_path, make, cls, source):
    raw, prepared = make(tmp_path / "bundle")

    done = CliRunner().invoke(main, ["huggingface", str(tmp_path / "bundle"), str(tmp_path / "hf")])

    assert done.exit_code == 0, done.output
    assert f"{cls}.from_pretrained" in done.output
    session = import_onnxruntime().InferenceSession(str(tmp_path / "hf" / "model.onnx"))
    assert [i.name for i in session.get_inputs()] == [source]
    assert [o.name for o in session.get_outputs()] == ["logits"]
    with edge_runtime.load(tmp_path / "bundle") as model:
        assert np.allclose(session.run(None, {source: prepared})[0], model.logits(raw), atol=1e-6)
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert config["id2label"] == {"0": "cat", "1": "dog", "2": "eel"}
    onnx.checker.check_model(onnx.load(tmp_path / "hf" / "model.onnx"))


def test_the_processors_say_what_the_bundle_does(tmp_path):
    image_bundle(tmp_path / "a")
    text_bundle(tmp_path / "b")
    for name in "ab":
        CliRunner().invoke(main, ["huggingface", str(tmp_path / name), str(tmp_path / f"{name}-hf")])
    image = json.loads((tmp_path / "a-hf" / "preprocessor_config.json").read_text())
    text = json.loads((tmp_path / "b-hf" / "tokenizer_config.json").read_text())

    assert (image["image_mean"], image["image_std"]) == ([0.5] * 3, [0.25] * 3)
    assert image["rescale_factor"] == 1 / 255
    assert (text["pad_token"], text["cls_token"], text["model_max_length"]) == ("[PAD]", "[CLS]", 8)
    assert (tmp_path / "b-hf" / "tokenizer.json").read_bytes() == (tmp_path / "b" / "tokenizer.json").read_bytes()


def test_bundles_without_a_counterpart_and_folders_that_are_taken(tmp_path):
    image_bundle(tmp_path / "a")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()

    def said(*arguments):
        done = CliRunner().invoke(main, ["huggingface", *map(str, arguments)])
        assert done.exit_code == 1
        return done.output

    assert "it exists and is not empty" in said(tmp_path / "a", tmp_path / "full")
    (tmp_path / "a" / "model.onnx").write_bytes(b"no")
    assert "model.onnx" in said(tmp_path / "a", tmp_path / "new")
    vector = Preprocessing("vector", length=6)
    net = initial_model(build_net("mlp", {}, (6,), 3), 0)
    write_bundle(tmp_path / "v", name="v", task="classification", labels=LABELS, preprocessing=vector,
                 files={"onnx": to_onnx(net, name="v")}, precision="float32",
                 reference_inputs=np.zeros((2, 6), np.float32))  # fmt: skip
    assert "a bundle for classification has no counterpart" in said(tmp_path / "v", tmp_path / "new")
    assert not (tmp_path / "new").exists()
