"""Checkpoint folder: model.json (the graph), weights.safetensors, metrics.json. Never a pickle, no torch needed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.errors import ModelError
from compress.model.graph import Graph
from compress.model.model import Model

FORMAT, VERSION = "compress.checkpoint", 1


def save_checkpoint(folder: Path, model: Model, metrics: Mapping[str, Any] | None = None) -> None:
    """Write a model into a folder, which is made if needed. The bytes depend on the content alone."""
    from safetensors.numpy import save

    folder.mkdir(parents=True, exist_ok=True)
    doc = {"format": FORMAT, "version": VERSION, "digest": model.digest(), "graph": model.graph.to_json()}
    (folder / "weights.safetensors").write_bytes(save({k: model.weights[k] for k in sorted(model.weights)}))
    (folder / "metrics.json").write_text(json.dumps(dict(metrics or {}), indent=1, sort_keys=True) + "\n")
    (folder / "model.json").write_text(json.dumps(doc, indent=1, sort_keys=True) + "\n")


def load_checkpoint(folder: Path) -> Model:
    """Read a model back and check that it is the one that was saved.

    Raises:
        ModelError: a file is missing, damaged, of a newer version, or graph and weights do not belong together.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    where, fix = str(folder), "make the checkpoint again, or restore it from where it came"
    if missing := [n for n in ("model.json", "weights.safetensors") if not (folder / n).exists()]:
        raise ModelError(f"{' and '.join(missing)} missing", where, fix)
    try:
        doc = json.loads((folder / "model.json").read_text())
        weights = load_file(folder / "weights.safetensors")
    except (SafetensorError, ValueError, OSError) as error:
        raise ModelError(f"it cannot be read: {error}", where, fix) from error
    if not isinstance(doc, dict) or doc.get("format") != FORMAT:
        raise ModelError("model.json is no compress checkpoint", where, fix)
    if doc.get("version") != VERSION:
        raise ModelError(
            f"format version {doc.get('version')!r}, this compress reads {VERSION}", where, "upgrade compress"
        )
    try:
        model = Model(Graph.from_json(doc.get("graph", {})), weights)
    except ModelError as error:
        raise ModelError(error.what, f"{where}: {error.where}", error.fix) from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError) as error:
        raise ModelError(f"model.json holds a malformed graph: {error!r}", where, fix) from error
    if model.digest() != doc.get("digest"):
        raise ModelError("its content does not match its digest", where, fix)
    return model
