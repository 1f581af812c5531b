"""`compress measure`: latency, memory and energy of a bundle on devices, with or without a run around it."""

from pathlib import Path
from typing import Any

import click

from compress.commands._bundle import BUNDLE, BundlePath
from compress.commands._paths import folder_to_write


@click.command("measure", short_help="Latency, memory and energy of a bundle on devices.")
@BUNDLE
@click.option("--vs", "other", type=BundlePath(), help="Another bundle, timed beside this one.")
@click.option("--device", "names", multiple=True, metavar="NAME", help="Where; several are measured at once.  [cpu]")
@click.option("--devices", "file", type=click.Path(path_type=Path), help="The devices.yaml; see `compress devices`.")
@click.option(
    "--read",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A result that edge-bench wrote on a device of yours; stands beside the others under its file's name.",
)
@click.option("--engine", type=click.Choice(["onnx", "tflite"]), help="One format only; default: all the bundle holds.")
@click.option(
    "--profile",
    type=click.Choice(["smoke", "quick", "default"]),
    default="default",
    show_default=True,
    help="default: 5 processes of 10 s a model; quick: 3 of 1 s; smoke: a sign of life.",
)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Of the engine.")
@click.option("--batch", type=click.IntRange(min=1), default=32, show_default=True, help="Of the throughput run.")
@click.option(
    "--energy",
    default="auto",
    metavar="METER",
    show_default=True,
    help="auto, none, a meter that `compress devices` lists, csv:FILE, serial:TTY@BAUD, or estimate.",
)
@click.option("--watts-per-core", metavar="LOW-HIGH", help="With --energy estimate: what a busy core draws.")
@click.option(
    "--profile-operators", is_flag=True, help="Also time every operator: which cost the time, which are float."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the order of blocks.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for measurement.json, measurement.html and logs.")
@click.option("--json", "as_json", is_flag=True, help="Print measurement.json instead of text.")
def command(
    bundle: Path,
    other: Path | None,
    names: tuple[str, ...],
    file: Path | None,
    files: tuple[Path, ...],
    engine: str | None,
    energy: str,
    watts_per_core: str | None,
    out: Path | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Measure BUNDLE: latency, start-up, memory, throughput, CPU time and energy, each with what it is worth.

    On a GPU also a checkpoint folder of a run, in PyTorch: eager and compiled, float32 and float16.

    Exit code 0: measured. 1: void, or a device failed. 2: the call is wrong. 3: the device is being measured already.
    """
    from compress.benchmark.bundles import job_for, measure_on
    from compress.benchmark.estimate import parse_watts
    from compress.benchmark.measurement import Measurement, read_document, render
    from compress.devices.load import choose, load_devices

    watts = parse_watts(energy, watts_per_core)
    devices = choose(load_devices(file), names or (() if files else ("cpu",)))
    given = {path.stem: read_document(path) for path in files}
    job = job_for(bundle, other, engine, energy="none" if watts else energy, **settings)

    def say(device: str, share: float, note: str) -> None:
        click.echo(f"{device}: {100 * min(share, 1.0):3.0f} %  {note}", err=True)

    if out:
        folder_to_write(out)
    measured = measure_on(devices, job, say, out / "logs" if out else None)
    if len(measured.failures) == 1 and not measured.documents and not given:
        raise next(iter(measured.failures.values()))
    found = Measurement.of(bundle, other, {**measured.documents, **given}, measured.failures, watts)
    click.echo(found.text() if as_json else render(found), nl=not as_json)  # first: writing may fail
    if out:
        from compress.report.build import write_texts
        from compress.report.pages.measurement import render as page

        write_texts({"measurement.json": found.text(), "measurement.html": page(found.to_json())}, out)
    for name, error in measured.failures.items():
        click.echo(f"{name} failed: {error}", err=True)
    if measured.failures or any(d["void"] for d in found.documents.values()):
        raise click.exceptions.Exit(1)
