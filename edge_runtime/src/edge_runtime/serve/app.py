"""The whole application: predicting by hand, the rest by FastAPI, and what is started and stopped with them."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from typing import TYPE_CHECKING, Any, Optional

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from edge_runtime import __version__
from edge_runtime.errors import EdgeError
from edge_runtime.serve.batcher import Batcher, measure_batches
from edge_runtime.serve.door import Door
from edge_runtime.serve.metrics import CONTENT_TYPE, Metrics
from edge_runtime.serve.openapi import PROBLEM, predicting_paths, problem, refusals
from edge_runtime.serve.predicting import PATHS, Predicting
from edge_runtime.serve.problems import Problem, of_edge_error
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
_log = logging.getLogger("edge_runtime.serve")


class Switch(BaseModel):
    """A version to switch to."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"version": "kiosk-0123456789ab"}})
    version: str
    force: bool = False


class Switched(BaseModel):
    """What a switch did."""

    version: str
    previous: Optional[str]
    changed: bool
    message: str


class VersionInfo(BaseModel):
    """One version of a store."""

    version: str
    state: str
    size_bytes: int
    note: str


class Versions(BaseModel):
    """What runs, and what else is there."""

    version: str
    engine: str
    problem: str
    versions: list[VersionInfo]


class Label(BaseModel):
    """What a prediction should have been."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"id": "1f0c-0-17", "label": "cat"}})
    id: str
    label: str


class Probe(BaseModel):
    """Yes or no."""

    ok: bool


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
        self.fastapi = _fastapi(self)

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
                await _response(refused)(scope, receive, send)
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


def _fastapi(app: App) -> FastAPI:
    """Everything but the predicting paths. No /docs page: it would load scripts from elsewhere."""
    api = FastAPI(title="edge-runtime", version=__version__, lifespan=app.lifespan, docs_url=None, redoc_url=None)
    refused: dict[Any, Any] = {int(k): v for k, v in refusals(401, 403, 413).items()}

    @api.get("/health", response_model=Probe, responses={503: problem("The model's thread is dead or stuck")})
    def health() -> Any:
        """Is the process in order? For liveness probes; needs no token."""
        return _probe(app.healthy())

    @api.get("/ready", response_model=Probe, responses={503: problem("Not ready to answer")})
    def ready() -> Any:
        """Can it answer? For load balancers; needs no token."""
        return _probe(app.healthy())

    @api.get("/metrics", response_class=Response, responses={**refused, 200: {"content": {CONTENT_TYPE: {}}}})
    def metrics() -> Response:
        """Prometheus metrics."""
        return Response(app.metrics.text(app.model.version), media_type=CONTENT_TYPE)

    @api.get("/v1/versions", responses=refused)
    def versions() -> Versions:
        """What runs, and what else is installed."""
        status = app.model.status()
        known = app.store.versions() if app.store is not None else []
        infos = [VersionInfo(**vars(v)) for v in known] or [
            VersionInfo(version=status["version"], state="current", size_bytes=_size(app), note="")
        ]
        return Versions(version=status["version"], engine=status["engine"], problem=status["problem"], versions=infos)

    @api.post("/v1/versions/switch", responses={
        **refused, 400: problem("Not readable"), 404: problem("No such version"), 409: problem("It cannot run here"),
        422: problem("Not understood"),
    })  # fmt: skip
    def switch(wanted: Switch) -> Switched:
        """Test an installed version on this machine and switch to it. No request is dropped."""
        if app.store is None:
            raise Problem(409, "a single bundle is served", "server", "serve a store: edge-runtime update STORE BUNDLE")
        if not app.store.has(wanted.version):
            raise Problem(404, "this version is not installed", "version", "see GET /v1/versions")
        try:
            done = app.store.switch(wanted.version, force=wanted.force)
        except EdgeError as error:
            raise Problem(409, error.what, os.path.basename(error.where), error.fix) from error
        app.model.refresh()
        return Switched(**vars(done))

    @api.post("/v1/labels", responses={
        **refused, 400: problem("Not readable"), 409: problem("No monitor"), 422: problem("No such id or class"),
    })  # fmt: skip
    def label(given: Label) -> Probe:
        """Say what a prediction should have been; its `id` stands in the answer. Accuracy then shows in /metrics."""
        if app.monitor is None:
            raise Problem(409, "predictions are not monitored", "server", "start it with --monitor FILE")
        try:
            app.monitor.label(given.id, given.label)
        except EdgeError as error:
            raise of_edge_error(error) from error
        return Probe(ok=True)

    @api.exception_handler(Problem)
    async def on_problem(_: Request, error: Problem) -> Response:
        return _response(error)

    @api.exception_handler(RequestValidationError)
    async def on_invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])[:200]
        status = 400 if first["type"] == "json_invalid" else 422
        return _response(Problem(status, str(first["msg"])[:300], where, "see /openapi.json"))

    @api.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> Response:
        fix = "see /openapi.json for what there is"
        response = _response(Problem(error.status_code, str(error.detail), request.url.path[:200], fix))
        response.headers.update(error.headers or {})
        return response

    @api.exception_handler(Exception)
    async def on_error(request: Request, _: Exception) -> Response:
        fix = "the server's log says why"
        return _response(Problem(500, "the server failed", request.url.path[:200], fix))

    def described() -> dict[str, Any]:
        if api.openapi_schema is None:
            doc = get_openapi(title=api.title, version=api.version, routes=api.routes)
            doc["paths"] = {**predicting_paths(app.model.model.manifest), **doc["paths"]}
            doc["components"]["schemas"]["Problem"] = PROBLEM
            if app.settings.tokens:
                doc["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
                doc["security"] = [{"token": []}]
            api.openapi_schema = doc
        return api.openapi_schema

    api.openapi = described  # type: ignore[method-assign]
    return api


def _size(app: App) -> int:
    return sum(info.size_bytes for info in app.model.model.manifest.files.values())


def _probe(ok: bool) -> Any:
    if ok:
        return Probe(ok=True)
    raise Problem(503, "the model's thread is dead or stuck", "server", "restart it; its log says why", retry_s=5)


def _response(refused: Problem) -> Response:
    headers = {k.decode(): v.decode() for k, v in refused.headers()}
    return Response(refused.content(), refused.status, headers, "application/problem+json")
