"""`compress devices`: what can be measured on, and what state it is in."""

import json
import sys
from pathlib import Path
from typing import Any

import click

FILE = click.option(
    "--devices",
    "file",
    type=click.Path(path_type=Path),
    help="The devices.yaml.  [default: ./devices.yaml, then ~/.config/compress/devices.yaml]",
)


@click.group("devices", short_help="What the devices are, and make them ready.", invoke_without_command=True)
@FILE
@click.option("--device", "names", multiple=True, metavar="NAME", help="Only this one; may be given several times.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_context
def command(context: click.Context, file: Path | None, names: tuple[str, ...], as_json: bool) -> None:
    """List the devices: reachable? engines, CPU, meters, governor, temperature, free disk.

    Exit code 1 if one of them cannot be used. `devices prepare NAME` brings numpy and the engines to a device without
    internet; `devices clean NAME` removes everything compress ever put there.
    """
    context.obj = file
    if context.invoked_subcommand is not None:
        return
    from compress.commands._console import plain_console
    from compress.devices.fleet import on_each
    from compress.devices.load import choose, load_devices
    from compress.devices.table import as_plain, render

    known = load_devices(file)
    chosen = choose(known, names or [n for n in known if n != "gpu" or Path("/dev/nvidiactl").exists()])
    outcomes = on_each(chosen, lambda connection, write: connection.probe())
    if as_json:
        click.echo(json.dumps([as_plain(o) for o in outcomes], indent=1))
    else:
        plain_console().print(render(outcomes))
    sys.exit(int(any(o.error for o in outcomes)))


@command.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--engine", "formats", multiple=True, type=click.Choice(["onnx", "tflite"]), help="Only this engine.")
@click.option("--with", "extra", multiple=True, metavar="PACKAGE", help="One more package, such as tokenizers.")
@click.pass_obj
def prepare(file: Path | None, names: tuple[str, ...], formats: tuple[str, ...], extra: tuple[str, ...]) -> None:
    """Bring numpy and the engines to devices, as wheels fetched here for their machine and Python.

    Nothing is installed into a device's own Python; `devices clean` removes it again.
    """
    from compress.devices.probe import ENGINES
    from compress.devices.wheelhouse import prepare

    _each(file, names, lambda connection, write: prepare(connection, write, formats or tuple(ENGINES), extra))


@command.command()
@click.argument("names", nargs=-1, required=True)
@click.pass_obj
def clean(file: Path | None, names: tuple[str, ...]) -> None:
    """Remove the folder that compress keeps on devices: copied files, wheels, left-over jobs."""
    _each(file, names, lambda connection, write: connection.clean())


def _each(file: Path | None, names: tuple[str, ...], task: Any) -> None:
    from compress.devices.fleet import on_each
    from compress.devices.load import choose, load_devices

    def told(connection: Any, write: Any) -> Any:
        def both(text: str) -> None:
            write(text)
            click.echo(f"{connection.device.name}: {text}", nl=False)

        return task(connection, both)

    outcomes = on_each(choose(load_devices(file), names), told)
    for outcome in outcomes:
        click.echo(str(outcome.error) if outcome.error else f"{outcome.device.name}: done", err=bool(outcome.error))
    sys.exit(int(any(o.error for o in outcomes)))
