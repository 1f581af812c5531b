"""The recipe's schema for editors: completion and red underlines while typing. `compress schema` writes it."""

import json
from typing import Any

from compress.model.nets import ALL_NETS
from compress.recipe.schema import KINDS, Recipe


def recipe_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a recipe, from the pydantic models plus the names of the nets."""
    schema = Recipe.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "compress recipe"
    definitions = schema["$defs"]
    for owner in ("TeacherConfig", "StudentConfig"):
        net = definitions[owner]["properties"]["net"]
        net["anyOf"] = [{"enum": sorted(ALL_NETS)}, {"type": "null"}]
    schema["properties"]["stages"]["items"] = {
        "oneOf": [
            {
                "type": "object",
                "description": definitions[config.__name__]["description"].split("\n")[0],
                "properties": {kind: {"anyOf": [{"$ref": f"#/$defs/{config.__name__}"}, {"type": "null"}]}},
                "required": [kind],
                "additionalProperties": False,
            }
            for kind, config in KINDS.items()
        ]
    }
    return schema


def schema_text() -> str:
    """The published file, docs/recipe.schema.json, byte for byte."""
    return json.dumps(recipe_schema(), indent=2) + "\n"
