"""A small sound recipe, and how to break it and read what comes back."""

import pytest

from compress.errors import RecipeError
from compress.recipe.load import parse_recipe

GOOD = """\
version: 1
name: small
data: {source: digits}
teacher:
  net: mlp
  train: {epochs: 2}
student: {net: ds-cnn, args: {width: 8, blocks: 2}}
stages:
  - distill: {epochs: 3}
  - prune: {keep_macs: 0.8, round_to: 2}
  - quantize: {how: static}
export: [onnx, tflite]
measure: {devices: [cpu]}
budget:
  latency_ms: {cpu: 1}
"""


@pytest.fixture(scope="session")
def good():
    """Text of a sound recipe; stages begin on line 8."""
    return GOOD


@pytest.fixture(scope="session")
def change():
    """change(old, new): the sound recipe with one piece replaced; the piece must be there."""

    def apply(old, new, text=GOOD):
        assert old in text
        return text.replace(old, new)

    return apply


@pytest.fixture(scope="session")
def problems():
    """problems(text, *sets): the lines of the error that loading gives."""

    def read(text, *overrides):
        with pytest.raises(RecipeError) as caught:
            parse_recipe(text, "r.yaml", overrides)
        assert caught.value.where == "r.yaml"
        assert caught.value.fix == "correct the lines above; nothing has run"
        head, *lines = caught.value.what.splitlines()
        assert head == ("1 problem" if len(lines) == 1 else f"{len(lines)} problems")
        return [line.strip() for line in lines]

    return read
