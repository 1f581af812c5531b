"""`edge-runtime update STORE SOURCE`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_runtime.commands._shared import Answer

if TYPE_CHECKING:
    import argparse

HELP = "install a bundle in a store, test it on this device, and switch to it"


def arguments(parser: argparse.ArgumentParser) -> None:
    """STORE, SOURCE, and how far the new version is trusted."""
    add = parser.add_argument
    add("store", type=Path, metavar="STORE", help="the store's folder; made where there is none")
    add("source", metavar="SOURCE", help="a bundle folder, its http(s) URL, or a version that is installed")
    how = "shadow and canary run it beside the current version (default current)"
    add("--as", dest="mode", choices=("current", "shadow", "canary"), default="current", help=how)
    add("--share", type=float, default=0.1, metavar="S", help="of the calls, for shadow and canary (default 0.1)")
    add("--engine", choices=("onnx", "tflite"), help="to test with; default: every one that is installed")
    add("--trial-calls", type=int, default=200, metavar="N", help="length of the trial that follows (default 200)")
    add("--max-errors", type=int, default=0, metavar="N", help="tolerated in the trial (default 0)")
    add("--max-latency-ms", type=float, metavar="MS", help="median allowed in the trial (default: no limit)")
    add("--keep", type=int, default=3, metavar="K", help="accepted versions to keep (default 3)")
    add("--max-size-mb", type=int, default=1024, metavar="MB", help="largest bundle (default 1024)")
    add("--token-file", type=Path, metavar="FILE", help="sent to the server as Authorization: Bearer")
    add("--wait", type=float, default=0.0, metavar="S", help="for another update that is under way (default 0)")
    key_help = "public key (.pub file) that must have signed the bundle; may be given several times"
    add("--trusted-key", action="append", dest="trusted_keys", metavar="FILE", help=key_help)
    add("--force", action="store_true", help="also a version that was rejected before")


def run(options: argparse.Namespace) -> Answer:
    """Do it; what ran before still runs where it fails."""
    from edge_runtime.store import Limits, Store
    from edge_runtime.store.sources import read_token

    limits = Limits(options.trial_calls, options.max_errors, options.max_latency_ms)
    how: dict[str, Any] = {"mode": options.mode, "share": options.share, "limits": limits, "engine": options.engine}
    how.update(force=options.force, trusted_keys=options.trusted_keys)
    token = read_token(options.token_file) if options.token_file else None
    store = Store.create(options.store)
    if store.has(options.source):
        done = store.switch(options.source, **how)
    else:
        how.update(keep=options.keep, max_size_bytes=options.max_size_mb << 20, wait_s=options.wait)
        done = store.update(options.source, token=token, **how)
    return asdict(done), [done.message], 0
