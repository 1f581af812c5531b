"""uvicorn's connection with the limits it lacks: on slow headers, on clients that never read, on their number."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from edge_runtime.serve.problems import CONTENT_TYPE, Problem

_MOST_HEADER_BYTES = 1 << 16
_NO_LINGER = struct.pack("ii", 1, 0)


def limited(header_timeout_s: float, stall_timeout_s: float, most_connections: int) -> type[asyncio.Protocol]:
    """A connection class with these limits.

    header_timeout_s: from a request's first byte (or the connection's start) to the end of its headers.
    stall_timeout_s: how long a client may leave an answer unread before the connection is cut.
    most_connections: further ones are answered 503.
    """

    class Connection(HttpToolsProtocol):
        _timer: asyncio.TimerHandle | None = None
        _stalled: asyncio.TimerHandle | None = None
        _header_bytes = 0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > most_connections:
                fix = "try again later, or keep connections alive and use fewer"
                self._refuse(Problem(503, "too many connections", "server", fix, retry_s=1))
                return
            self._wait_for_headers()

        def connection_lost(self, exc: Exception | None) -> None:
            self._cancel()
            if self._stalled is not None:
                self._stalled.cancel()
            super().connection_lost(exc)

        def on_message_begin(self) -> None:
            self._header_bytes = 0
            self._cancel()
            self._wait_for_headers()
            super().on_message_begin()

        def on_url(self, url: bytes) -> None:
            self._count(url)
            super().on_url(url)

        def on_header(self, name: bytes, value: bytes) -> None:
            self._count(name + value)
            super().on_header(name, value)

        def on_headers_complete(self) -> None:
            self._cancel()
            super().on_headers_complete()

        def pause_writing(self) -> None:
            self._stalled = self.loop.call_later(stall_timeout_s, self._cut)
            super().pause_writing()

        def resume_writing(self) -> None:
            if self._stalled is not None:
                self._stalled.cancel()
            super().resume_writing()

        def send_400_response(self, msg: str) -> None:
            if not self.transport.is_closing():
                self._refuse(Problem(400, "not a readable HTTP request", "request", "speak HTTP/1.1"))

        def _count(self, part: bytes) -> None:
            self._header_bytes += len(part)
            if self._header_bytes > _MOST_HEADER_BYTES:
                raise ValueError("headers too large")  # the parser hands it on as its own error: 400

        def _wait_for_headers(self) -> None:
            self._timer = self.loop.call_later(header_timeout_s, self._late)

        def _late(self) -> None:
            self._refuse(Problem(408, "the headers took too long", "request", "send the request at once"))

        def _refuse(self, problem: Problem) -> None:
            if self.transport.is_closing():
                return
            body = json.dumps(problem.body()).encode()
            phrase = HTTPStatus(problem.status).phrase.encode()
            headers = dict([*problem.headers(), (b"connection", b"close"), (b"content-type", CONTENT_TYPE)])
            lines = b"".join(k + b": " + v + b"\r\n" for k, v in headers.items())
            start = b"HTTP/1.1 %d %s\r\n" % (problem.status, phrase)
            self.transport.write(start + lines + b"content-length: %d\r\n\r\n" % len(body) + body)
            self.transport.close()

        def _cut(self) -> None:
            """Close at once; the kernel, too, is to forget what the client has not read."""
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self.transport.abort()

        def _cancel(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return Connection
