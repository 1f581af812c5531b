"""What an exported file says about examples, through the very runtime that ships."""

from pathlib import Path

import edge_runtime
import numpy as np
from edge_runtime.errors import EdgeError
from numpy.typing import NDArray

from compress.errors import ModelError

BLOCK = 512  # examples at a time, so that memory does not grow with the data


def logits_of(
    bundle: str | Path, x: NDArray[np.generic], *, threads: int = 1, engine: str | None = None
) -> NDArray[np.float32]:
    """Logits (n, classes) of raw examples (n, ...). Preprocessing is the bundle's own.

    ONNX files run in batches, TFLite files one example at a time: edge_runtime knows which.

    Raises:
        ModelError: the bundle is damaged, its engine is missing or fails, or the examples do not fit, in
            edge_runtime's words; or logits are not finite.
    """
    if not len(x):
        raise ModelError("there are no examples to run", str(bundle), "give a split that is not empty")
    try:
        with edge_runtime.load(bundle, threads=threads, engine=engine) as model:
            parts = [model.logits(x[i : i + BLOCK]) for i in range(0, len(x), BLOCK)]
    except EdgeError as error:
        where = error.where if str(bundle) in error.where else f"{bundle}, {error.where}"
        raise ModelError(error.what, where, error.fix) from error
    logits = np.concatenate(parts)
    if bad := int((~np.isfinite(logits)).any(axis=1).sum()):
        what = f"logits of {bad} of {len(x)} examples are not finite"
        raise ModelError(what, str(bundle), "look for a layer that overflows: a scale of zero, or a float16 range")
    return logits
