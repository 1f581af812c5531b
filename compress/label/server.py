"""A page on this machine to label a queue's items by keyboard. Standard library; nothing leaves the machine.

Safe to run beside a browser with other pages open: it listens on the loopback address alone, every address holds a
random token, the Host header must be ours (against DNS rebinding), writing wants a second token in a header that no
foreign page can send, and the policy lets the page load nothing but itself.
"""

import hmac
import json
import secrets
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from threading import Lock
from typing import Any

from edge_runtime.errors import EdgeError
from edge_runtime.files import read_file

from compress.errors import CompressError
from compress.readers.labelled import Item, Queue

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_MOST_BODY = 10_000
_STATIC = {"page.js": "text/javascript", "page.css": "text/css"}
_LARGEST_VIEW = 1 << 26


class LabelServer(ThreadingHTTPServer):
    """Serves one queue on 127.0.0.1. port 0 takes a free one; `url` is the address to open."""

    daemon_threads = True

    def __init__(self, queue: Queue, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.queue, self.lock = queue, Lock()
        self.token, self.csrf = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        self.hosts = {f"127.0.0.1:{self.server_port}", f"localhost:{self.server_port}"}
        self.url = f"http://127.0.0.1:{self.server_port}/{self.token}/"

    def __repr__(self) -> str:
        return f"LabelServer({str(self.queue.folder)!r}, port {self.server_port})"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that closed its tab is no error worth printing."""


class _Handler(BaseHTTPRequestHandler):
    server: LabelServer
    server_version, sys_version = "compress-label", ""
    protocol_version = "HTTP/1.1"
    timeout = 30  # seconds for a client that sends half a request

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: addresses hold the token."""

    def do_GET(self) -> None:
        path = self._path()
        if path is None:
            return
        queue = self.server.queue
        kind, _, id = path.partition("/")
        if path == "":
            page = files("compress.label").joinpath("page.html").read_text(encoding="utf-8")
            self._send(page.replace("{{csrf}}", self.server.csrf).encode(), "text/html")
        elif path in _STATIC:
            self._send(files("compress.label").joinpath(path).read_bytes(), _STATIC[path])
        elif path == "state":
            with self.server.lock:
                self._answer(self._state)
        elif kind == "view" and id in queue.items:
            self._answer(lambda: self._view(queue.items[id]))
        else:
            self._refuse(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        path = self._path()
        if path is None:
            return
        length = self.headers.get("Content-Length", "")
        if path != "label" or not length.isascii() or not length.isdigit() or int(length) > _MOST_BODY:
            self.close_connection = True  # the body is left unread
            self._refuse(HTTPStatus.BAD_REQUEST if path == "label" else HTTPStatus.NOT_FOUND)
            return
        body = self.rfile.read(int(length))
        if not _same(self.headers.get("X-CSRF-Token", ""), self.server.csrf):
            self._refuse(HTTPStatus.FORBIDDEN)
            return
        self._answer(lambda: self._label(body))

    def _label(self, body: bytes) -> tuple[bytes, str]:
        doc = json.loads(body)
        id, label = doc["id"], doc["label"]
        if not isinstance(id, str) or not isinstance(label, str | None):
            raise ValueError("id and label are texts")
        with self.server.lock:
            self.server.queue.decide([(id, label)])
        return b"{}", "application/json"

    def _state(self) -> tuple[bytes, str]:
        queue = self.server.queue
        done = queue.decisions()
        rows = [
            {"id": i.id, "predicted": i.predicted, "confidence": i.confidence, "text": i.text,
             "shown": "text" if i.text is not None else queue.kind if i.array else "nothing", "label": done.get(i.id)}
            for i in queue.items.values()
        ]  # fmt: skip
        doc = {"name": queue.name, "kind": queue.kind, "labels": queue.labels, "items": rows}
        return json.dumps(doc).encode(), "application/json"

    def _view(self, item: Item) -> tuple[bytes, str]:
        """The picture of an image; readings of anything else as JSON, one list a channel, at most 2,000 each."""
        queue = self.server.queue
        if queue.kind == "image" and item.view is not None and item.view.endswith(".png"):
            return read_file(queue.folder, item.view, largest=_LARGEST_VIEW), "image/png"
        array = queue.array(item)
        columns = (array if array.ndim == 2 else array.reshape(-1, 1)).T[:16]
        step = -(-columns.shape[1] // 2000)
        return json.dumps([[round(float(v), 6) for v in c[::step]] for c in columns]).encode(), "application/json"

    def _path(self) -> str | None:
        """What the address asks for, below the token; None once it has been refused."""
        if self.headers.get("Host", "") not in self.server.hosts:
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST)
            return None
        origin = self.headers.get("Origin")  # of a browser that writes; its own page's, or somebody else's
        if origin is not None and origin not in {f"http://{host}" for host in self.server.hosts}:
            self._refuse(HTTPStatus.FORBIDDEN)
            return None
        token, slash, rest = self.path.removeprefix("/").partition("/")
        if not slash or not _same(token, self.server.token):
            self._refuse(HTTPStatus.NOT_FOUND)
            return None
        return rest

    def _answer(self, make: Any) -> None:
        try:
            self._send(*make())
        except (CompressError, EdgeError) as error:
            body = json.dumps({"error": error.what, "fix": error.fix}).encode()
            self._send(body, "application/json", HTTPStatus.UNPROCESSABLE_ENTITY)
        except (ValueError, KeyError, TypeError, RecursionError):
            self._refuse(HTTPStatus.BAD_REQUEST)

    def _refuse(self, status: HTTPStatus) -> None:
        if self.command == "POST":
            self.close_connection = True
        self._send(f"{status.value} {status.phrase}\n".encode(), "text/plain", status)

    def _send(self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": f"{kind}; charset=utf-8" if not kind.startswith("image/") else kind,
            "Content-Length": str(len(body)),
            "Content-Security-Policy": POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cache-Control": "no-store",
        }.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())
