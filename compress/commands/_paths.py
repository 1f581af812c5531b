"""Paths that must be there or be written to: what is wrong with them is told before any work, with exit code 2."""

import os
from pathlib import Path
from typing import Any, Literal

import click

from compress.errors import UsageError


class ExistingPath(click.Path):
    """A path of a file or a folder that is there. fix: what to give instead."""

    def __init__(self, fix: str, kind: Literal["file", "folder", "file or folder"] = "file or folder") -> None:
        super().__init__(path_type=Path)
        self._fix, self._kind = fix, kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Raises: UsageError: nothing stands there, or something of another kind."""
        path = Path(value)
        if not path.exists():
            raise UsageError(f"there is no such {self._kind}", str(path), self._fix)
        if self._kind == "folder" and not path.is_dir():
            raise UsageError("it is a file, not a folder", str(path), self._fix)
        if self._kind == "file" and path.is_dir():
            raise UsageError("it is a folder, not a file", str(path), self._fix)
        return path


def folder_to_write(path: Path) -> Path:
    """Make it, where it is not there. Raises: UsageError: it cannot be made or written."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fix = "choose another folder with --out"
        raise UsageError(f"the folder cannot be made: {error.strerror}", str(path), fix) from error
    return _writable(path, path)


def file_to_write(path: Path) -> Path:
    """The path itself; the file is not made yet. Raises: UsageError: its folder cannot be written, or is it."""
    if path.is_dir():
        raise UsageError("it is a folder, not a file", str(path), "choose another file")
    return _writable(path, path.parent)


def _writable(path: Path, folder: Path) -> Path:
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        why = "is not there" if not folder.exists() else "cannot be written"
        raise UsageError(f"the folder {folder} {why}", str(path), "choose another place")
    return path
