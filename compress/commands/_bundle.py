"""What commands that take a bundle share."""

from pathlib import Path
from typing import Any

import click

from compress.commands._paths import ExistingPath


class BundlePath(ExistingPath):
    """The path of a bundle, or of a run folder: its `bundle` is meant."""

    def __init__(self) -> None:
        super().__init__("give the folder that holds manifest.json, or a run's folder", "folder")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Raises: UsageError: there is no such folder."""
        path = super().convert(value, param, ctx)
        if not (path / "manifest.json").exists() and (path / "bundle" / "manifest.json").is_file():
            return path / "bundle"
        return path


BUNDLE = click.argument("bundle", type=BundlePath())
