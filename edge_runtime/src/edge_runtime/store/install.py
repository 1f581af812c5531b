"""Bring a bundle into versions/<id>/: whole, verified and on the disk before it gets that name."""

from __future__ import annotations

import json
import os
import re
import shutil
from typing import TYPE_CHECKING

from edge_runtime.errors import BundleError, StoreError
from edge_runtime.files import FileInfo, read_checked, sha256_hex, verify_files
from edge_runtime.manifest import FILE_NAME, LARGEST_MANIFEST_BYTES, Manifest, read_manifest
from edge_runtime.signing import SIGNATURE_NAME, check_signature
from edge_runtime.store.durable import move_durable, remove_whole, write_durable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge_runtime.signing import TrustedKeys
    from edge_runtime.store.sources import Source

_LARGEST_SIGNATURE_BYTES = 1 << 16
_DIGEST_DIGITS = 12
_SPARE_BYTES = 1 << 20  # left free on the disk for the store's own small files


def version_of(manifest: Manifest, data: bytes) -> str:
    """The name of a version: the bundle's, made safe for a folder, and the digest of its manifest.

    The manifest holds the checksum of every file, so the digest stands for the whole content.
    """
    name = re.sub(r"[^a-z0-9._]+", "-", manifest.name.lower()).strip("-._")[:48] or "bundle"
    return f"{name}-{sha256_hex(data)[:_DIGEST_DIGITS]}"


def read_source(source: Source) -> tuple[Manifest, bytes, str]:
    """Manifest, its bytes and the version's name of the bundle at a source.

    Raises:
        BundleError: there is none, or it is damaged or of a newer format.
        StoreError: the source cannot be reached.
    """
    data = source.small(FILE_NAME, LARGEST_MANIFEST_BYTES)
    if data is None:
        raise BundleError("there is no manifest.json", source.name, "give the folder of a bundle")
    try:
        doc = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        what = f"its manifest.json is not valid JSON: {error}"
        raise BundleError(what, source.name, "copy the bundle again, whole") from error
    manifest = Manifest.from_json(doc, source.name)
    return manifest, data, version_of(manifest, data)


def install(
    source: Source,
    manifest: Manifest,
    data: bytes,
    version: str,
    root: Path,
    *,
    largest_bytes: int,
    trusted_keys: TrustedKeys = None,
) -> Path:
    """Copy or download what is missing, verify all of it, and give it its name. Returns versions/<version>.

    What an interrupted call left in incoming/ is used again; files that another version holds are copied from there.
    With trusted_keys a signature by one of them is asked for before any file is fetched.

    Raises:
        BundleError: the content is not what the manifest promises.
        StoreError: too large, no room on the disk, or the source fails.
    """
    final, work = root / "versions" / version, root / "incoming" / version
    if final.is_dir() and _is_whole(final, data):
        _bring_signature(source, final, data, trusted_keys)
        return final
    if final.is_dir():  # damaged since; fetched anew
        remove_whole(final, root / "incoming")
    total = sum(info.size_bytes for info in manifest.files.values())
    if total > largest_bytes:
        fix = "give a larger limit (--max-size-mb) if you trust it"
        raise StoreError(f"the bundle has {total:,} bytes, the limit is {largest_bytes:,}", source.name, fix)
    try:
        work.mkdir(parents=True, exist_ok=True)
        _room_for(total - sum(p.stat().st_size for p in work.rglob("*") if p.is_file()), root)
        _bring_signature(source, work, data, trusted_keys)
        for path, info in manifest.files.items():
            _bring(source, path, info, work, _same_content(info, root))
        write_durable(work / FILE_NAME, data)
        verify_files(work, read_manifest(work).files)
        move_durable(work, final)
    except OSError as error:
        shutil.rmtree(work, ignore_errors=True)  # room for what runs matters more than resuming
        what = f"the bundle cannot be stored: {error.strerror or error}"
        raise StoreError(what, str(root), f"free {total:,} bytes on that disk, or check its permissions") from error
    return final


def _is_whole(folder: Path, data: bytes) -> bool:
    try:
        read_checked(folder, FILE_NAME, FileInfo(sha256_hex(data), len(data)))
        verify_files(folder, read_manifest(folder).files)
    except BundleError:
        return False
    return True


def _bring_signature(source: Source, folder: Path, data: bytes, trusted_keys: TrustedKeys) -> None:
    signature = source.small(SIGNATURE_NAME, _LARGEST_SIGNATURE_BYTES)
    if signature is not None:
        write_durable(folder / SIGNATURE_NAME, signature)
    if trusted_keys is not None:
        check_signature(folder, data, trusted_keys)


def installed_versions(root: Path) -> list[str]:
    """Names of the folders under versions/, sorted."""
    return sorted(p.name for p in (root / "versions").iterdir() if p.is_dir())


def _bring(source: Source, path: str, info: FileInfo, work: Path, twins: Sequence[tuple[Path, str]]) -> None:
    """One file into `work`, checked; a second try from the start if what was resumed turns out wrong."""
    target = work / path
    target.parent.mkdir(parents=True, exist_ok=True)
    for folder, twin in twins:
        try:
            write_durable(target, read_checked(folder, twin, info))
            return
        except BundleError:
            continue  # damaged there; the source has it
    for last in (False, True):
        resumed = target.exists() and target.stat().st_size > 0
        source.fetch(path, info, target)
        try:
            read_checked(work, path, info)
            return
        except BundleError as error:
            target.unlink(missing_ok=True)
            if last or not resumed:
                fix = "put the whole bundle there again: the manifest belongs to other files"
                raise BundleError(f"{path}: {error.what}", source.name, fix) from error


def _same_content(info: FileInfo, root: Path) -> list[tuple[Path, str]]:
    """Files of installed versions with this checksum and size, as (version folder, path)."""
    out = []
    for version in installed_versions(root):
        folder = root / "versions" / version
        try:
            files = read_manifest(folder).files
        except BundleError:
            continue
        out += [(folder, path) for path, facts in files.items() if facts == info]
    return out


def _room_for(missing: int, root: Path) -> None:
    facts = os.statvfs(root)
    free = facts.f_bavail * facts.f_frsize - _SPARE_BYTES
    if missing > free:
        what = f"the bundle needs {missing:,} more bytes, {max(free, 0):,} are free"
        raise StoreError(what, str(root), "free some room; what ran before still runs")
