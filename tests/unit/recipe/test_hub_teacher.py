"""A teacher from a Hugging Face folder: what its files alone show to be wrong is said before anything runs."""

import shutil

import pytest

from compress.errors import RecipeError
from compress.recipe.load import parse_recipe
from tests.unit.model.text_folders import write_bert

RECIPE = """\
version: 1
name: said
task: text-classification
data: {{csv: {folder}/said.csv, text: said, label: side, max_length: 16}}
teacher: {{hf: {folder}/{model}{more}}}
stages:
  - quantize: {{how: static}}
export: [onnx]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    write_bert(folder / "two", labels=2)
    write_bert(folder / "three", labels=3)
    write_bert(folder / "encoder", kind="BertModel")
    for name in ("bare", "pickled"):
        shutil.copytree(folder / "two", folder / name, ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "pickled" / "pytorch_model.bin").write_bytes(b"")
    rows = [f"the film is {word},{word}" for word in ("good", "bad") * 20]
    (folder / "said.csv").write_text("\n".join(["said,side", *rows]) + "\n")
    return folder


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("three", "its classifier knows 3 labels, the data have 2; give `train:`, which fits a new classifier"),
        ("encoder", "it is an encoder without a classifier; give `train:`"),
        ("bare", "it holds no model.safetensors; give a folder with config.json"),
        ("pickled", "its weights are pickled (pytorch_model.bin)"),
    ],
)
def test_what_a_folder_lacks_is_said_with_its_line(folder, model, said):
    with pytest.raises(RecipeError) as caught:
        parse_recipe(RECIPE.format(folder=folder, model=model, more=""), "recipe.yaml")

    assert "line 5: teacher.hf: " in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize("model", ["two", "three", "encoder"])
def test_a_new_classifier_may_have_any_labels(folder, model):
    parse_recipe(RECIPE.format(folder=folder, model=model, more=", train: {epochs: 1}"), "recipe.yaml")
