"""compress blame: which layers of an int8 file cost the accuracy and which the time, and a recipe that mends it."""

from pathlib import Path

import click


@click.command("blame", short_help="Which layers of an int8 file cost accuracy, and what mends it.")
@click.argument("file", metavar="RUN[:ARTEFACT]")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the reports.  [default: RUN/blame]")
@click.option("--examples", type=click.IntRange(min=20), default=1000, show_default=True, help="Validation examples.")
@click.option("--times/--no-times", default=True, help="Also time the file with each layer in float.  [default: times]")
@click.option("--fix", type=click.Path(path_type=Path), help="Write a recipe that keeps the blamed layers in float.")
def command(file: str, out: Path | None, examples: int, times: bool, fix: Path | None) -> None:
    """Find the layers of an exported int8 file that cost its accuracy, and try what mends it.

    The file is a run folder (its shipped file), RUN:ARTEFACT, or an artefact's folder. Every integer layer is looked at
    by itself, on validation examples, and by what it saves in time; the worst ones are put back to float and measured.
    Writes blame.json, blame.html and blame.md.
    """
    from rich.console import Console

    from compress.blame.find import blame_artefact, write_fix
    from compress.blamed import save_blame
    from compress.compare.sides import find
    from compress.report.build import write_texts
    from compress.report.pages.blame import render
    from compress.report.text.blame import markdown, terminal

    found = find(file)
    console = Console()
    with console.status("reading the file") as status:
        blamed = blame_artefact(found, examples, lambda done, total, note: status.update(note), timing=times)
    folder = out or found.folder / "blame"
    folder.mkdir(parents=True, exist_ok=True)
    save_blame(folder / "blame.json", blamed)
    written = write_texts({"blame.html": render(blamed), "blame.md": markdown(blamed)}, folder)
    console.print(terminal(blamed))
    for path in written:
        click.echo(path)
    if fix is not None:
        write_fix(found, blamed, fix)
        click.echo(f"{fix}: run it with `compress run {fix}`")
