"""What several commands have in common: their arguments, and tables of text."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_runtime.manifest import MODEL_FORMATS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_runtime.model import Model

Answer = tuple[Any, "list[str]", int]


def add_bundle(parser: argparse.ArgumentParser) -> None:
    """The BUNDLE argument."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the folder that holds manifest.json")


def add_engine(parser: argparse.ArgumentParser) -> None:
    """--engine, --threads and --trusted-key."""
    parser.add_argument("--engine", choices=MODEL_FORMATS, help="default: the first one that is installed")
    parser.add_argument("--threads", type=positive, default=1, metavar="N", help="CPU threads (default 1)")
    key_help = "a .pub file; the bundle must be signed with it (or another one named so)"
    parser.add_argument("--trusted-key", action="append", dest="trusted_keys", metavar="FILE", help=key_help)


def open_model(options: argparse.Namespace, engine: str | None = None) -> Model:
    """The bundle, as the arguments of add_bundle and add_engine say; engine: instead of --engine."""
    from edge_runtime.model import load
    from edge_runtime.quiet import without_engine_notice

    engine = engine or options.engine
    with without_engine_notice():
        return load(options.bundle, engine=engine, threads=options.threads, trusted_keys=options.trusted_keys)


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
