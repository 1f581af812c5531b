"""`compress plan`: what a run would do, layer by layer."""

from pathlib import Path

import click

from compress.commands._recipe import ALLOW_CODE, RECIPE, SET, load, print_plan


@click.command("plan", short_help="What a recipe will do to each layer, and why.")
@RECIPE
@SET
@ALLOW_CODE
def command(recipe: Path, overrides: tuple[str, ...]) -> None:
    """Show what a recipe will do to each layer, and why a layer is left alone."""
    print_plan(load(recipe, overrides, smoke=False))
