"""`compress run`: a recipe from data to report."""

from pathlib import Path

import click

from compress.commands._recipe import ALLOW_CODE, RECIPE, SET, load, print_plan


@click.command("run", short_help="Train, compress, export, prove, measure, report.")
@RECIPE
@SET
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/<recipe name>]")
@click.option(
    "--cache", type=click.Path(path_type=Path), envvar="COMPRESS_CACHE",
    help="Where finished steps are kept; may be deleted.  [default: $COMPRESS_CACHE, then ~/.cache/compress]",
)  # fmt: skip
@click.option("--smoke", is_flag=True, help="The whole chain on a sliver of the data, in seconds.")
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@click.option("--quiet", is_flag=True, help="Only warnings and the result.")
@ALLOW_CODE
def command(
    recipe: Path,
    overrides: tuple[str, ...],
    out: Path | None,
    cache: Path | None,
    smoke: bool,
    dry_run: bool,
    quiet: bool,
) -> None:
    """Run a recipe: train, compress, export, prove, measure, report.

    Exit code 0: done and within budget. 1: a step failed. 2: the recipe or the call is wrong. 3: done, over budget.
    130: stopped; the same command goes on from there.
    """
    from compress.commands._console import plain_console

    loaded = load(recipe, overrides, smoke)
    if dry_run:
        print_plan(loaded)
        return
    from compress.run.run import run_recipe

    run_recipe(loaded, out=out, cache_root=cache, smoke=smoke, quiet=quiet, console=plain_console())
