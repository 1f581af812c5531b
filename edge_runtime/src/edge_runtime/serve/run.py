"""Open what is to be served, bind the address, run until SIGTERM, drain, end."""

from __future__ import annotations

import logging
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_runtime.model import load
from edge_runtime.quiet import without_engine_notice
from edge_runtime.serve.settings import ServeError, Settings, is_loopback

if TYPE_CHECKING:
    import os

    from edge_runtime.monitor import Monitor
    from edge_runtime.serve.service import Servable
    from edge_runtime.store import Store

_KEEP_ALIVE_S, _BACKLOG = 30, 1024


def open_model(folder: Path, watch: Watch | None = None, **how: Any) -> tuple[Servable, Store | None, Monitor | None]:
    """A bundle, or a store's current version, its store, and the monitor that watches it; `how` as edge_runtime.load.

    Raises:
        EdgeError: there is neither, or it cannot be loaded.
    """
    from edge_runtime.serve.service import OneBundle
    from edge_runtime.store import Store
    from edge_runtime.store.state import FILE_NAME

    if (folder / FILE_NAME).is_file():
        store = Store(folder)
        current = store.state().current
        monitor = _monitor(store.path(current), watch) if watch and current else None
        return store.open(refresh_s=None, monitor=monitor, **how), store, monitor
    monitor = _monitor(folder, watch) if watch else None
    return OneBundle(load(folder, monitor=monitor, **how)), None, monitor


def _monitor(reference: Path, watch: Watch) -> Monitor:
    from edge_runtime.monitor import Monitor

    return Monitor(reference, watch.path, keep=watch.keep)


@dataclass(frozen=True)
class Watch:
    """Where a monitor writes, and what it keeps of inputs worth labelling (as Monitor's `keep`)."""

    path: Path
    keep: str = "off"


def serve(
    folder: str | os.PathLike[str],
    settings: Settings,
    *,
    watch: Watch | None = None,
    access_log: bool = False,
    **how: Any,
) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered first. `how`: as edge_runtime.load.

    Raises:
        EdgeError: the model cannot be loaded, the address is taken, or a package is missing.
    """
    try:
        import uvicorn

        from edge_runtime.serve.app import App
        from edge_runtime.serve.connection import limited
    except ImportError as error:
        raise ServeError(f"a package is missing: {error.name}", "serve", "pip install edge-runtime[serve]") from error
    with without_engine_notice():
        model, store, monitor = open_model(Path(folder), watch, **how)
    app = App(model, settings, store=store, monitor=monitor)
    sock = _bound(settings)
    config = uvicorn.Config(
        app,
        loop="asyncio",  # uvloop is no faster here, and keeps the socket of a connection that was aborted while full
        http=limited(settings.request_timeout_s, settings.request_timeout_s, settings.max_connections),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=access_log,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(int(settings.drain_s), 1),
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
    )
    logging.basicConfig(level=logging.INFO if access_log else logging.WARNING, format="%(levelname)s %(message)s")
    server = uvicorn.Server(config)

    def stop(*_: Any) -> None:
        server.should_exit = True

    for number in (
        signal.SIGTERM,
        signal.SIGINT,
    ):  # until uvicorn hears them; at its end it raises them again
        signal.signal(number, stop)
    scheme = "https" if settings.tls_certificate else "http"
    host, port = sock.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    lines = [f"serving {model.version} ({model.status()['engine']}) on {scheme}://{shown}:{port}",
             f"batches of up to {app.batch_size} examples; "
             f"{'a token is needed' if settings.tokens else 'no token is needed'}"]  # fmt: skip
    if settings.tokens and not settings.tls_certificate and not is_loopback(settings.host):
        lines.append("warning: without TLS the token can be read on the way; give --tls-cert, or put a proxy in front")
    print("\n".join(lines), file=sys.stderr, flush=True)
    server.run(sockets=[sock])


def _bound(settings: Settings) -> socket.socket:
    """The listening socket.

    Raises:
        ServeError: the address is taken, unknown or not allowed.
    """
    where = f"{settings.host}:{settings.port}"
    sock = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host.strip("[]"), settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)  # from here on clients wait instead of being refused
    except OSError as error:
        if sock is not None:
            sock.close()
        fix = "choose another --host or --port"
        raise ServeError(f"cannot listen: {error.strerror or error}", where, fix) from error
    sock.setblocking(False)
    return sock
