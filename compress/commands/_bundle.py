"""What commands that take a bundle share."""

from pathlib import Path
from typing import Any

import click


class BundlePath(click.Path):
    """The path of a bundle, or of a run folder: its `bundle` is meant."""

    def __init__(self, **options: Any) -> None:
        super().__init__(path_type=Path, **options)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A path, whatever is or is not there."""
        path = super().convert(value, param, ctx)
        if isinstance(path, Path) and not (path / "manifest.json").exists():
            return path / "bundle" if (path / "bundle" / "manifest.json").is_file() else path
        return path


BUNDLE = click.argument("bundle", type=BundlePath())
