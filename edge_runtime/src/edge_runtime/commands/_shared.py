"""What several commands have in common: their arguments, and tables of text."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_runtime.manifest import MODEL_FORMATS

if TYPE_CHECKING:
    from collections.abc import Sequence

Answer = tuple[Any, "list[str]", int]


def add_bundle(parser: argparse.ArgumentParser) -> None:
    """The BUNDLE argument."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the folder that holds manifest.json")


def add_engine(parser: argparse.ArgumentParser) -> None:
    """--engine and --threads."""
    parser.add_argument("--engine", choices=MODEL_FORMATS, help="default: the first one that is installed")
    parser.add_argument("--threads", type=positive, default=1, metavar="N", help="CPU threads (default 1)")


def positive(text: str) -> int:
    """An argument from 1 to a million."""
    value = int(text)
    if not 1 <= value <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{value} is not from 1 to 1,000,000")
    return value


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows as lines with columns under each other."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
