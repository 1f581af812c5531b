"""The published JSON Schema: up to date, and of one mind with the loader."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from compress.errors import RecipeError
from compress.recipe.document import read_yaml
from compress.recipe.json_schema import recipe_schema, schema_text
from compress.recipe.load import load_recipe
from compress.recipe.schema import KINDS

ROOT = Path(__file__).resolve().parents[3]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


@pytest.fixture(scope="module")
def validator():
    schema = recipe_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_committed_copy_is_up_to_date():
    published = (ROOT / "docs" / "recipe.schema.json").read_text()

    assert published == schema_text(), "write it again: compress schema --write docs/recipe.schema.json"


def test_there_are_recipes():
    assert RECIPES


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_of_the_project_validates(validator, path):
    doc = json.loads(json.dumps(read_yaml(path.read_bytes()).value))  # as editors read it: 5e-4 is a number to them

    assert [e.message for e in validator.iter_errors(doc)] == []


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_of_the_project_loads_where_its_files_are(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    try:
        found = load_recipe(path).version
    except RecipeError as error:
        found = [line for line in error.what.splitlines()[1:] if "there is no such" not in line]

    assert found in (1, [])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("epochs: 3", "epoch: 3"),
        ("- distill:", "- distil:"),
        ("net: ds-cnn", "net: ds-cn"),
        ("[onnx, tflite]", "[onyx]"),
        ("version: 1", "version: 2"),
        ("how: static", "how: stat"),
        ("source: digits", "source: digit"),
        ("- quantize: {how: static}", "- {quantize: {}, prune: {}}"),
        ("name: small", "name: Small"),
    ],
)
def test_an_editor_underlines_what_the_loader_refuses(validator, change, problems, old, new):
    text = change(old, new)

    assert problems(text)
    assert not validator.is_valid(yaml.safe_load(text))


def test_an_editor_accepts_what_the_loader_accepts(validator, good, change):
    assert validator.is_valid(yaml.safe_load(good))
    assert validator.is_valid(yaml.safe_load(change("- distill: {epochs: 3}", "- distill:")))


def test_every_stage_and_field_is_described():
    schema = recipe_schema()
    assert [next(iter(s["properties"])) for s in schema["properties"]["stages"]["items"]["oneOf"]] == list(KINDS)
    assert json.loads(schema_text()) == schema
    undescribed = [
        f"{name}.{key}"
        for name, part in schema["$defs"].items()
        for key, field in part["properties"].items()
        if not field.get("description") and "$ref" not in json.dumps(field)
    ]
    assert len(undescribed) < 20, undescribed
