"""The examples behind the numbers: those whose answer changed, worst first, each with something to look at."""

import base64
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.comparison import Flip
from compress.evaluate.calibration import softmax
from compress.evaluate.metrics import Labels, Logits

MOST = 24  # flips of each kind that are kept
LARGEST_SIDE = 96  # pixels of a picture: beyond, every k-th pixel
LONGEST_TEXT = 400
TRACE_POINTS = 120


def flips(before: Logits, after: Logits, y: Labels, examples: Any, classes: Sequence[str]) -> tuple[Flip, ...]:
    """Examples whose answer changed: lost ones first, then changed, then gained; each by how much the truth fell.

    Shapes: both logits (n, classes), y (n,); examples: n raw ones, images (n, h, w[, c]), windows (n, length,
    channels), vectors (n, length) or texts.
    """
    p, q = softmax(before), softmax(after)
    a, b, rows = p.argmax(axis=1), q.argmax(axis=1), np.arange(len(y))
    drop = p[rows, y] - q[rows, y]
    kinds = {"lost": (a == y) & (b != y), "changed": (a != y) & (b != y) & (a != b), "gained": (a != y) & (b == y)}
    out = []
    for kind, members in kinds.items():
        found = np.flatnonzero(members)
        found = found[np.argsort(-np.abs(drop[found]), kind="stable")][:MOST]
        for i in found.tolist():
            flip = Flip(
                index=i,
                kind=kind,
                truth=classes[int(y[i])],
                before=classes[int(a[i])],
                after=classes[int(b[i])],
                before_confidence=min(1.0, float(p[i, a[i]])),
                after_confidence=min(1.0, float(q[i, b[i]])),
                truth_drop=float(drop[i]),
                **_shown(examples[i]),
            )
            out.append(flip)
    return tuple(out)


def _shown(example: Any) -> dict[str, Any]:
    """The example as a report can show it: a picture, a text or a trace; nothing for what has no such form."""
    if isinstance(example, str):
        return {"text": example if len(example) <= LONGEST_TEXT else example[: LONGEST_TEXT - 1] + "…"}
    array = np.asarray(example)
    if array.ndim == 2 and array.shape[1] <= 16 < array.shape[0]:  # (length, channels): a sensor window
        return {"trace": _trace(array.T)}
    if array.ndim == 1 and array.size > 1:
        return {"trace": _trace(array[None])}
    if array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4)):
        return {"picture": png_uri(array)}
    return {}


def _trace(channels: NDArray[Any]) -> tuple[tuple[float, ...], ...]:
    step = max(1, -(-channels.shape[1] // TRACE_POINTS))
    return tuple(tuple(float(f"{v:.4g}") for v in row[::step].tolist()) for row in channels[:6])


def png_uri(image: NDArray[Any]) -> str:
    """An image (h, w) or (h, w, 1|3|4) as a `data:` URI of an 8-bit PNG; floats are stretched from least to most.

    Large ones keep every k-th pixel. Own writer: forty lines of container around zlib, where Pillow would become a
    dependency of every run. Source: PNG specification, third edition (W3C 2025), chapters 5 and 11.
    """
    array = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    step = max(1, -(-max(array.shape[:2]) // LARGEST_SIDE))
    array = array[::step, ::step]
    if array.dtype != np.uint8:
        values = array.astype(np.float64)
        low, high = float(values.min()), float(values.max())
        array = np.round((values - low) * (255 / (high - low) if high > low else 0.0)).astype(np.uint8)
    colour = {2: 0}.get(array.ndim, {3: 2, 4: 6}.get(array.shape[-1], 2))
    height, width = array.shape[:2]
    lines = np.ascontiguousarray(array).reshape(height, -1)
    raw = np.concatenate([np.zeros((height, 1), np.uint8), lines], axis=1).tobytes()  # filter type 0 before each line
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    data = (
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(raw, 9)) + _chunk(b"IEND", b"")
    )
    return "data:image/png;base64," + base64.b64encode(data).decode()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
