"""`compress report`: a finished run's reports, built again."""

from pathlib import Path

import click


@click.command("report", short_help="Rebuild the reports of a finished run.")
@click.argument("run_folder", type=click.Path(path_type=Path))
def command(run_folder: Path) -> None:
    """Rebuild the reports of a finished run from its result.json and print the table.

    Given a monitor's SQLite file from a device, draw that: traffic, drift, alarms and accuracy over time.
    """
    from rich.console import Console

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
    Console().print(render(result))
    for file in written:
        click.echo(file)
