"""The whole application: predicting by hand, the rest by FastAPI, and what is started and stopped with them."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from edge_runtime.serve.batcher import Batcher, measure_batches
from edge_runtime.serve.door import Door
from edge_runtime.serve.metrics import Metrics
from edge_runtime.serve.predicting import PATHS, Predicting
from edge_runtime.serve.problems import Problem
from edge_runtime.serve.rest import make_api, response_of
from edge_runtime.serve.service import Refresher
from edge_runtime.serve.settings import is_loopback
from edge_runtime.store.runs import run_model

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from edge_runtime.model import Model
    from edge_runtime.monitor import Monitor
    from edge_runtime.serve.predicting import Receive, Scope, Send
    from edge_runtime.serve.service import Servable
    from edge_runtime.serve.settings import Settings
    from edge_runtime.store import Store

_OPEN_PATHS = ("/health", "/ready")  # for probes, which carry no token; they say nothing but yes or no
_LARGEST_OTHER_BODY = 1 << 16


class App:
    """An ASGI application that serves one model.

    store: where `model` comes from, if it comes from one. monitor: what watches it; it is closed with the server.
    """

    def __init__(
        self,
        model: Servable,
        settings: Settings,
        *,
        store: Store | None = None,
        monitor: Monitor | None = None,
    ) -> None:
        self.model, self.settings, self.store, self.monitor = model, settings, store, monitor
        self.batch_size = _batch_size(model.model, settings.batch_latency_ms)
        self._door = Door(settings.tokens, local=is_loopback(settings.host) and not settings.open_door)
        self._batcher: Batcher | None = None
        self._predicting: Predicting | None = None
        self.metrics = Metrics(
            lambda: self._batcher.waiting if self._batcher else 0, monitor.prometheus if monitor else None
        )
        self.fastapi = make_api(self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the server's start and end."""
        if scope["type"] != "http":
            await self.fastapi(scope, receive, send)
        elif scope["path"] in PATHS and self._predicting is not None:
            await self._predicting(scope, receive, send)
        else:
            try:
                self._admit(scope)
            except Problem as refused:
                await response_of(refused)(scope, receive, send)
                return
            await self.fastapi(scope, receive, send)

    def healthy(self) -> bool:
        """Whether the model's thread runs and is not stuck."""
        return self._batcher is not None and self._batcher.alive()

    def _admit(self, scope: Scope) -> None:
        """Raises Problem for a request without a token, or with a body that no path here takes."""
        headers = dict(scope["headers"])
        if scope["path"] not in _OPEN_PATHS:
            self._door.check(headers)
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length[:20]) > _LARGEST_OTHER_BODY:
            raise Problem(413, f"a body of more than {_LARGEST_OTHER_BODY:,} bytes", "body", "send less")
        if b"transfer-encoding" in headers:
            raise Problem(411, "a body of unknown length", "Content-Length", "send its length")

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Any) -> AsyncIterator[None]:
        """Start and stop the threads."""
        wait_s = self.settings.batch_wait_ms / 1e3
        self._batcher = Batcher(self.model, largest=self.batch_size, wait_s=wait_s, on_batch=self.metrics.batch)
        self._predicting = Predicting(self.model, self._batcher, self._door, self.metrics, self.settings)
        refresher = Refresher(self.model) if self.store is not None else None
        try:
            yield
        finally:
            if refresher is not None:
                refresher.close()
            self._batcher.close()
            self.model.close()
            if self.monitor is not None:
                self.monitor.close()


def _batch_size(model: Model, latency_ms: float) -> int:
    """What pays on this machine, found with the bundle's reference examples; no monitor hears of these calls."""
    examples, _ = model.reference()
    monitor, model.monitor = model.monitor, None

    def run(n: int) -> object:
        return run_model(model, [examples[i % len(examples)] for i in range(n)])

    try:
        return measure_batches(run, latency_ms, time.process_time if model.threads == 1 else time.perf_counter)[0]
    finally:
        model.monitor = monitor
