"""`compress bundle`: sign a bundle, so that devices run yours and nobody else's."""

from pathlib import Path

import click

from compress.commands._bundle import BUNDLE


@click.group("bundle", short_help="Sign bundles and check signatures.")
def command() -> None:
    """Sign bundles with Ed25519 and check signatures.

    A device refuses what is not signed by a key it trusts: `edge_runtime.load(..., trusted_keys=["release.pub"])`.
    """


@command.command()
@click.argument("name", type=click.Path(path_type=Path))
@click.option("--encrypt", is_flag=True, help="Ask for a passphrase and keep the private key encrypted.")
def keygen(name: Path, encrypt: bool) -> None:
    """Make a key pair: NAME.key, to keep secret, and NAME.pub, for devices."""
    from edge_runtime.signing import fingerprint

    from compress.export.signing import make_keys

    passphrase = click.prompt("Passphrase", hide_input=True, confirmation_prompt=True) if encrypt else None
    private, public, key = make_keys(name, passphrase)
    click.echo(f"{private}: keep it secret; readable by you alone")
    click.echo(f"{public}: put it on your devices; key {fingerprint(key)}")


@command.command()
@BUNDLE
@click.option(
    "--key", required=True, type=click.Path(path_type=Path), help="The .key file of `compress bundle keygen`."
)
def sign(bundle: Path, key: Path) -> None:
    """Compare every file of a bundle with its manifest, then sign the manifest: writes signature.json."""
    from edge_runtime.signing import fingerprint

    from compress.export.signing import is_encrypted, sign_bundle

    passphrase = click.prompt("Passphrase", hide_input=True) if is_encrypted(key) else None
    click.echo(f"{bundle}: signed with key {fingerprint(sign_bundle(bundle, key, passphrase))}")


@command.command()
@BUNDLE
@click.option("--trusted-key", "keys", required=True, multiple=True, metavar="FILE", help="A .pub file; repeatable.")
def verify(bundle: Path, keys: tuple[str, ...]) -> None:
    """Check the signature and every checksum of a bundle, as a device does. Exit code 1 if it is not to be trusted."""
    from edge_runtime.errors import EdgeError, InputError
    from edge_runtime.files import verify_files
    from edge_runtime.manifest import read_manifest

    from compress.errors import ExportError, UsageError

    try:
        manifest = read_manifest(bundle, trusted_keys=keys)
        verify_files(bundle, manifest.files)
    except EdgeError as error:
        kind = UsageError if isinstance(error, InputError) else ExportError
        raise kind(error.what, error.where, error.fix) from error
    click.echo(f"{bundle}: signed by a trusted key, {len(manifest.files)} files as signed")
