"""Everything but the predicting paths, by FastAPI: probes, metrics, versions, labels; and errors as problems."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException

from edge_runtime import __version__
from edge_runtime.errors import EdgeError
from edge_runtime.serve.metrics import CONTENT_TYPE
from edge_runtime.serve.openapi import PROBLEM, predicting_paths, problem, refusals
from edge_runtime.serve.problems import Problem, of_edge_error
from edge_runtime.serve.schemas import Label, Probe, Switch, Switched, VersionInfo, Versions

if TYPE_CHECKING:
    from edge_runtime.serve.app import App

_REFUSED: dict[Any, Any] = {int(k): v for k, v in refusals(401, 403, 413).items()}


def make_api(app: App) -> FastAPI:
    """The paths, and what /openapi.json says of all. No /docs page: it would load scripts from elsewhere."""
    api = FastAPI(title="edge-runtime", version=__version__, lifespan=app.lifespan, docs_url=None, redoc_url=None)
    _probes(api, app)
    _versions(api, app)
    _labels(api, app)
    _problems(api)
    api.openapi = lambda: _described(api, app)  # type: ignore[method-assign]
    return api


def response_of(refused: Problem) -> Response:
    """A refusal as it is sent."""
    headers = {k.decode(): v.decode() for k, v in refused.headers()}
    return Response(refused.content(), refused.status, headers, "application/problem+json")


def _probes(api: FastAPI, app: App) -> None:
    def probe() -> Probe:
        if app.healthy():
            return Probe(ok=True)
        raise Problem(503, "the model's thread is dead or stuck", "server", "restart it; its log says why", retry_s=5)

    @api.get("/health", response_model=Probe, responses={503: problem("The model's thread is dead or stuck")})
    def health() -> Any:
        """Is the process in order? For liveness probes; needs no token."""
        return probe()

    @api.get("/ready", response_model=Probe, responses={503: problem("Not ready to answer")})
    def ready() -> Any:
        """Can it answer? For load balancers; needs no token."""
        return probe()

    @api.get("/metrics", response_class=Response, responses={**_REFUSED, 200: {"content": {CONTENT_TYPE: {}}}})
    def metrics() -> Response:
        """Prometheus metrics."""
        return Response(app.metrics.text(app.model.version), media_type=CONTENT_TYPE)


def _versions(api: FastAPI, app: App) -> None:
    @api.get("/v1/versions", responses=_REFUSED)
    def versions() -> Versions:
        """What runs, and what else is installed."""
        status = app.model.status()
        known = app.store.versions() if app.store is not None else []
        infos = [VersionInfo(**vars(v)) for v in known] or [
            VersionInfo(version=status["version"], state="current", size_bytes=_size(app), note="")
        ]
        return Versions(version=status["version"], engine=status["engine"], problem=status["problem"], versions=infos)

    @api.post("/v1/versions/switch", responses={
        **_REFUSED, 400: problem("Not readable"), 404: problem("No such version"), 409: problem("It cannot run here"),
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


def _labels(api: FastAPI, app: App) -> None:
    @api.post("/v1/labels", responses={
        **_REFUSED, 400: problem("Not readable"), 409: problem("No monitor"), 422: problem("No such id or class"),
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


def _problems(api: FastAPI) -> None:
    @api.exception_handler(Problem)
    async def on_problem(_: Request, error: Problem) -> Response:
        return response_of(error)

    @api.exception_handler(RequestValidationError)
    async def on_invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])[:200]
        status = 400 if first["type"] == "json_invalid" else 422
        return response_of(Problem(status, str(first["msg"])[:300], where, "see /openapi.json"))

    @api.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> Response:
        fix = "see /openapi.json for what there is"
        response = response_of(Problem(error.status_code, str(error.detail), request.url.path[:200], fix))
        response.headers.update(error.headers or {})
        return response

    @api.exception_handler(Exception)
    async def on_error(request: Request, _: Exception) -> Response:
        fix = "the server's log says why"
        return response_of(Problem(500, "the server failed", request.url.path[:200], fix))


def _described(api: FastAPI, app: App) -> dict[str, Any]:
    if api.openapi_schema is None:
        doc = get_openapi(title=api.title, version=api.version, routes=api.routes)
        doc["paths"] = {**predicting_paths(app.model.model.manifest), **doc["paths"]}
        doc["components"]["schemas"]["Problem"] = PROBLEM
        if app.settings.tokens:
            doc["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            doc["security"] = [{"token": []}]
        api.openapi_schema = doc
    return api.openapi_schema


def _size(app: App) -> int:
    return sum(info.size_bytes for info in app.model.model.manifest.files.values())
