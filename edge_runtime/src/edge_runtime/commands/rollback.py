"""`edge-runtime rollback STORE`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.commands._shared import Answer

if TYPE_CHECKING:
    import argparse

HELP = "go back to the version of a store that ran before"


def arguments(parser: argparse.ArgumentParser) -> None:
    """STORE, and where to."""
    parser.add_argument("store", type=Path, metavar="STORE", help="the store's folder")
    parser.add_argument("--to", metavar="VERSION", help="any installed version; also mends a damaged state.json")
    parser.add_argument("--reason", default="rolled back by hand", metavar="TEXT", help="for the history")


def run(options: argparse.Namespace) -> Answer:
    """Do it; the version left behind is not installed again unless forced."""
    from edge_runtime.store import Store

    done = Store(options.store).rollback(options.to, reason=options.reason)
    return asdict(done), [done.message], 0
