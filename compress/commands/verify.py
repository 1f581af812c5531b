"""`compress verify`: one bundle on CPUs that are not here."""

import sys
from pathlib import Path

import click

from compress.commands._bundle import BundlePath
from compress.commands._paths import file_to_write

DEFAULT = "haswell,nehalem,cortex-a53,cortex-a72,cortex-a76"


@click.command("verify", short_help="Is a file right on CPUs that are not here?")
@click.argument("bundle", type=BundlePath())
@click.option("--data", type=click.Path(path_type=Path), help="A recipe (its test split) or an .npz with x and y.")
@click.option("--cpu", "cpus", default=DEFAULT, show_default=True, help="CPUs, separated by commas.")
@click.option("--engine", "formats", multiple=True, type=click.Choice(["onnx", "tflite"]), help="Only this file.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many examples, classes in proportion.")
@click.option("--tolerance-points", default=0.5, show_default=True, type=click.FloatRange(0, 100),
              help="How much accuracy a CPU may lose.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), help="Also write it: .json with every figure, .md as a table.")
@click.option("--quiet", is_flag=True, help="Only the table.")
def command(
    bundle: Path,
    data: Path | None,
    cpus: str,
    formats: tuple[str, ...],
    limit: int | None,
    tolerance_points: float,
    out: Path | None,
    quiet: bool,
) -> None:
    """Does one file give the same answers on other CPUs? Runs the test set on emulated ones and compares.

    Finds int8 files that saturate on CPUs without VNNI before they ship. The emulated CPUs run the engines' real
    programs for them; about a minute is spent once on fetching an ARM system. No times are given: they would mean
    nothing. Exit code 3 when a CPU is out of tolerance.
    """
    from edge_runtime.edge_host import cpu_features, cpu_model

    from compress.commands._console import plain_console
    from compress.emulation.cpus import cpu_named
    from compress.errors import UsageError
    from compress.report.text.verify import markdown, render
    from compress.verify.verify import verify_bundle

    chosen = tuple(cpu_named(name) for name in cpus.split(",") if name.strip())
    if not chosen:
        raise UsageError("no CPU is named", "--cpu", f"take some of {DEFAULT}")
    if out is not None and out.suffix not in (".json", ".md"):
        raise UsageError(f"{out.name} is neither .json nor .md", "--out", "end its name in one of them")
    if out is not None:
        file_to_write(out)
    features = cpu_features()
    exact = "avx2" not in features or bool({"avx512_vnni", "avx_vnni"} & features)
    report = verify_bundle(
        bundle, chosen, data=data, limit=limit, formats=formats, tolerance_points=tolerance_points,
        host_cpu=cpu_model(), host_is_exact=exact,
        told=lambda text: None if quiet else click.echo(f"{text} ...", err=True),
    )  # fmt: skip
    if out is not None:
        out.write_text(markdown(report) if out.suffix == ".md" else report.model_dump_json(indent=1) + "\n")
    plain_console().print(render(report))
    sys.exit(0 if report.ok else 3)
