"""`compress label`."""

from pathlib import Path

import click

from compress.commands._paths import ExistingPath


@click.command("label", short_help="Label inputs from the field by keyboard.")
@click.argument("folder", type=ExistingPath("give what `edge-runtime queue export` wrote", "folder"))
@click.option(
    "--import", "imported", type=ExistingPath("give the path of the labels", "file"),
    help="Take labels from a file and stop: Label Studio's JSON export, our labels.jsonl, or items.csv with its last "
    "column filled in.",
)  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Of the page.  [default: a free one]")
@click.option("--open/--no-open", "browser", default=False, help="Open the page in the default browser.")
def command(folder: Path, imported: Path | None, port: int, browser: bool) -> None:
    """Label or correct inputs from the field, by keyboard, on a page that this machine serves to itself.

    FOLDER is what `edge-runtime queue export` wrote. Every label is on the disk at once, in FOLDER/labels.jsonl; a
    recipe takes it in with `data: {extra: [FOLDER]}`.
    """
    from compress.readers.labelled import open_queue

    queue = open_queue(folder)
    if imported is not None:
        from compress.label.corrections import import_labels

        count = import_labels(queue, imported)
        click.echo(f"{count:,} labels taken in; {len(queue.decisions()):,} of {len(queue.items):,} items have one")
        return
    queue.decisions()  # a damaged file is told here, not in the browser
    from compress.errors import UsageError
    from compress.label.server import LabelServer

    try:
        server = LabelServer(queue, port)
    except OSError as error:
        raise UsageError(f"port {port} cannot be used: {error.strerror}", "label", "give another --port") from error
    with server:
        click.echo(
            f"open  {server.url}\nstop  Ctrl-C; {len(queue.items):,} items, labels go to {folder / 'labels.jsonl'}"
        )
        if browser:
            click.launch(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            done = len(queue.decisions())
            click.echo(f"\n{done:,} of {len(queue.items):,} items have a label")
