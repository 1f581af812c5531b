"""An example as bytes to keep, and back: as the model saw it, resized, in raw units."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime.errors import BundleError
from edge_runtime.files import read_npy

if TYPE_CHECKING:
    from numpy.typing import NDArray

LONGEST_TEXT = 20_000  # characters that are kept of a text
KINDS = ("image", "window", "vector", "text")


def encode(kind: str, inputs: NDArray[Any], raw: Any, preprocessing: Any) -> bytes | None:
    """The content to keep of one example, or None where there is nothing to show a person.

    inputs: preprocessed, (...). raw: what the app gave; used for texts alone, since ids do not say what was written.
    preprocessing: of the bundle; None keeps model units.

    Images and windows are brought back to raw units, channel last, at the model's size: the app's own buffer may have
    been overwritten since, and the full frame is nobody's business.
    """
    if kind == "text":
        return raw[:LONGEST_TEXT].encode("utf-8", "replace") if isinstance(raw, str) else None
    if kind not in KINDS or not isinstance(inputs, np.ndarray):
        return None
    x = inputs
    if preprocessing is not None:
        shape = (-1, 1, 1) if x.ndim == 3 else (-1,)
        mean, std = (np.array(v, np.float32).reshape(shape) for v in (preprocessing.mean, preprocessing.std))
        x = (x * std + mean) / np.float32(preprocessing.scale)
    if kind == "image":
        x = x.transpose(1, 2, 0)
        x = x[..., 0] if x.shape[2] == 1 else x
        if preprocessing is not None and x.min() > -0.5 and x.max() < 255.5:
            x = np.rint(x).astype(np.uint8)
    elif kind == "window":
        x = x[:, 0, :].T
    body = io.BytesIO()
    np.lib.format.write_array(body, np.ascontiguousarray(x), version=(1, 0), allow_pickle=False)
    return body.getvalue()


def decode(kind: str, data: bytes) -> Any:
    """What encode kept: a str, or an array in raw units.

    Raises:
        BundleError: the bytes are damaged.
    """
    if kind == "text":
        return data.decode("utf-8", "replace")
    try:
        return read_npy(data)
    except ValueError as error:
        raise BundleError(f"a queued example is damaged: {error}", "queue", "leave it out") from error


def png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG file of pixels (h, w) or (h, w, 1 | 3 | 4), uint8, with the standard library alone (ISO/IEC 15948)."""
    height, width = pixels.shape[:2]
    channels = pixels.size // (height * width)
    colour = {1: 0, 3: 2, 4: 6}[channels]
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # a leading 0: no filter
    rows[:, 1:] = pixels.reshape(height, -1)

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
