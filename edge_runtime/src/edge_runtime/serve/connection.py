"""uvicorn's connection with the limits it lacks: on slow requests, on clients that never read, on their number."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from edge_runtime.serve.problems import CONTENT_TYPE, Problem

_MOST_HEADER_BYTES = _MOST_UNTOLD_BYTES = 1 << 16
_GRACE_S = 1.0  # the application's own time limit on a body comes first, and is answered better
_NO_LINGER = struct.pack("ii", 1, 0)


def limited(header_timeout_s: float, stall_timeout_s: float, most_connections: int) -> type[asyncio.Protocol]:
    """A connection class with these limits.

    header_timeout_s: from a request's first byte (or the connection's start) to the end of its headers, and again that
        long (and a second) to the end of its body.
    stall_timeout_s: how long a client may leave an answer unread before the connection is cut.
    most_connections: further ones are answered 503.
    """

    class Limited(Connection):
        request_timeout_s, unread_timeout_s, most = header_timeout_s, stall_timeout_s, most_connections

    return Limited


class Connection(HttpToolsProtocol):
    """One client. Its clock runs from the first byte of a request to the last one, whoever answers it and when."""

    request_timeout_s: float
    unread_timeout_s: float
    most: int

    _clock: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _stage = "idle"  # then "headers" and "body", of the request that is being read
    _extended = False
    _header_bytes = 0
    _untold_bytes = 0  # received since the parser last told of anything: it keeps a half header, however long it is

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock, or turn the client away."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(1, 0)  # so that we hear of every answer that the client does not take
        if len(self.connections) > self.most:
            fix = "try again later, or keep connections alive and use fewer"
            self._refuse(Problem(503, "too many connections", "server", fix, retry_s=1))
            return
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all clocks."""
        self._stop_clock()
        if self._unread is not None:
            self._unread.cancel()
        super().connection_lost(exc)

    # What comes in.

    def data_received(self, data: bytes) -> None:
        """Bytes for the parser."""
        if self._clock is None:  # also for what is no request yet: uvicorn's own clock has just been stopped
            self._start_clock()
        self._untold_bytes += len(data)
        super().data_received(data)
        if self._untold_bytes > _MOST_UNTOLD_BYTES:
            self.send_400_response("")

    def on_message_begin(self) -> None:
        """A request begins."""
        self._stage, self._extended, self._header_bytes, self._untold_bytes = "headers", False, 0, 0
        if self._clock is None:  # a second request in the same bytes
            self._start_clock()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of the address."""
        self._count(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A whole header, or trailer."""
        self._count(name + value)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The application begins."""
        self._stage = "body"
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._untold_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is here as a whole."""
        self._stage, self._untold_bytes = "idle", 0
        self._stop_clock()
        super().on_message_complete()

    def _count(self, part: bytes) -> None:
        self._untold_bytes = 0
        self._header_bytes += len(part)
        if self._header_bytes > _MOST_HEADER_BYTES:
            raise ValueError("headers too large")  # the parser hands it on as its own error: 400

    # The clock.

    def _start_clock(self) -> None:
        self._clock = self.loop.call_later(self.request_timeout_s, self._late)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _late(self) -> None:
        answered = self.cycle is None or self.cycle.response_complete
        if self._stage == "idle" and not answered:  # stray bytes while the application is at work
            self._start_clock()
        elif self._stage == "body" and not self._extended:
            self._extended = True
            self._clock = self.loop.call_later(self.request_timeout_s + _GRACE_S, self._late)
        elif self._stage != "body" and answered:
            self._refuse(Problem(408, "the headers took too long", "request", "send the request at once"))
        elif self._stage == "body" and not answered and not self.cycle.response_started:
            self._refuse(Problem(408, "the body took too long", "request", "send the request at once"))
        else:  # in or after an answer nothing can be said any more
            self._cut()

    # What goes out.

    def pause_writing(self) -> None:
        """The client does not read."""
        self._unread = self.loop.call_later(self.unread_timeout_s, self._cut)
        super().pause_writing()

    def resume_writing(self) -> None:
        """It does again."""
        if self._unread is not None:
            self._unread.cancel()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """For what the parser does not take."""
        self._refuse(Problem(400, "not a readable HTTP request", "request", "speak HTTP/1.1"))

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
