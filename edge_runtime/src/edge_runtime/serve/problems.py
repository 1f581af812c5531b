"""Errors on the wire: `application/problem+json` of RFC 9457, with our own what, where and fix."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from edge_runtime.errors import EdgeError

CONTENT_TYPE = b"application/problem+json"


class Problem(Exception):
    """A request that is refused. what, where, fix: as in every error of this package. retry_s: see Retry-After."""

    def __init__(self, status: int, what: str, where: str, fix: str, *, retry_s: int | None = None) -> None:
        super().__init__(status, what, where, fix)
        self.status, self.what, self.where, self.fix, self.retry_s = status, what, where, fix, retry_s

    def body(self) -> dict[str, Any]:
        """As JSON data; `type` is about:blank, so that `title` is the status's own phrase."""
        return {"type": "about:blank", "title": HTTPStatus(self.status).phrase, "status": self.status,
                "detail": self.what, "where": self.where, "fix": self.fix}  # fmt: skip

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Headers beyond type and length."""
        out = [(b"cache-control", b"no-store")]
        if self.status == HTTPStatus.UNAUTHORIZED:
            out.append((b"www-authenticate", b'Bearer realm="edge-runtime"'))
        if self.retry_s is not None:
            out.append((b"retry-after", str(self.retry_s).encode()))
        if self.status in (408, 413):  # the rest of the body is still on its way, and nobody will read it
            out.append((b"connection", b"close"))
        return out

    def content(self) -> bytes:
        """The bytes to send."""
        return json.dumps(self.body()).encode()


def of_edge_error(error: EdgeError) -> Problem:
    """InputError is the client's (422); all others are ours (500), and their paths stay with us."""
    if error.exit_code == 2:
        return Problem(422, error.what, error.where, error.fix)
    return Problem(500, "the model failed", "model", "the server's log says why; try again later")
