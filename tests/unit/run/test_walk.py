"""What a run hands to its stages."""

import numpy as np
from rich.console import Console

from compress.plan.plan import make_plan
from compress.recipe.load import parse_recipe
from compress.run.cache import Cache
from compress.run.folder import RunFolder
from compress.run.progress import Display
from compress.run.walk import Walk
from compress.run.world import World
from compress.stages import catalog
from compress.stages.base import StageResult

RECIPE = """\
version: 1
name: peek
data: {source: digits, limit: 100, calibration: 20}
teacher: {net: mlp, args: {hidden: [8]}, train: {}}
student: {net: mlp, args: {hidden: [8]}}
stages: [{distill: {}}, {prune: {keep_macs: 0.5}}, {quantize: {how: static}}]
"""


def test_no_stage_is_shown_a_test_example_and_calibration_is_drawn_from_train(tmp_path, monkeypatch):
    seen = []

    def spy(model, config, context):
        seen.append((config.kind, context.data))
        weights = {k: v + np.float32(0.5) if k == "classifier.bias" else v for k, v in model.weights.items()}
        return StageResult(type(model)(model.graph, weights), True)

    for config in catalog.STAGES:
        monkeypatch.setitem(catalog.STAGES, config, spy)
    recipe = parse_recipe(RECIPE, "peek.yaml")
    walk = Walk(recipe, make_plan(recipe), Cache(tmp_path / "cache", print), RunFolder(tmp_path / "out"),
                Display(Console(), quiet=True), World())  # fmt: skip
    walk.models()
    whole = walk.data

    assert [kind for kind, _ in seen] == ["train", "distill", "prune", "quantize"]
    assert len(whole.test) > 0
    examples = {name: {x.tobytes() for x in getattr(whole, name).x} for name in ("train", "validation", "test")}
    for _, data in seen:
        assert len(data.test) == 0
        shown = {x.tobytes() for split in (data.train, data.validation, data.calibration) for x in split.x}
        assert not shown & (examples["test"] - examples["train"] - examples["validation"])
        assert {x.tobytes() for x in data.calibration.x} <= examples["train"]
