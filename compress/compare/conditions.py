"""The slices that a recipe asks for, as evaluation wants them."""

from compress.evaluate.slices import Condition
from compress.recipe.schema import Recipe


def conditions_of(recipe: Recipe) -> list[Condition]:
    """One for each of `slices`."""
    return [Condition(s.title, s.column, s.above, s.below, s.one_of) for s in recipe.slices]
