"""Writes that a power cut cannot tear: data first, then the name, then the folder that holds the name.

A rename is atomic, but what it names need not be on the disk yet, and the rename itself is in the folder's data. So
each file is synced before it gets its final name, and the folder after.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

from edge_runtime.files import write_atomic

_SYNC_FOLDER = os.name == "posix"  # Windows has no handle of a folder that could be synced


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    if _SYNC_FOLDER:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_durable(path: Path, data: bytes) -> None:
    """Replace a file: after a power cut at any moment it holds the old content or the new, and the new once we return.

    Raises:
        OSError: the disk is full, or the folder cannot be written; the old content stands.
    """
    write_atomic(path, data)
    sync_folder(path.parent)


def sync_files(folder: Path) -> None:
    """Bring the content of all files below a folder to the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())


def move_durable(source: Path, target: Path) -> None:
    """Give a complete, synced folder its final name."""
    for folder in [source, *(p for p in source.rglob("*") if p.is_dir())]:
        sync_folder(folder)
    os.rename(source, target)
    sync_folder(target.parent)


def remove_whole(folder: Path, scratch: Path) -> None:
    """Delete a folder so that its name never stands for half of it: it moves to `scratch` first."""
    doomed = scratch / f"removed.{secrets.token_hex(4)}"
    os.rename(folder, doomed)
    sync_folder(folder.parent)
    shutil.rmtree(doomed, ignore_errors=True)
