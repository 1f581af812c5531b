"""What goes over the pipe: one request (a JSON line) and data in, frames out.

A frame is a kind byte, a decimal length, a newline, and that many bytes. J: an answer. D: data. H: alive. X: a refusal,
as JSON with `error` and what belongs to it.
"""

from __future__ import annotations

import json
import os
import select
from typing import Any

MAGIC = b"\n\x01compress-agent 1\n"
CHUNK = 1 << 16


class Refused(Exception):
    """Told to the client as an X frame."""

    def __init__(self, error: str, **facts: Any) -> None:
        super().__init__(error)
        self.facts = {"error": error, **facts}


class Gone(Exception):
    """The client has left."""


class Wire:
    """Frames out, requests and data in."""

    def __init__(self, source: int, sink: int) -> None:
        self.source, self.sink, self.rest = source, sink, b""

    def send(self, kind: bytes, payload: Any = b"") -> None:
        """One frame, whole."""
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        view = memoryview(kind + str(len(data)).encode() + b"\n" + data)
        while view:
            view = view[os.write(self.sink, view) :]

    def line(self) -> bytes:
        """Bytes up to a newline."""
        while b"\n" not in self.rest:
            self.rest += self._read()
        line, _, self.rest = self.rest.partition(b"\n")
        return line

    def chunk(self, most: int) -> bytes:
        """Some bytes of data, `most` at most."""
        data = self.rest or self._read()
        self.rest = data[most:]
        return data[:most]

    def renewed(self, wait_s: float) -> bool:
        """Whether the client spoke within this time."""
        ready, _, _ = select.select([self.source], [], [], wait_s)
        if ready:
            self._read()
        return bool(ready)

    def _read(self) -> bytes:
        data = os.read(self.source, CHUNK)
        if not data:
            raise Gone
        return data
