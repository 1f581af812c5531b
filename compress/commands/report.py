"""`compress report`: a finished run's reports, built again."""

from pathlib import Path
from typing import Any

import click


@click.command("report", short_help="Rebuild the reports of a finished run.")
@click.argument("run_folder", type=click.Path(path_type=Path))
def command(run_folder: Path) -> None:
    """Rebuild the reports of a finished run, of `compress run` or `compress quantize`, from its result.json and print
    the table.

    Given a monitor's SQLite file from a device, draw that: traffic, drift, alarms and accuracy over time.
    """
    from compress.commands._console import plain_console
    from compress.report.facts.watched import is_monitor_file

    if is_monitor_file(run_folder):
        from compress.report.pages.watch import write_watch_report

        click.echo(write_watch_report(run_folder))
        return
    path = run_folder / "result.json" if run_folder.is_dir() else run_folder
    table, written = _quantized(path) if _is_quantized(path) else _ran(path)
    plain_console().print(table)
    for file in written:
        click.echo(file)


def _is_quantized(path: Path) -> bool:
    from compress.documents import format_of
    from compress.quantize_result import FORMAT

    return format_of(path) == FORMAT


def _quantized(path: Path) -> tuple[Any, tuple[Path, ...]]:
    from compress.quantize_result import load
    from compress.report.pages.given import write_reports
    from compress.report.text.given import table

    result = load(path)
    return table(result, path.parent), write_reports(result, path.parent)


def _ran(path: Path) -> tuple[Any, tuple[Path, ...]]:
    from compress.report.build import write_reports
    from compress.report.text.terminal import render
    from compress.result import load_result

    result = load_result(path)
    return render(result, path.parent), write_reports(result, path.parent)
