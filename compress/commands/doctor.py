"""`compress doctor`: what this machine has and lacks."""

import sys

import click


@click.command("doctor", short_help="What this machine has and lacks.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def command(as_json: bool) -> None:
    """What this machine has and lacks: versions, extras, CPU features, GPU, what can be measured."""
    import compress.doctor as room
    from compress.commands._console import plain_console

    findings = room.diagnose()
    if as_json:
        click.echo(room.to_json(findings))
    else:
        plain_console().print(room.render(findings))
    sys.exit(room.exit_code(findings))
