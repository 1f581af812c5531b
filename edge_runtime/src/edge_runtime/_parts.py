"""What is in the second distribution, edge-runtime-ops, and what is said where that is not installed."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from edge_runtime.errors import EdgeError

if TYPE_CHECKING:
    from types import ModuleType

COMMANDS = ("queue", "serve", "watch")
FIX = "pip install edge-runtime-ops"


class MissingPartError(EdgeError, ImportError):
    """A part of edge_runtime that another distribution brings is not installed."""


def import_part(name: str, wanted: str) -> ModuleType:
    """edge_runtime.NAME, for something that the user calls `wanted`. Raises MissingPartError."""
    whole = f"edge_runtime.{name}"
    try:
        return importlib.import_module(whole)
    except ModuleNotFoundError as error:
        if error.name != whole:
            raise
        raise MissingPartError("this part is not installed", wanted, FIX) from None


def edge_bench() -> int:
    """The command `edge-bench`."""
    import sys

    try:
        bench = import_part("edge_bench", "edge-bench")
    except MissingPartError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return int(bench.main())
