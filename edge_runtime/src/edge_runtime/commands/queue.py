"""`edge-runtime queue`."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_runtime.commands._shared import Answer, positive

HELP = "inputs that a monitor kept for labelling"


def arguments(parser: argparse.ArgumentParser) -> None:
    """export FILE FOLDER, --most and --keep."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    export = actions.add_parser("export", help="write them to a folder for `compress label` or Label Studio")
    export.add_argument("file", type=Path, metavar="FILE", help="what the Monitor was given, e.g. monitor.sqlite")
    export.add_argument("folder", type=Path, metavar="FOLDER", help="a new folder")
    export.add_argument("--most", type=positive, metavar="N", help="only the N most telling")
    export.add_argument("--keep", action="store_true", help="leave them in the queue as well")
    export.add_argument("--json", action="store_true", help="print JSON instead of text")


def run(options: argparse.Namespace) -> Answer:
    """Write the folder, then take what it holds out of the queue."""
    from edge_runtime.monitor.store import MonitorError, Store
    from edge_runtime.queue.export import export_queue

    if not options.file.is_file():
        raise MonitorError("no such file", str(options.file), "give the path that the Monitor was given")
    store = Store(options.file)
    try:
        count = export_queue(store, options.folder, most=options.most, keep=options.keep)
    finally:
        store.close()
    answer = {"folder": str(options.folder), "items": count}
    return answer, [f"{count:,} items in {options.folder}", f"label them: compress label {options.folder}"], 0
