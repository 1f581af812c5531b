"""Keys and signatures for bundles; what a device checks is `edge_runtime.signing`."""

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from edge_runtime.errors import EdgeError
from edge_runtime.files import verify_files
from edge_runtime.manifest import FILE_NAME, read_manifest
from edge_runtime.signing import write_signature

from compress.errors import ExportError, UsageError


def make_keys(name: Path, passphrase: str | None = None) -> tuple[Path, Path, bytes]:
    """Write NAME.key (PKCS 8, readable by its owner alone) and NAME.pub; also the 32 bytes of the public key.

    Raises:
        UsageError: one of the files is there already, or cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    how = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    public = key.public_key()
    files = {
        name.with_name(name.name + ".key"): (key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how), 0o600),
        name.with_name(name.name + ".pub"): (
            public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            0o644,
        ),
    }
    for path in files:
        if path.exists() or path.is_symlink():
            raise UsageError("there is a file of that name", str(path), "choose another; no key is overwritten")
    for path, (content, mode) in files.items():
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        except OSError as error:
            raise UsageError(f"cannot be written: {error.strerror}", str(path), "choose another place") from error
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    private, published = files
    return private, published, public.public_bytes(Encoding.Raw, PublicFormat.Raw)


def is_encrypted(path: Path) -> bool:
    """Whether a private key asks for a passphrase."""
    return b"ENCRYPTED" in _read(path)


def sign_bundle(folder: Path, key_file: Path, passphrase: str | None = None) -> bytes:
    """Write signature.json into a bundle whose every file is as its manifest says; the public key is returned.

    Raises:
        ExportError: the bundle is damaged, in edge_runtime's words.
        UsageError: the key cannot be used.
    """
    fix = "give a .key file of `compress bundle keygen`"
    try:
        key = load_pem_private_key(_read(key_file), passphrase.encode() if passphrase else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        wrong = "its passphrase is wrong" if is_encrypted(key_file) else "no private key in PEM form"
        raise UsageError(wrong, str(key_file), fix) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError("no Ed25519 key", str(key_file), fix)
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    try:
        verify_files(folder, read_manifest(folder).files)
        content = (folder / FILE_NAME).read_bytes()
        write_signature(folder, public, key.sign(content))
    except EdgeError as error:
        raise ExportError(error.what, error.where, error.fix) from error
    return public


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", str(path), "check the path") from error
