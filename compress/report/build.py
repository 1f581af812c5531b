"""Write the reports beside the result they were computed from."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from compress.errors import UsageError
from compress.report.pages import run as page
from compress.report.text import markdown
from compress.result import Result


def write_reports(result: Result, folder: Path) -> tuple[Path, ...]:
    """Write report.html and report.md into an existing folder, each whole or not at all; their paths.

    Both are drawn before either is written, so a result that cannot be drawn leaves the old reports alone.

    Raises:
        UsageError: the result cannot be drawn, or the folder cannot be written.
    """
    return write_texts({"report.html": page.render(result), "report.md": markdown.render(result)}, folder)


def write_texts(drawn: Mapping[str, str], folder: Path) -> tuple[Path, ...]:
    """Write files by name into an existing folder, each whole or not at all; their paths.

    Raises:
        UsageError: the folder cannot be written.
    """
    try:
        return tuple(write_file(folder / name, text) for name, text in drawn.items())
    except OSError as error:
        what = f"the report cannot be written: {error.strerror or error}"
        raise UsageError(what, str(folder), "give a folder that exists and can be written") from error


def write_file(path: Path, text: str) -> Path:
    """Write a report, whole or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(name, 0o644)  # mkstemp's 0600 would keep a web server or a colleague from reading it
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path
