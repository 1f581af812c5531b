"""Recipes to plan."""

import pytest

from compress.recipe.load import parse_recipe

LONG = """\
version: 1
name: long
target: x86-avx2
data: {source: mnist-5k, augment: {shift_pixels: 2}}
teacher: {net: resnet8, train: {epochs: 30}}
student: {net: ds-cnn, args: {width: 16}}
stages:
  - distill: {epochs: 20, hints: [{teacher: pool, student: pool}]}
  - prune: {keep_macs: 0.6, finetune_epochs: 4, layers: ['re:stem|pw']}
  - prune: {what: weights, sparsity: 0.5, layers: ['re:pw']}
  - quantize: {how: qat, epochs: 5, keep_float: [stem]}
export: [onnx, tflite, tflite-float16]
budget: {accuracy_drop_points: 1, size_bytes: 9000, latency_ms: {cpu: 1}}
"""


@pytest.fixture(scope="session")
def long_recipe():
    """Four stages of three kinds, every export format but one, 7-bit weights from its target."""
    return parse_recipe(LONG, "long.yaml")


@pytest.fixture(scope="session")
def recipe_of():
    """recipe_of(rest): a recipe with a resnet8 teacher on mnist-5k and this rest."""

    def build(rest, data="{source: mnist-5k}", teacher="{net: resnet8, train: {}}"):
        return parse_recipe(f"version: 1\nname: short\ndata: {data}\nteacher: {teacher}\n{rest}", "short.yaml")

    return build
