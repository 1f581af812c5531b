"""The command line: prints errors, not tracebacks. Rooms are imported inside the commands: --help stays quick."""

import importlib
import pkgutil
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from compress import __version__, commands
from compress.errors import CompressError, MissingExtraError
from compress.interrupt import stop_on_signals

RECIPE = click.argument("recipe", type=click.Path(path_type=Path))
SET = click.option("--set", "overrides", multiple=True, metavar="A.B=VALUE", help="Change one value of the recipe.")


def _allow_code(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    from compress.factory import allowing_code

    ctx.with_resource(allowing_code(value))  # until the command ends


ALLOW_CODE = click.option(
    "--allow-code", is_flag=True, expose_value=False, callback=_allow_code,
    help="Call the Python functions that the recipe names (`python: pkg.module:function`).",
)  # fmt: skip


# Modules of optional dependencies -> the extra that installs them.
_EXTRAS = {
    **dict.fromkeys(("torch", "accelerate"), "train"),
    **dict.fromkeys(("onnx", "onnxruntime"), "onnx"),
    **dict.fromkeys(("ai_edge_litert", "flatbuffers"), "tflite"),
    **dict.fromkeys(("sklearn", "mlxtend"), "data"),
    "datasets": "hf",
    **dict.fromkeys(("neural_compressor", "onnxscript"), "inc"),
    "cryptography": "signing",
}


def _fail(error: CompressError) -> NoReturn:
    click.secho("error: ", fg="red", bold=True, nl=False, err=True)
    click.echo(str(error), err=True)
    sys.exit(error.exit_code)


class _Group(click.Group):
    """Finds the commands of `compress/commands/`, and turns every CompressError into one message and its exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        found = {m.name for m in pkgutil.iter_modules(commands.__path__) if not m.name.startswith("_")}
        return sorted(found | set(super().list_commands(ctx)))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command of this file, or `command` of the module of that name in `compress/commands/`."""
        if (known := super().get_command(ctx, cmd_name)) is not None or cmd_name not in self.list_commands(ctx):
            return known
        found: click.Command = importlib.import_module(f"{commands.__name__}.{cmd_name}").command
        return found

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CompressError as error:
            _fail(error)
        except ModuleNotFoundError as error:
            extra = _EXTRAS.get((error.name or "").partition(".")[0])
            if extra is None:
                raise
            _fail(MissingExtraError(f"this needs {error.name}", "extras", f'pip install "compress-edge[{extra}]"'))
        except BrokenPipeError:  # whoever read our output left
            raise
        except OSError as error:  # the rooms name what they were doing; this is what none of them foresaw
            where = str(error.filename2 or error.filename or "reading or writing")
            _fail(CompressError(error.strerror or str(error), where, "see that it exists, is yours and has space left"))
        except KeyboardInterrupt:
            kept = "; finished steps and epochs are in the cache, the same command goes on from there"
            click.echo(f"\nstopped{kept if ctx.invoked_subcommand == 'run' else ''}", err=True)
            sys.exit(130)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="compress")
def main() -> None:
    """From a trained teacher to a measured, deployable edge bundle."""
    stop_on_signals()  # workers and jobs on devices end with the command


@main.command()
@RECIPE
@SET
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/<recipe name>]")
@click.option(
    "--cache", type=click.Path(path_type=Path), envvar="COMPRESS_CACHE", help="Where finished steps are kept."
)
@click.option("--smoke", is_flag=True, help="The whole chain on a sliver of the data, in seconds.")
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@click.option("--quiet", is_flag=True, help="Only warnings and the result.")
@ALLOW_CODE
def run(
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
    """
    loaded = _load(recipe, overrides, smoke)
    if dry_run:
        _print_plan(loaded)
        return
    from compress.run.run import run_recipe

    run_recipe(loaded, out=out, cache_root=cache, smoke=smoke, quiet=quiet, console=_console())


@main.command()
@click.argument("recipes", type=click.Path(path_type=Path), nargs=-1, required=True)
@SET
@ALLOW_CODE
def lint(recipes: tuple[Path, ...], overrides: tuple[str, ...]) -> None:
    """Check recipes: every problem at once, with line numbers. Nothing is run or loaded."""
    errors = []
    for path in recipes:
        try:
            _load(path, overrides, smoke=False)
            click.echo(f"{path}: ok")
        except CompressError as error:
            errors.append(error)
            click.echo(str(error), err=True)
    if errors:
        sys.exit(max(e.exit_code for e in errors))


@main.command()
@RECIPE
@SET
@ALLOW_CODE
def plan(recipe: Path, overrides: tuple[str, ...]) -> None:
    """Show what a recipe will do to each layer, and why a layer is left alone."""
    _print_plan(_load(recipe, overrides, smoke=False))


@main.command()
@click.argument("run_folder", type=click.Path(path_type=Path))
def report(run_folder: Path) -> None:
    """Rebuild the reports of a finished run from its result.json and print the table.

    Given a monitor's SQLite file from a device, draw that: traffic, drift, alarms and accuracy over time.
    """
    from compress.report.watched import is_monitor_file

    if is_monitor_file(run_folder):
        from compress.report.watch_page import write_watch_report

        click.echo(write_watch_report(run_folder))
        return
    from compress.report.build import write_reports
    from compress.report.table import render
    from compress.result import load_result

    path = run_folder / "result.json" if run_folder.is_dir() else run_folder
    result = load_result(path)
    written = write_reports(result, path.parent)
    _console().print(render(result))
    for file in written:
        click.echo(file)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def doctor(as_json: bool) -> None:
    """What this machine has and lacks: versions, extras, CPU features, GPU, what can be measured."""
    import compress.doctor as room

    findings = room.diagnose()
    if as_json:
        click.echo(room.to_json(findings))
    else:
        _console().print(room.render(findings))
    sys.exit(room.exit_code(findings))


@main.command()
@click.option("--write", type=click.Path(path_type=Path), help="Write it to a file instead of printing it.")
def schema(write: Path | None) -> None:
    """Print the JSON Schema of recipes, for editors."""

    from compress.recipe.json_schema import schema_text

    text = schema_text()
    if write:
        write.write_text(text)
    else:
        click.echo(text, nl=False)


@main.command()
def nets() -> None:
    """List the named nets and their arguments."""
    import inspect

    from compress.model.nets import ALL_NETS

    for name, (builder, defaults) in sorted(ALL_NETS.items()):
        about = inspect.cleandoc(builder.__doc__ or "").splitlines()
        about.append(f"args: {', '.join(f'{k}={v}' for k, v in defaults.items())}")
        click.echo("\n".join(f"{name if i == 0 else '':<14} {line}".rstrip() for i, line in enumerate(about)) + "\n")


def _load(path: Path, overrides: tuple[str, ...], smoke: bool) -> Any:
    from compress.recipe.load import load_recipe

    loaded = load_recipe(path, overrides=overrides)
    if smoke:
        from compress.recipe.smoke import smoke_version

        return smoke_version(loaded)
    return loaded


def _print_plan(recipe: Any) -> None:
    from compress.plan.explain import render
    from compress.plan.plan import make_plan

    _console().print(render(make_plan(recipe)))


def _console() -> Any:
    from rich.console import Console

    return Console()
