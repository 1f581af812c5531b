"""What commands that take a recipe share: their options, and reading it."""

from pathlib import Path
from typing import Any

import click

RECIPE = click.argument("recipe", type=click.Path(path_type=Path))
SET = click.option("--set", "overrides", multiple=True, metavar="A.B=VALUE", help="Change one value of the recipe.")


def _allow_code(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    from compress.factory import allowing_code

    ctx.with_resource(allowing_code(value))  # until the command ends


ALLOW_CODE = click.option(
    "--allow-code", is_flag=True, expose_value=False, callback=_allow_code,
    help="Call the Python functions that the recipe names (`python: pkg.module:function`).",
)  # fmt: skip


def load(path: Path, overrides: tuple[str, ...], smoke: bool) -> Any:
    """The recipe of a file with values changed; smoke: its version on a sliver of the data."""
    from compress.recipe.load import load_recipe

    loaded = load_recipe(path, overrides=overrides)
    if smoke:
        from compress.recipe.smoke import smoke_version

        return smoke_version(loaded)
    return loaded


def print_plan(recipe: Any) -> None:
    """On the terminal, layer by layer."""
    from compress.commands._console import plain_console
    from compress.plan.explain import render
    from compress.plan.plan import make_plan

    plain_console().print(render(make_plan(recipe)))
