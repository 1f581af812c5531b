"""`compress nets`: the named nets."""

import click


@click.command("nets", short_help="List the named nets.")
def command() -> None:
    """List the named nets and their arguments."""
    import inspect

    from compress.model.nets import ALL_NETS

    for name, (builder, defaults) in sorted(ALL_NETS.items()):
        about = inspect.cleandoc(builder.__doc__ or "").splitlines()
        about.append(f"args: {', '.join(f'{k}={v}' for k, v in defaults.items())}")
        click.echo("\n".join(f"{name if i == 0 else '':<14} {line}".rstrip() for i, line in enumerate(about)) + "\n")
