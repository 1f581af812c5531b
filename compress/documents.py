"""Read a JSON document of ours back: one way for every format that names itself and its version."""

import json
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from compress.errors import UsageError

Document = TypeVar("Document", bound=BaseModel)


def read_document(path: Path, kind: type[Document], *, format: str, version: int, called: str, fix: str) -> Document:
    """The document in a file.

    format, version: what it must say of itself. called: what messages call it. fix: how to come by a sound one.

    Raises:
        UsageError: it is missing, damaged, something else, or of another version.
    """
    try:
        doc = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"it cannot be read: {error}", str(path), fix) from error
    if not isinstance(doc, dict) or (doc.get("format"), doc.get("version")) != (format, version):
        raise UsageError(f"it is no {called} of version {version}", str(path), fix)
    try:
        return kind.model_validate(doc)
    except ValidationError as error:
        first = error.errors()[0]
        where = f"{path}: {'.'.join(map(str, first['loc']))}"
        raise UsageError(f"it is damaged: {first['msg']}", where, fix) from error


def format_of(path: Path) -> str:
    """What a JSON file says it is; "" of a file that says nothing or cannot be read, which its reader will name."""
    try:
        doc = json.loads(path.read_text())
    except (OSError, ValueError):
        return ""
    return str(doc.get("format", "")) if isinstance(doc, dict) else ""
