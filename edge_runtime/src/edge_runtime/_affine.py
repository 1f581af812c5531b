"""The numeric part that images, vectors and windows share: `(x * scale - mean) / std` in float32, and its checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime._fields import Fields, is_number
from edge_runtime.errors import BundleError, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def plain(value: Any, depth: int = 3) -> Any:
    """Numpy numbers and lists (of lists) as Python numbers and tuples; anything else as it is."""
    if isinstance(value, (list, tuple)) and depth:  # a hostile document may nest deeper than Python recurses
        return tuple(plain(v, depth - 1) for v in value)
    return value.item() if isinstance(value, (np.integer, np.floating)) else value


def settle(owner: Any, names: tuple[str, ...]) -> None:
    """Make the named fields of a frozen dataclass plain Python values, and a numeric `scale` a float."""
    for name in names:
        object.__setattr__(owner, name, plain(getattr(owner, name)))
    if is_number(owner.scale):
        object.__setattr__(owner, "scale", float(owner.scale))


def settle_arrays(owner: Any, shape: tuple[int, ...]) -> None:
    """Equality and JSON want floats; the arithmetic wants float32: `_scale`, and `_mean` and `_std` of that shape.

    `_calm`: integers of up to 16 bits can neither overflow nor underflow on their way through.
    """
    for name in ("mean", "std"):
        values = tuple(float(v) for v in getattr(owner, name))
        object.__setattr__(owner, name, values)
        object.__setattr__(owner, f"_{name}", np.array(values, np.float32).reshape(shape))
    object.__setattr__(owner, "_scale", np.float32(owner.scale))
    moderate = 1e-20 < abs(owner.scale) < 1e20 and all(v == 0 or 1e-20 < abs(v) < 1e20 for v in owner.mean)
    object.__setattr__(owner, "_calm", moderate and all(1e-6 < v < 1e6 for v in owner.std))


def standardize(owner: Any, raw: NDArray[Any], x: NDArray[Any]) -> NDArray[np.float32]:
    """`(x * scale - mean) / std` as float32, C-contiguous; x: `raw`, resized and turned channel first.

    Every operation is an elementwise float32 one in this order: golden tests and training rely on its bits.

    Raises:
        InputError: NaN, infinite or too large values.
    """
    out: NDArray[np.float32] = np.empty(x.shape, np.float32)
    kind = raw.dtype.kind
    if owner._calm and kind != "f" and raw.dtype.itemsize <= 2:
        return _standardize(owner, x, out)
    with np.errstate(all="ignore"):  # what overflows is refused below; the host's own settings do not matter
        _standardize(owner, x, out)
    if kind == "f":
        refuse_non_finite(out)
    return out


def _standardize(owner: Any, x: NDArray[Any], out: NDArray[np.float32]) -> NDArray[np.float32]:
    out[...] = x
    out *= owner._scale
    out -= owner._mean
    out /= owner._std
    return out


def size_problems(owner: Any, limits: dict[str, int]) -> list[str]:
    """What is wrong with whole numbers that must lie in 1..limit."""
    return [
        f"{name} is {getattr(owner, name)!r}, want a whole number from 1 to {limit}"
        for name, limit in limits.items()
        if type(getattr(owner, name)) is not int or not 1 <= getattr(owner, name) <= limit
    ]


def number_problems(owner: Any, width: Any) -> list[str]:
    """What is wrong with scale, mean and std; width: how many values mean and std may hold instead of one."""
    out = []
    if not is_number(owner.scale) or not 1e-38 < abs(owner.scale) < 3e38:
        out.append(f"scale is {owner.scale!r}, want a number other than 0 that float32 can hold")
    for name in ("mean", "std"):
        values = getattr(owner, name)
        if not isinstance(values, tuple) or len(values) not in (1, width):
            count = f"{len(values)} values" if isinstance(values, tuple) else type(values).__name__
            out.append(f"{name} holds {count}, want 1 or {width}")
        elif not all(is_number(v) and abs(v) < 3e38 for v in values):
            out.append(f"{name} holds a value that is not a float32 number")
        elif name == "std" and not all(np.float32(v) > 0 for v in values):
            out.append("std holds a value that is not positive")
    return out


def refuse(problems: list[str]) -> None:
    """Raise a BundleError that names every problem, if there is one."""
    if problems:
        raise BundleError("; ".join(problems), "preprocessing", "correct these values and write the bundle again")


def read_keys(doc: Any, known: tuple[str, ...]) -> dict[str, Any]:
    """The document, if it holds exactly these keys.

    Raises:
        BundleError: it is no object, or a key is unknown or missing.
    """
    problems: list[str] = []
    fields = Fields(doc, "", problems, known)
    for key in known:
        fields.has(key)
    refuse(problems)
    return fields.doc


def checked_array(raw: Any) -> NDArray[Any]:
    """A non-empty array of numbers.

    Raises:
        InputError: it is none.
    """
    if not isinstance(raw, np.ndarray):
        raise InputError(f"got {type(raw).__name__}, not an array", "input", "pass a numpy array")
    if raw.dtype.kind not in "uif":
        fix = "pass numbers: uint8 or another integer type, or float"
        raise InputError(f"an array of dtype {raw.dtype}", "input", fix)
    if raw.size == 0:
        raise InputError(f"an empty array of shape {raw.shape}", "input", "pass at least one non-empty example")
    return raw


def refuse_non_finite(x: NDArray[np.float32]) -> None:
    """Raise an InputError that names the first example (of axis 0) with a value that is not finite, if there is one."""
    if not np.isfinite(x).all():
        bad = int(np.argmin(np.isfinite(x).reshape(len(x), -1).all(axis=1)))
        what = f"example {bad} of {len(x)} holds NaN, infinite or too large values"
        raise InputError(what, "input", "drop or repair such examples before they reach the model")
