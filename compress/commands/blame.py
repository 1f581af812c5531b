"""compress blame: which layers of an int8 file cost the accuracy and which the time, and a recipe that mends it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from compress.commands._paths import file_to_write, folder_to_write

_PATH = click.Path(path_type=Path)


@click.command("blame", short_help="Which layers of an int8 file cost accuracy, and what mends it.")
@click.argument("file", metavar="RUN[:ARTEFACT]")
@click.option("--data", type=_PATH, help="The examples again, for a file that compress quantize made.")
@click.option("--labels", type=_PATH, help="Their labels again, where they had a file of their own.")
@click.option("--out", type=_PATH, help="Folder for the reports.  [default: RUN/blame]")
@click.option("--examples", type=click.IntRange(min=20), default=1000, show_default=True, help="Validation examples.")
@click.option("--times/--no-times", default=True, help="Also time the file with each layer in float.  [default: times]")
@click.option("--fix", type=_PATH, help="Write a recipe (for a given file a script) that mends it.")
def command(
    file: str, data: Path | None, labels: Path | None, out: Path | None, examples: int, times: bool, fix: Path | None
) -> None:
    """Find the layers of an exported int8 file that cost its accuracy, and try what mends it.

    The file is a run folder (its shipped file), RUN:ARTEFACT, an artefact's folder, or a folder of compress quantize
    (FOLDER:FILE for one of its files; with --data, the examples it was made with). Every integer layer is looked at by
    itself, on validation examples, and by what it saves in time; the worst ones are put back to float and measured.
    Writes blame.json, blame.html and blame.md.
    """
    from compress.blamed import save_blame
    from compress.commands._console import plain_console
    from compress.report.build import write_texts
    from compress.report.pages.blame import render
    from compress.report.text.blame import markdown, terminal

    if out is not None:
        folder_to_write(out)
    if fix is not None:
        file_to_write(fix)
    console = plain_console()
    with console.status("reading the file") as status:
        folder, blamed, mend = _blamed(
            file, data, labels, examples, times, lambda done, total, note: status.update(note)
        )
    folder = out or folder / "blame"
    folder.mkdir(parents=True, exist_ok=True)
    save_blame(folder / "blame.json", blamed)
    written = write_texts({"blame.html": render(blamed), "blame.md": markdown(blamed)}, folder)
    console.print(terminal(blamed))
    for path in written:
        click.echo(path)
    if fix is not None:
        click.echo(f"{fix}: run it with `{mend(fix)}`")


def _blamed(
    file: str, data: Path | None, labels: Path | None, examples: int, timing: bool, progress: Any
) -> tuple[Path, Any, Callable[[Path], str]]:
    """The run's folder, what was found, and what writes the fix and says how to run it."""
    from compress.blame.find import blame_artefact, write_fix
    from compress.blame.given import blame_given, find_given, write_given_fix
    from compress.compare.sides import find
    from compress.errors import UsageError

    given = find_given(file)
    if given is not None:
        blamed = blame_given(given, data, labels, examples, timing=timing, progress=progress)
        assert data is not None  # it would have been refused

        def mend(path: Path) -> str:
            write_given_fix(given, blamed, data, labels, path)
            return f"sh {path}"

        return given.folder, blamed, mend
    if data is not None or labels is not None:
        what = "a run knows its data; --data and --labels are for files that compress quantize made"
        raise UsageError(what, file, "leave them out")
    found = find(file)
    told = blame_artefact(found, examples, progress, timing=timing)

    def rewrite(path: Path) -> str:
        write_fix(found, told, path)
        return f"compress run {path}"

    return found.folder, told, rewrite
