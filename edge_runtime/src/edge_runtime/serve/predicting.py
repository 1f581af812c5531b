"""The paths that predict, as a plain ASGI application: what every request pays is kept short.

Order: the door (token), room (queue, the client's share), the body within its limits, the model, the answer. Each of
them can end the request with a Problem.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import numpy as np

from edge_runtime.errors import EdgeError
from edge_runtime.serve.bodies import MOST_EXAMPLES, read_examples
from edge_runtime.serve.problems import CONTENT_TYPE, Problem, of_edge_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from edge_runtime.serve.batcher import Batcher
    from edge_runtime.serve.door import Door
    from edge_runtime.serve.metrics import Metrics
    from edge_runtime.serve.service import Servable
    from edge_runtime.serve.settings import Settings

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PATHS = {"/v1/predict": False, "/v1/predict_batch": True}
_JSON = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
_log = logging.getLogger("edge_runtime.serve")


class Predicting:
    """Answers POST on PATHS."""

    def __init__(self, model: Servable, batcher: Batcher, door: Door, metrics: Metrics, settings: Settings) -> None:
        self._model, self._batcher, self._door = model, batcher, door
        self._metrics, self._settings = metrics, settings
        self._clients: Counter[str] = Counter()
        self._seen: dict[tuple[str, int], Any] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, within its time limit."""
        start = time.perf_counter()
        path, client = scope["path"], (scope.get("client") or ("",))[0]
        expired = _Expiry(self._settings.request_timeout_s)
        self._clients[client] += 1
        refused = None
        try:
            content = await self._answer(scope, receive, client, expired)
        except Problem as problem:
            refused = problem
        except asyncio.CancelledError:
            if not expired.fired:
                raise
            refused = expired.problem
        except Exception:
            _log.exception("a request failed")
            refused = Problem(500, "the server failed", path, "the server's log says why")
        finally:
            expired.cancel()
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]
        status, headers = 200, _JSON
        if refused is not None:
            status, content = refused.status, refused.content()
            headers = [(b"content-type", CONTENT_TYPE), *refused.headers()]
        self._note(path, status, time.perf_counter() - start)
        length = (b"content-length", str(len(content)).encode())
        await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
        await send({"type": "http.response.body", "body": content})

    async def _answer(self, scope: Scope, receive: Receive, client: str, expired: _Expiry) -> bytes:
        headers = dict(scope["headers"])
        self._door.check(headers)
        batch = PATHS[scope["path"]]
        if scope["method"] != "POST":
            raise Problem(405, f"method {scope['method'][:20]}", scope["path"], "use POST")
        if self._clients[client] > self._settings.max_per_client:
            fix = f"send at most {self._settings.max_per_client} requests at a time"
            raise Problem(429, "too many requests at once from this address", "client", fix, retry_s=1)
        self._room_for(1)
        top = _top(scope["query_string"])
        body = await self._body(headers, receive)
        takes = self._model.model.manifest.preprocessing
        examples = await read_examples(headers.get(b"content-type", b""), body, takes, batch=batch)
        self._room_for(len(examples))
        expired.problem = Problem(503, "the model did not get to it in time", "queue", "try again later", retry_s=1)
        try:
            answer = await self._batcher.submit(examples)
        except EdgeError as error:
            if error.exit_code != 2:
                _log.error("%s", error)
            raise of_edge_error(error) from error
        found = [_shown(p, top, self._model.model.manifest.labels) for p in answer.predictions]
        out = {"predictions": found} if batch else found[0]
        return json.dumps({**out, "version": answer.version}).encode()

    def _room_for(self, examples: int) -> None:
        waiting = self._batcher.waiting
        if waiting and waiting + examples > self._settings.max_queue:
            raise Problem(503, f"{waiting} examples wait already", "queue", "try again later", retry_s=1)

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        most = self._settings.max_body_bytes
        length = headers.get(b"content-length", b"0")
        too_large = Problem(413, f"the body is larger than {most:,} bytes", "body", "send less, or fewer examples")
        if not length.isdigit() or int(length[:20]) > most:
            raise too_large
        message = await receive()
        parts, size = [message.get("body", b"")], len(message.get("body", b""))
        while message.get("more_body") and size <= most:
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
        if message["type"] == "http.disconnect":
            raise Problem(400, "the client has gone", "body", "send the whole body")
        if size > most:
            raise too_large
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _note(self, path: str, status: int, seconds: float) -> None:
        key = (path, status)
        seen = self._seen.get(key)
        if seen is None:  # looking labels up costs more than counting
            seen = (self._metrics.requests.labels(path, status), self._metrics.seconds.labels(path))
            self._seen[key] = seen
        seen[0].inc()
        seen[1].observe(seconds)


class _Expiry:
    """Cancels the current task when its time is up; `fired` tells that from other cancellations."""

    def __init__(self, after_s: float) -> None:
        loop, self._task, self.fired = asyncio.get_running_loop(), asyncio.current_task(), False
        self.problem = Problem(408, "the body took too long", "body", "send the whole body at once")
        self._handle = loop.call_later(after_s, self._fire)

    def _fire(self) -> None:
        self.fired = True
        if self._task is not None:
            self._task.cancel()

    def cancel(self) -> None:
        self._handle.cancel()


def _top(query: bytes) -> int:
    """How many labels the client asks for; 0 for the best one alone."""
    if not query:
        return 0
    try:
        fields = parse_qs(query.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=10)
        (value,) = fields.pop("top")
        top = int(value) if value.isascii() and value.isdigit() and len(value) < 5 else 0
    except (ValueError, KeyError):
        top, fields = 0, {}
    if fields or not 1 <= top <= MOST_EXAMPLES:
        raise Problem(422, "the query is not understood", "query", f"give top=K, K from 1 to {MOST_EXAMPLES}")
    return top


def _shown(prediction: Any, top: int, labels: tuple[str, ...]) -> dict[str, Any]:
    """A result as JSON data."""
    if isinstance(prediction, dict):
        return {"outputs": {name: np.asarray(a).tolist() for name, a in prediction.items()}}
    out = {"label": prediction.label, "index": prediction.index, "score": round(prediction.score, 6),
           "latency_ms": round(prediction.latency_ms, 3)}  # fmt: skip
    if prediction.id:
        out["id"] = prediction.id
    if top:
        scores = prediction.scores
        best = [int(i) for i in np.argsort(-scores, kind="stable")[:top]]
        out["top"] = [{"label": labels[i], "index": i, "score": round(float(scores[i]), 6)} for i in best]
    return out
