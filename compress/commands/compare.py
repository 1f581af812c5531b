"""compress compare: exported files against each other on the same test examples."""

from pathlib import Path

import click

from compress.commands._paths import folder_to_write


@click.command("compare", short_help="Compare exported files of one or several runs.")
@click.argument("files", nargs=-1, required=True, metavar="A B [C ...]")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("compare"), show_default=True, help="Folder for the reports."
)
@click.option(
    "--price",
    type=click.FloatRange(min=0),
    metavar="PER_HOUR",
    help="Of one core: adds what a million inferences cost.",
)
@click.option(
    "--explain",
    type=click.IntRange(0, 24),
    default=0,
    metavar="N",
    help="Attribution for the N worst changed answers; needs the attribution extra.",
)
def command(files: tuple[str, ...], out: Path, price: float | None, explain: int) -> None:
    """Compare exported files of one or several runs, each with the first.

    A file is a run folder (its shipped file), RUN:ARTEFACT (runs/a:02-prune.onnx) or an artefact's folder. All must
    have been judged on the same test examples. Writes compare.json, compare.html and compare.md.
    """
    from compress.commands._console import plain_console
    from compress.compare.sides import find
    from compress.compare.versus import versus
    from compress.report.build import write_texts
    from compress.report.pages.versus import render
    from compress.report.text.versus import markdown, terminal
    from compress.versus import save_versus

    sides = [find(f) for f in files]
    folder_to_write(out)
    found = versus(sides, explain)
    save_versus(out / "compare.json", found)
    written = write_texts({"compare.html": render(found, price), "compare.md": markdown(found, price)}, out)
    plain_console().print(terminal(found, price))
    for path in written:
        click.echo(path)
