"""`edge-runtime serve BUNDLE|STORE`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.commands._shared import Answer, add_engine

if TYPE_CHECKING:
    import argparse

HELP = "serve a bundle, or the current version of a store, over HTTP"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The model, the address, the door and the limits."""
    add = parser.add_argument
    add("folder", type=Path, metavar="BUNDLE|STORE", help="the folder of a bundle or of a store")
    add_engine(parser)
    add("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1, this machine alone)")
    add("--port", type=int, default=8000, help="port (default 8000; 0 takes a free one)")
    add("--token-file", type=Path, metavar="FILE", help="tokens, one a line; else EDGE_RUNTIME_TOKEN")
    add("--no-token", action="store_true", help="serve anybody, also off this machine")
    add("--tls-cert", type=Path, metavar="PEM", help="certificate, with --tls-key")
    add("--tls-key", type=Path, metavar="PEM", help="its key")
    add("--max-body-mb", type=float, default=8, metavar="MB", help="largest request body (default 8)")
    add("--max-queue", type=int, default=512, metavar="N", help="examples that may wait (default 512; more: 503)")
    add("--max-per-client", type=int, default=256, metavar="N", help="requests of one address at a time (default 256)")
    add("--max-connections", type=int, default=1024, metavar="N", help="open connections (default 1024)")
    add("--request-timeout", type=float, default=30, metavar="S", help="for a whole request (default 30)")
    add("--batch-latency", type=float, default=50, metavar="MS", help="longest a batch may take (default 50)")
    add("--batch-wait", type=float, default=0, metavar="MS", help="how long a batch may wait to fill up (default 0)")
    add("--drain", type=float, default=30, metavar="S", help="to answer what is under way on SIGTERM (default 30)")
    add("--monitor", type=Path, metavar="FILE", help="watch for drift; figures go to this SQLite file and to /metrics")
    what = "what the monitor keeps of inputs worth labelling (default off)"
    add("--keep", choices=("off", "features", "raw"), default="off", help=what)
    add("--access-log", action="store_true", help="a line on stderr for each request")


def run(options: argparse.Namespace) -> Answer:
    """Serve until SIGTERM or Ctrl-C."""
    from edge_runtime.serve.run import Watch, serve
    from edge_runtime.serve.settings import Settings, read_tokens

    settings = Settings(
        host=options.host,
        port=options.port,
        tokens=() if options.no_token else read_tokens(options.token_file),
        open_door=options.no_token,
        tls_certificate=options.tls_cert,
        tls_key=options.tls_key,
        max_body_bytes=int(options.max_body_mb * (1 << 20)),
        max_queue=options.max_queue,
        max_per_client=options.max_per_client,
        max_connections=options.max_connections,
        request_timeout_s=options.request_timeout,
        batch_latency_ms=options.batch_latency,
        batch_wait_ms=options.batch_wait,
        drain_s=options.drain,
    )
    how = {"engine": options.engine, "threads": options.threads, "trusted_keys": options.trusted_keys}
    watch = Watch(options.monitor, options.keep) if options.monitor else None
    serve(options.folder, settings, watch=watch, access_log=options.access_log, **how)
    return None, [], 0
