"""The terminal that commands print tables to."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def plain_console() -> "Console":
    """Brackets are no markup there: paths, class names and `pip install edge-runtime[onnx]` have their own."""
    from rich.console import Console

    return Console(markup=False, emoji=False)
