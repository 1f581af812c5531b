"""Ed25519 signatures over a manifest, which holds the checksums of everything else in the bundle.

`signature.json` stands beside `manifest.json`:

    {"format": "edge-bundle-signature", "format_version": 1, "public_key": 64 hex digits, "signature": 128 hex digits}

The signature is over the exact bytes of `manifest.json` (RFC 8032). `compress bundle sign` writes it.
"""

from __future__ import annotations

import binascii
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Union

from edge_runtime._fields import Fields
from edge_runtime.errors import BundleError, EngineError, InputError
from edge_runtime.files import read_file, write_atomic

SIGNATURE_NAME = "signature.json"
FORMAT, FORMAT_VERSION = "edge-bundle-signature", 1
_LARGEST_BYTES = 10_000
_KEY_BYTES, _SIGNATURE_BYTES = 32, 64
_DER_PREFIX = bytes.fromhex("302a300506032b6570032100")  # SubjectPublicKeyInfo of an Ed25519 key: RFC 8410
_SIGN_AGAIN = "sign it with `compress bundle sign`, or take it from a source you trust"

KeySource = Union[str, bytes, "os.PathLike[str]"]
TrustedKeys = Union[Iterable[KeySource], KeySource, None]


def public_key(source: KeySource) -> bytes:
    """The 32 bytes of a public key: given as such, as 64 hex digits, as PEM text, or as the path of a PEM file.

    Raises:
        InputError: it is none of these.
    """
    if isinstance(source, bytes) and len(source) == _KEY_BYTES:
        return source
    if isinstance(source, str) and len(source) == 2 * _KEY_BYTES and _is_hex(source):
        return bytes.fromhex(source)
    text = source.decode("latin-1") if isinstance(source, bytes) else os.fspath(source)
    where = "trusted key"
    if "-----BEGIN" not in text:
        where, text = text, _key_file(text)
    lines = [line.strip() for line in text.strip().splitlines()]
    if "PRIVATE" in lines[0] if lines else False:
        raise InputError("a private key, which no device may hold", where, "give the .pub file beside it")
    if len(lines) < 3 or lines[0] != "-----BEGIN PUBLIC KEY-----" or lines[-1] != "-----END PUBLIC KEY-----":
        raise InputError("no public key in PEM form", where, "make one with `compress bundle keygen`")
    try:
        der = binascii.a2b_base64("".join(lines[1:-1]))
    except binascii.Error as error:
        raise InputError("a damaged public key", where, "copy it again") from error
    if der[: len(_DER_PREFIX)] != _DER_PREFIX or len(der) != len(_DER_PREFIX) + _KEY_BYTES:
        raise InputError("no Ed25519 key", where, "make one with `compress bundle keygen`")
    return der[len(_DER_PREFIX) :]


def fingerprint(key: bytes) -> str:
    """How a public key is named to people: its first 16 hex digits."""
    return key.hex()[:16]


def check_signature(folder: Path, manifest: bytes, trusted_keys: Iterable[KeySource] | KeySource) -> bytes:
    """Refuse a manifest that none of these keys has signed; the public key that has is returned.

    manifest: exact content of manifest.json.

    Raises:
        BundleError: it is not signed, was changed since, or was signed by somebody else.
        InputError: a trusted key cannot be read, or there is none.
        EngineError: the cryptography package is not installed.
    """
    if isinstance(trusted_keys, (str, bytes, os.PathLike)):
        trusted_keys = [trusted_keys]
    keys = [public_key(key) for key in trusted_keys]
    if not keys:
        raise InputError("trusted_keys is empty", "trusted_keys", "give a key, or leave trusted_keys out")
    where = str(folder / SIGNATURE_NAME)
    if not (folder / SIGNATURE_NAME).is_file():
        raise BundleError("the bundle is not signed, and only signed ones are trusted here", where, _SIGN_AGAIN)
    signer, signature = _read(read_file(folder, SIGNATURE_NAME, largest=_LARGEST_BYTES), where)
    if signer not in keys:
        known = ", ".join(map(fingerprint, keys[:5]))
        what = f"signed with key {fingerprint(signer)}, trusted are {known}"
        raise BundleError(what, where, "trust that key too, if it is yours; else take the bundle from its maker")
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError as error:
        fix = "pip install edge-runtime[signing]"
        raise EngineError("trusted_keys needs the cryptography package, which is not installed", where, fix) from error
    try:
        Ed25519PublicKey.from_public_bytes(signer).verify(signature, manifest)
    except (InvalidSignature, ValueError) as error:
        what = "the signature is not over this manifest: one of the two was changed"
        raise BundleError(what, where, _SIGN_AGAIN) from error
    return signer


def write_signature(folder: Path, key: bytes, signature: bytes) -> None:
    """Write signature.json, atomically."""
    doc = {"format": FORMAT, "format_version": FORMAT_VERSION, "public_key": key.hex(), "signature": signature.hex()}
    write_atomic(folder / SIGNATURE_NAME, (json.dumps(doc, indent=2) + "\n").encode())


def _read(data: bytes, where: str) -> tuple[bytes, bytes]:
    """Public key and signature."""
    try:
        doc: Any = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"not valid JSON: {error}", where, _SIGN_AGAIN) from error
    problems: list[str] = []
    fields = Fields(doc, "", problems, ("format", "format_version", "public_key", "signature"))
    fields.text("format", one_of=(FORMAT,))
    fields.integer("format_version", FORMAT_VERSION, FORMAT_VERSION)
    values = []
    for name, size in (("public_key", _KEY_BYTES), ("signature", _SIGNATURE_BYTES)):
        value = fields.text(name)
        if value and (len(value) != 2 * size or not _is_hex(value)):
            fields.note(name, f"want {2 * size} hex digits")
        values.append(value)
    if problems:
        raise BundleError("; ".join(problems[:5]), where, _SIGN_AGAIN)
    return bytes.fromhex(values[0]), bytes.fromhex(values[1])


def _is_hex(text: str) -> bool:
    return not set(text) - set("0123456789abcdefABCDEF")


def _key_file(name: str) -> str:
    try:
        with open(name, "rb") as file:
            return file.read(_LARGEST_BYTES).decode("ascii")
    except UnicodeDecodeError as error:
        raise InputError("no public key in PEM form", name, "make one with `compress bundle keygen`") from error
    except (OSError, ValueError) as error:
        what = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise InputError(what, name[:200], "give the path of a .pub file, or 64 hex digits") from error
