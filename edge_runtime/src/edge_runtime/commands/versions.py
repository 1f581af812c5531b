"""`edge-runtime versions STORE`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_runtime.commands._shared import Answer, aligned

if TYPE_CHECKING:
    import argparse

HELP = "what a store holds: what runs, what ran before, what was rejected and why"


def arguments(parser: argparse.ArgumentParser) -> None:
    """STORE."""
    parser.add_argument("store", type=Path, metavar="STORE", help="the store's folder")
    parser.add_argument("--history", action="store_true", help="also all that happened")


def run(options: argparse.Namespace) -> Answer:
    """Versions, and what shadow and canary runs found."""
    from edge_runtime.store import Store
    from edge_runtime.store.comparison import read_comparisons

    store = Store(options.store)
    versions, comparisons = store.versions(), read_comparisons(options.store)
    answer: dict[str, Any] = {"versions": [asdict(v) for v in versions], "comparisons": comparisons}
    rows = [(v.version, v.state, f"{v.size_bytes:,}", v.note) for v in versions]
    lines = aligned([("version", "state", "bytes", "note"), *rows])
    for c in comparisons:
        found = f", {c['disagreements']:,} disagreements, {c['skipped']:,} skipped" if c["mode"] == "shadow" else ""
        counted = f"{c['examples']:,} examples, {c['errors']:,} errors{found}"
        lines.append(f"{c['mode']} {c['beside']} beside {c['current']}: {counted}")
    if options.history:
        answer["history"] = store.history()
        lines += ["", *(f"{e.get('at')}  {e.get('event')}; current: {e.get('current')}" for e in answer["history"])]
    return answer, lines, 0
