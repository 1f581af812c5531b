"""From a raw example to a model input, by numbers that the bundle carries. Shared by training and the device."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime._fields import Fields, is_number
from edge_runtime.errors import BundleError, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

KINDS = ("image", "vector")
_LARGEST_SIDE = 16384
_LONGEST_VECTOR = 1 << 24
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
        for name in ("height", "width", "channels", "length", "scale", "mean", "std"):
            object.__setattr__(self, name, _plain(getattr(self, name)))
        if is_number(self.scale):
            object.__setattr__(self, "scale", float(self.scale))
        if problems := self._problems():
            raise BundleError("; ".join(problems), "preprocessing", "correct these values and write the bundle again")
        shape = (-1, 1, 1) if self.kind == "image" else (-1,)
        for name in ("mean", "std"):  # equality and JSON want floats, the arithmetic wants broadcastable float32
            values = tuple(float(v) for v in getattr(self, name))
            object.__setattr__(self, name, values)
            object.__setattr__(self, f"_{name}", np.array(values, np.float32).reshape(shape))

    def _problems(self) -> list[str]:
        if self.kind not in KINDS:
            return [f"kind is {self.kind!r}, known are {', '.join(KINDS)}"]
        image = self.kind == "image"
        limits = {"height": _LARGEST_SIDE, "width": _LARGEST_SIDE, "channels": 4096} if image else {}
        limits = limits or {"length": _LONGEST_VECTOR}
        out = []
        for name in ("height", "width", "channels", "length"):
            value = getattr(self, name)
            if name not in limits and value is not None:
                out.append(f"{name} does not belong to kind {self.kind!r}")
            elif name in limits and (type(value) is not int or not 1 <= value <= limits[name]):
                out.append(f"{name} is {value!r}, want a whole number from 1 to {limits[name]}")
        if not is_number(self.scale) or not 1e-38 < abs(self.scale) < 3e38:
            out.append(f"scale is {self.scale!r}, want a number other than 0 that float32 can hold")
        width = self.channels if image else self.length
        for name in ("mean", "std"):
            values = getattr(self, name)
            if not isinstance(values, tuple) or len(values) not in (1, width):
                out.append(f"{name} holds {_count(values)}, want 1 or {width}")
            elif not all(is_number(v) and abs(v) < 3e38 for v in values):
                out.append(f"{name} holds a value that is not a float32 number")
            elif name == "std" and not all(np.float32(v) > 0 for v in values):
                out.append("std holds a value that is not positive")
        return out

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
        with np.errstate(all="ignore"):  # what overflows is refused below; the host's own settings do not matter
            if self.kind == "image":
                x = x.reshape(*x.shape[:3], -1)
                if x.shape[1:3] != (self.height, self.width):
                    x = _resize(x, self.output_shape[1], self.output_shape[2])
                x = x.transpose(0, 3, 1, 2)
            out: NDArray[np.float32] = np.empty(x.shape, np.float32)
            out[...] = x
            out *= np.float32(self.scale)
            out -= self._mean
            out /= self._std
        if raw.dtype.kind == "f" and not np.isfinite(out).all():
            bad = int(np.argmin(np.isfinite(out).reshape(len(out), -1).all(axis=1)))
            what = f"example {bad} of {len(out)} holds NaN, infinite or too large values"
            raise InputError(what, "input", "drop or repair such examples before they reach the model")
        return out

    def _checked(self, raw: NDArray[Any]) -> NDArray[Any]:
        if not isinstance(raw, np.ndarray):
            raise InputError(f"got {type(raw).__name__}, not an array", "input", "pass a numpy array")
        if raw.dtype.kind not in "uif":
            fix = "pass numbers: uint8 or another integer type, or float"
            raise InputError(f"an array of dtype {raw.dtype}", "input", fix)
        if raw.size == 0:
            raise InputError(f"an empty array of shape {raw.shape}", "input", "pass at least one non-empty example")
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
        problems: list[str] = []
        kind = doc.get("kind") if isinstance(doc, dict) else None
        known = _KEYS.get(kind) if isinstance(kind, str) else None
        if known is None:
            problems.append(f"kind is {ascii(kind)[:40]}, known are {', '.join(KINDS)}")
        else:
            fields = Fields(doc, "", problems, known)
            for key in known:
                fields.has(key)
        if problems:
            raise BundleError("; ".join(problems), "preprocessing", "write the bundle again with compress")
        values: dict[str, Any] = doc
        return Preprocessing(**values)


def _plain(value: Any) -> Any:
    """Numpy numbers and lists as Python numbers and tuples; anything else as it is."""
    if isinstance(value, (list, tuple)):
        return tuple(_plain(v) for v in value)
    return value.item() if isinstance(value, (np.integer, np.floating)) else value


def _count(values: Any) -> str:
    return f"{len(values)} values" if isinstance(values, tuple) else f"{type(values).__name__}"


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
