"""Run as a script, under an emulator or not: a bundle's logits for given examples. edge_runtime and numpy only.

    python worker.py logits BUNDLE FORMAT EXAMPLES.npz OUT.npz
    python worker.py tensors MODEL.onnx FEED.npz OUT.npz       (every graph output, named o0, o1, ...)

Prints one JSON line: the engine.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

BLOCK = 64


def logits(bundle: str, form: str, examples: str, out: str) -> str:
    """Write `logits` (n, classes); the engine's name."""
    import edge_runtime
    from edge_runtime.reference import unpack_inputs

    with edge_runtime.load(bundle, engine=form, threads=1) as model:
        with np.load(examples, allow_pickle=False) as archive:
            inputs: Any = unpack_inputs(model.manifest, dict(archive))
        parts = [model.logits(inputs[i : i + BLOCK]) for i in range(0, len(inputs), BLOCK)]
        np.savez(out, logits=np.concatenate(parts))
        return model.engine


def tensors(model: str, feed: str, out: str) -> str:
    """Write what each of a graph's outputs holds; the engine's name."""
    from edge_runtime._onnx import import_onnxruntime

    runtime = import_onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = runtime.InferenceSession(Path(model).read_bytes(), options, providers=["CPUExecutionProvider"])
    with np.load(feed, allow_pickle=False) as archive:
        found = session.run(None, dict(archive))
    np.savez(out, **{f"o{i}": value for i, value in enumerate(found)})
    return f"onnxruntime {runtime.__version__}"


if __name__ == "__main__":
    what, *paths = sys.argv[1:]
    print(json.dumps({"engine": logits(*paths) if what == "logits" else tensors(*paths)}))
