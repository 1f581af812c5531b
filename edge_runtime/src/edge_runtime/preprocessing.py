"""From a raw example to a model input, by numbers that the bundle carries. Shared by training and the device."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime._affine import (
    checked_array,
    number_problems,
    read_keys,
    refuse,
    settle,
    settle_arrays,
    size_problems,
    standardize,
)
from edge_runtime.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

KINDS = ("image", "vector")
_LIMITS = {"image": {"height": 16384, "width": 16384, "channels": 4096}, "vector": {"length": 1 << 24}}
_RESIZE_BLOCK = 1 << 22  # raw values resized at a time: bounds the memory that a large batch needs
_KEYS = {
    "image": ("kind", "height", "width", "channels", "scale", "mean", "std"),
    "vector": ("kind", "length", "scale", "mean", "std"),
}


@dataclass(frozen=True)
class Preprocessing:
    """What happens to raw examples: resize (images only), then `(x * scale - mean) / std`, channel first, float32.

    kind: "image" takes raw (n, h, w) for one channel or (n, h, w, channels); "vector" takes raw (n, length).
    height, width, channels: of the model input, for images. length: for vectors.
    scale: multiplies raw values, for example 1/255.
    mean, std: after scaling; one value for all, or one per channel (image) or per element (vector). std > 0.

    Images of another size are resized bilinearly with half-pixel centres and without antialiasing (as ONNX Resize,
    mode linear, coordinate mode half_pixel), in raw units. Every operation is an elementwise float32 one in a fixed
    order, so that the same raw bytes give the same bits on every machine.

    Raises:
        BundleError: the numbers themselves make no sense.

    >>> p = Preprocessing("image", height=1, width=2, channels=1, scale=0.5, mean=(1.0,), std=(2.0,))
    >>> p(np.array([[[2, 6]]], np.uint8)).tolist()
    [[[[0.0, 1.0]]]]
    """

    kind: str
    height: int | None = None
    width: int | None = None
    channels: int | None = None
    length: int | None = None
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    _mean: NDArray[np.float32] = field(init=False, repr=False, compare=False)
    _std: NDArray[np.float32] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        settle(self, ("height", "width", "channels", "length", "scale", "mean", "std"))
        refuse(self._problems())
        settle_arrays(self, (-1, 1, 1) if self.kind == "image" else (-1,))

    def _problems(self) -> list[str]:
        if self.kind not in KINDS:
            return [f"kind is {self.kind!r}, known are {', '.join(KINDS)}"]
        limits = _LIMITS[self.kind]
        names = [name for name in ("height", "width", "channels", "length") if name not in limits]
        strange = [f"{n} does not belong to kind {self.kind!r}" for n in names if getattr(self, n) is not None]
        width = self.channels if self.kind == "image" else self.length
        return strange + size_problems(self, limits) + number_problems(self, width)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of one model input without the batch: (channels, height, width) or (length,)."""
        if self.kind == "image":
            return (self.channels or 0, self.height or 0, self.width or 0)  # never 0: __post_init__ has looked
        return (self.length or 0,)

    @property
    def example_ranks(self) -> tuple[int, ...]:
        """How many dimensions one raw example may have."""
        if self.kind == "image":
            return (2, 3) if self.channels == 1 else (3,)
        return (1,)

    def __call__(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        """Model inputs (n, *output_shape), float32 and C-contiguous, of raw examples (n, ...); `raw` stays as it is.

        Raises:
            InputError: wrong rank, number of channels, length or dtype; no examples; NaN, infinite or too large values.
        """
        x = self._checked(raw)
        if self.kind == "image":
            x = x.reshape(*x.shape[:3], -1)
            if x.shape[1:3] != (self.height, self.width):
                with np.errstate(all="ignore"):  # what overflows is refused below
                    x = _resize(x, self.output_shape[1], self.output_shape[2])
            x = x.transpose(0, 3, 1, 2)
        return standardize(self, raw, x)

    def _checked(self, raw: NDArray[Any]) -> NDArray[Any]:
        checked_array(raw)
        if raw.ndim - 1 not in self.example_ranks or not self._fits(raw.shape[1:]):
            fix = f"this model takes {self.describe()}"
            raise InputError(f"examples of shape {raw.shape[1:]}", "input", fix)
        return raw

    def _fits(self, shape: tuple[int, ...]) -> bool:
        if self.kind == "vector":
            return shape == (self.length,)
        return len(shape) == 2 or shape[2] == self.channels

    def describe(self) -> str:
        """What one raw example must look like, in a reader's words."""
        if self.kind == "vector":
            return f"({self.length},) vectors"
        shape = "(height, width) or (height, width, 1)" if self.channels == 1 else f"(height, width, {self.channels})"
        return f"{shape} images of any size, resized to {self.height} x {self.width}"

    def to_json(self) -> dict[str, Any]:
        """Plain data, the inverse of from_json."""
        doc = {key: getattr(self, key) for key in _KEYS[self.kind]}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in doc.items()}

    @staticmethod
    def from_json(doc: Any) -> Preprocessing:
        """Rebuild from to_json's data.

        Raises:
            BundleError: a key is unknown or missing, or a value has the wrong type or range.
        """
        kind = doc.get("kind") if isinstance(doc, dict) else None
        if not isinstance(kind, str) or kind not in KINDS:
            refuse([f"kind is {ascii(kind)[:40]}, known are {', '.join(KINDS)}"])
        return Preprocessing(**read_keys(doc, _KEYS[str(kind)]))


def _resize(x: NDArray[Any], height: int, width: int) -> NDArray[np.float32]:
    """Bilinear resize of (n, h, w, c) to (n, height, width, c), a block of examples at a time."""
    rows, columns = _taps(x.shape[1], height), _taps(x.shape[2], width)
    out = np.empty((len(x), height, width, x.shape[3]), np.float32)
    block = max(1, _RESIZE_BLOCK // max(1, x[0].size))
    for start in range(0, len(x), block):
        part = _mix(x[start : start + block].astype(np.float32), *rows, axis=1)
        out[start : start + block] = _mix(part, *columns, axis=2)
    return out


@functools.lru_cache(maxsize=16)  # an app's images mostly have one size
def _taps(size: int, new_size: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """For each new pixel its two neighbours and the second one's weight; half-pixel centres, edges repeated."""
    centre = np.clip((np.arange(new_size) + 0.5) * (size / new_size) - 0.5, 0.0, size - 1.0)
    low = np.floor(centre).astype(np.intp)
    taps = low, np.minimum(low + 1, size - 1), (centre - low).astype(np.float32)
    for array in taps:
        array.flags.writeable = False
    return taps


def _mix(
    x: NDArray[np.float32], low: NDArray[np.intp], high: NDArray[np.intp], weight: NDArray[np.float32], *, axis: int
) -> NDArray[np.float32]:
    weight = weight.reshape([-1 if i == axis else 1 for i in range(4)])
    first = x.take(low, axis=axis)
    first *= np.float32(1) - weight
    second = x.take(high, axis=axis)
    second *= weight
    first += second
    return first
