"""A recipe cut down to a sliver: the whole chain, every export and measurement, in seconds."""

from typing import Any, TypeVar

from pydantic import BaseModel

from compress.recipe.schema import (
    BudgetConfig,
    PruneConfig,
    QuantizeConfig,
    Recipe,
    StageConfig,
    VocabularyConfig,
)

Config = TypeVar("Config", bound=BaseModel)
EXAMPLES = 400  # enough for ten classes in every split


def smoke_version(recipe: Recipe) -> Recipe:
    """The same chain on 400 training examples, one epoch wherever it trains, the briefest measuring profile.

    What it proves is that every step runs and every export does what the model does, not how good the result is. So
    the promises that need training or undisturbed timing go (accuracy drop, latency, smaller and faster than the
    teacher); size_bytes stays, since a file's size depends on widths and formats and not on how long it trained.
    """
    limit = EXAMPLES if recipe.data.limit is None else min(EXAMPLES, recipe.data.limit)
    teacher = recipe.teacher
    if teacher.train is not None:
        teacher = _with(teacher, train=_with(teacher.train, epochs=1))
    return _with(
        recipe,
        data=_with(recipe.data, limit=limit, calibration=min(recipe.data.calibration, 128)),
        teacher=teacher,
        stages=tuple(_short(stage) for stage in recipe.stages),
        measure=_with(recipe.measure, profile="smoke"),
        budget=BudgetConfig(size_bytes=recipe.budget.size_bytes),
        allow_slower=True,
    )


def _short(stage: StageConfig) -> StageConfig:
    if isinstance(stage, PruneConfig):
        return _with(stage, finetune_epochs=min(stage.finetune_epochs, 1), iterations=1)
    if isinstance(stage, QuantizeConfig):
        return _with(stage, epochs=min(stage.epochs, 1))
    if isinstance(stage, VocabularyConfig):
        return stage
    return _with(stage, epochs=1)


def _with(config: Config, **changes: Any) -> Config:
    """A changed copy; model_copy checks nothing, and these values need no check."""
    return config.model_copy(update=changes)
