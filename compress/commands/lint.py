"""`compress lint`: every problem of recipes, before anything runs."""

import sys
from pathlib import Path

import click

from compress.commands._recipe import ALLOW_CODE, SET, load
from compress.errors import CompressError


@click.command("lint", short_help="Check recipes, every problem at once.")
@click.argument("recipes", type=click.Path(path_type=Path), nargs=-1, required=True)
@SET
@ALLOW_CODE
def command(recipes: tuple[Path, ...], overrides: tuple[str, ...]) -> None:
    """Check recipes: every problem at once, with line numbers. Nothing is run or loaded."""
    errors = []
    for path in recipes:
        try:
            load(path, overrides, smoke=False)
            click.echo(f"{path}: ok")
        except CompressError as error:
            errors.append(error)
            click.echo(str(error), err=True)
    if errors:
        sys.exit(max(e.exit_code for e in errors))
