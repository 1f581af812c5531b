"""Paths that must be there: what is missing is told before anything is imported or read, with exit code 2."""

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
