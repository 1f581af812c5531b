"""`edge-runtime info`."""

from __future__ import annotations

import argparse

from edge_runtime.commands._shared import Answer, add_bundle, aligned
from edge_runtime.manifest import TensorInfo, read_manifest

HELP = "what a bundle holds; starts no engine"


def arguments(parser: argparse.ArgumentParser) -> None:
    """BUNDLE."""
    add_bundle(parser)


def run(options: argparse.Namespace) -> Answer:
    """Read the manifest alone."""
    manifest = read_manifest(options.bundle)
    shown = ", ".join(manifest.labels[:12]) + (", ..." if len(manifest.labels) > 12 else "")
    rows = [
        ("name", manifest.name),
        ("made by", manifest.created_by),
        ("task", manifest.task),
        ("labels", f"{len(manifest.labels)}: {shown}" if manifest.labels else "none: its outputs are given by name"),
        ("input", manifest.preprocessing.describe()),
    ]
    for model in manifest.models:
        size = f"{manifest.files[model.path].size_bytes:,} bytes"
        row = f"{model.path}, {model.precision}, {size}, input {', '.join(map(_tensor, model.inputs))}"
        if model.signatures:
            row += f", signatures for {', '.join(str(s.length) for s in model.signatures)} ids"
        if not manifest.labels:
            row += f", output {', '.join(map(_tensor, model.outputs))}"
        rows.append((model.format, row))
    test, word = manifest.self_test, "logits" if manifest.labels else "values"
    rows.append(("self-test", f"agreement {test.agreement:.1%}, {word} within {test.largest_difference:.3g}"))
    return manifest.to_json(), aligned(rows), 0


def _tensor(tensor: TensorInfo) -> str:
    shape = ", ".join("any" if d is None else str(d) for d in tensor.shape)
    return f"{tensor.dtype} [{shape}] {tensor.layout}"
