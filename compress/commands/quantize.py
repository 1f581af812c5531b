"""compress quantize: a float ONNX file with no training code becomes an int8 one."""

from pathlib import Path
from typing import Any

import click

from compress.commands._paths import ExistingPath

_PATH = click.Path(path_type=Path)
_MODEL = ExistingPath("give the path of a .onnx file, or of a folder that holds one")
_EXAMPLES = ExistingPath("give the path of an .npz with one array for each input", "file")
_LABELS = ExistingPath("give the path of a .npy file or a text with a class number a line", "file")


@click.command("quantize", short_help="Quantize a given float ONNX file.")
@click.argument("model", type=_MODEL)
@click.option("--data", type=_EXAMPLES, required=True, help="An .npz with one array of examples for each input.")
@click.option("--labels", type=_LABELS, help="Class numbers (.npy or text); or an array `labels` in --data.")
@click.option("--target", default="x86-vnni", show_default=True, help="The kind of device to be right and fast on.")
@click.option(
    "--how",
    type=click.Choice(("auto", "static", "static-layers", "dynamic")),
    default="auto",
    show_default=True,
    help="auto tries what fits the graph and takes the fastest.",
)
@click.option(
    "--calibration", type=click.Choice(("minmax", "percentile", "entropy")), default="minmax", show_default=True
)
@click.option("--keep-float", multiple=True, metavar="LAYER", help="Leave a layer in float; may be repeated.")
@click.option("--fix", multiple=True, metavar="INPUT=VALUE", help="Build an input's value into the graph.")
@click.option("--max-drop", type=float, default=1.0, show_default=True, help="Points of accuracy; with labels.")
@click.option("--min-agreement", type=float, default=0.98, show_default=True, help="Of classes; without labels.")
@click.option("--min-sqnr", type=float, default=20.0, show_default=True, help="dB, for values that are no vectors.")
@click.option(
    "--min-cosine", type=float, default=0.99, show_default=True, help="Mean of the examples; for vectors of values."
)
@click.option(
    "--judge",
    type=click.Choice(("auto", "classes", "values")),
    default="auto",
    show_default=True,
    help="What outputs are. auto: classes with labels, probabilities or such a name (logits); else values.",
)
@click.option("--allow-slower", is_flag=True, help="Ship the int8 file also where it is not faster.")
@click.option("--profile", type=click.Choice(("smoke", "quick", "default")), default="quick", show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Of the timing.")
@click.option("--out", type=_PATH, help="Folder for the results.  [default: runs/<name>-int8]")
@click.option("--dry-run", is_flag=True, help="Print the recipe it would run and stop.")
@click.option("--quiet", is_flag=True, help="Only the result.")
def command(
    model: Path, data: Path, labels: Path | None, target: str, how: Any, calibration: Any,
    keep_float: tuple[str, ...], fix: tuple[str, ...], max_drop: float, min_agreement: float, min_sqnr: float,
    min_cosine: float, judge: Any, allow_slower: bool, profile: str, threads: int, out: Path | None,
    dry_run: bool, quiet: bool,
) -> None:  # fmt: skip
    """Quantize a given float ONNX file (or a folder that holds one) with examples of its inputs.

    Exit code 0: the int8 file ships. 1: it could not be made. 2: the call is wrong. 3: done, but int8 is not faster or
    strays too far, and the float file is kept.
    """
    from compress.commands._console import plain_console
    from compress.errors import BudgetMissedError, UsageError
    from compress.given_onnx.judge import Limits
    from compress.given_onnx.opened import Options, open_all
    from compress.given_onnx.run import FLOAT, quantize_file

    fixed = dict(one.partition("=")[::2] for one in fix)
    if bad := [one for one in fix if "=" not in one]:
        raise UsageError(f"{bad[0]!r} has no value", "--fix", "write INPUT=VALUE, e.g. --fix sr=16000")
    limits = Limits(max_drop, min_agreement, min_cosine, min_sqnr)
    options = Options(
        data, labels, target, how, calibration, keep_float, fixed, limits, judge, allow_slower, profile, threads
    )
    console = plain_console()
    if dry_run:
        from compress.given_onnx.explain import render

        console.print(render(open_all(model, options)))
        return
    from compress.report.pages.given import write_reports
    from compress.report.text.given import table

    def progress(note: str) -> None:
        if not quiet:
            console.print(f"  {note}", style="dim", highlight=False)

    folder = out or Path("runs") / f"{model.resolve().stem if model.is_file() else model.resolve().name}-int8"
    result = quantize_file(model, options, folder, progress)
    written = write_reports(result, folder)
    console.print(table(result, folder))
    for path in (*written, folder / "bundle"):
        console.print(str(path), highlight=False, soft_wrap=True)
    if result.shipped == FLOAT:
        fix_it = (
            "the bundle holds the float file; the report shows what was tried; --allow-slower ships int8 for its size"
        )
        raise BudgetMissedError(result.shipped_reason, result.name, fix_it)
