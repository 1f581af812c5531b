"""`compress measure`: latency, memory and energy of a bundle on devices, with or without a run around it."""

from pathlib import Path

import click


@click.command("measure")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--vs", "other", type=click.Path(path_type=Path), help="Another bundle, timed beside this one.")
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
@click.option("--out", type=click.Path(path_type=Path), help="Write measurement.json and the report here.")
@click.option("--json", "as_json", is_flag=True, help="Print measurement.json instead of text.")
def command(
    bundle: Path,
    other: Path | None,
    engine: str | None,
    profile: str,
    threads: int,
    batch: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure BUNDLE: latency, start-up, memory, throughput and CPU time, each with what it is worth.

    Exit code 0: measured. 1: void, or a device failed. 2: the call is wrong. 3: the machine is being measured already.
    """
    import json

    from edge_runtime.edge_bench import lines

    from compress.benchmark.bundles import Wish, measure_here
    from compress.benchmark.measurement import Measurement

    wish = Wish(bundle=bundle, other=other, engine=engine, profile=profile, threads=threads, batch=batch)

    def say(done: float, total: float, note: str) -> None:
        click.echo(f"{100 * min(done / total, 1.0):3.0f} %  {note}", err=True)

    document = measure_here(wish, say)
    found = Measurement(str(bundle), str(other) if other else None, {"cpu": document})
    text = json.dumps(found.to_json(), indent=1) + "\n"
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / "measurement.json").write_text(text)
    click.echo(text if as_json else "\n".join(lines(document)))
    if document["void"]:
        raise click.exceptions.Exit(1)
