"""`edge-runtime check`."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from edge_runtime.commands._shared import Answer, add_bundle, add_engine, aligned, open_model
from edge_runtime.errors import EngineError
from edge_runtime.files import verify_files
from edge_runtime.manifest import read_manifest

HELP = "compare all checksums and run the self-test on this device"


def arguments(parser: argparse.ArgumentParser) -> None:
    """BUNDLE, --engine, --threads and --trusted-key."""
    add_bundle(parser)
    add_engine(parser)


def run(options: argparse.Namespace) -> Answer:
    """Every model whose engine is installed; exit code 1 if one answers otherwise than where it was made."""
    manifest = read_manifest(options.bundle, trusted_keys=options.trusted_keys)
    verify_files(options.bundle, manifest.files)
    answer: dict[str, Any] = {
        "bundle": manifest.name,
        "files_ok": True,
        "signed": bool(options.trusted_keys),
        "models": {},
    }
    signed = " and signed by a trusted key" if options.trusted_keys else ""
    rows = [("files", f"{len(manifest.files)} checksums are right{signed}")]
    for format in [options.engine] if options.engine else [m.format for m in manifest.models]:
        try:
            with open_model(options, format) as model:
                report, engine = model.check(), model.engine
        except EngineError as error:
            if options.engine or not isinstance(error.__cause__, ImportError):
                raise
            rows.append((format, f"not run: {error.what}"))
            answer["models"][format] = {"ok": None, "message": error.what}
            continue
        rows.append((format, f"{report.message} [{engine}]"))
        answer["models"][format] = {**asdict(report), "engine": engine}
    outcomes = [m["ok"] for m in answer["models"].values()]
    if all(ok is None for ok in outcomes):
        fixes = " or ".join(f"edge-runtime[{m.format}]" for m in manifest.models)
        raise EngineError("no engine of this bundle is installed", str(options.bundle), f"pip install {fixes}")
    answer["ok"] = False not in outcomes
    return answer, aligned(rows), 0 if answer["ok"] else 1
