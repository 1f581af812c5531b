"""`compress schema`: the JSON Schema of recipes."""

from pathlib import Path

import click


@click.command("schema", short_help="The JSON Schema of recipes, for editors.")
@click.option("--write", type=click.Path(path_type=Path), help="Write it to a file instead of printing it.")
def command(write: Path | None) -> None:
    """Print the JSON Schema of recipes, for editors."""
    from compress.recipe.json_schema import schema_text

    text = schema_text()
    if write:
        write.write_text(text)
    else:
        click.echo(text, nl=False)
