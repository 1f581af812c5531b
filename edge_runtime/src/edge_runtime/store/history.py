"""What happened to a store, one JSON object a line: for people. What is decided stands in state.json alone."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING

from edge_runtime.store.state import utc_now

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME, OLDER_NAME = "history.jsonl", "history.1.jsonl"
_LARGEST_BYTES = 1 << 20


def add_event(folder: Path, current: str | None, event: str) -> None:
    """Add a line; where there is no room for it, it is lost."""
    line = json.dumps({"at": utc_now(), "current": current, "event": event}, ensure_ascii=False)
    path = folder / FILE_NAME
    with contextlib.suppress(OSError):
        if path.exists() and path.stat().st_size > _LARGEST_BYTES:
            os.replace(path, folder / OLDER_NAME)
        with path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                line = line if file.read() == b"\n" else f"\n{line}"  # a power cut may have left half a line
            file.write(f"{line}\n".encode("utf-8", "backslashreplace"))
            file.flush()
            os.fsync(file.fileno())


def read_events(folder: Path) -> list[dict[str, str]]:
    """All lines that can be read, oldest first."""
    out = []
    for name in (OLDER_NAME, FILE_NAME):
        with contextlib.suppress(FileNotFoundError):
            for line in (folder / name).read_text(encoding="utf-8", errors="replace").splitlines():
                with contextlib.suppress(ValueError):
                    out.append(json.loads(line))
    return out
