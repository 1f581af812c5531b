"""Named arrays for a model whose inputs we did not design: checked against what it takes, otherwise passed through."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime._affine import plain, read_keys, refuse
from edge_runtime._fields import text_problem
from edge_runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

TENSOR_DTYPES = ("float32", "int32", "int64")
MOST_TENSORS = 64
MOST_DIMENSIONS = 8
_LARGEST_DIMENSION = 1 << 24
_KEYS = ("kind", "names", "shapes", "dtypes")


@dataclass(frozen=True)
class TensorsPreprocessing:
    """Raw: a dict of arrays, one for each input of the model.

    names: of the inputs. shapes: of each in full, the batch included if it has one; None is a free dimension.
    dtypes: float32, int32 or int64 of each.

    Raises:
        BundleError: the three do not fit each other or hold something else.

    >>> p = TensorsPreprocessing(("x",), ((None, 2),), ("float32",))
    >>> p({"x": [[1, 2]]})["x"].dtype
    dtype('float32')
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int | None, ...], ...]
    dtypes: tuple[str, ...]
    kind: str = field(default="tensors", init=False)

    def __post_init__(self) -> None:
        for name in ("names", "shapes", "dtypes"):
            object.__setattr__(self, name, plain(getattr(self, name)))
        refuse(self._problems())

    def _problems(self) -> list[str]:
        for name in ("names", "shapes", "dtypes"):
            values = getattr(self, name)
            if not isinstance(values, tuple) or not 1 <= len(values) <= MOST_TENSORS:
                return [f"{name} is not a list of 1 to {MOST_TENSORS} items"]
        if not len(self.names) == len(self.shapes) == len(self.dtypes):
            return [f"{len(self.names)} names, {len(self.shapes)} shapes and {len(self.dtypes)} dtypes, want as many"]
        out = [f"names[{i}]: {p}" for i, name in enumerate(self.names) if (p := text_problem(name, 200))]
        if not out and len(set(self.names)) != len(self.names):
            out.append("names: two are equal")
        out += [f"shapes[{i}]: {p}" for i, shape in enumerate(self.shapes) if (p := shape_problem(shape))]
        out += [f"dtypes[{i}]: {p}" for i, dtype in enumerate(self.dtypes) if (p := dtype_problem(dtype))]
        return out

    def __call__(self, raw: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        """The arrays by name, C-contiguous and of the model's dtype; `raw` stays as it is.

        Integers of other widths and floats of other precisions are converted; a value that does not survive that
        is refused, as are floats where the model takes integers.

        Raises:
            InputError: a name is missing or unknown; an array has the wrong shape or dtype, is empty, or holds NaN,
                infinite or too large values.
        """
        if not isinstance(raw, dict):
            raise InputError(f"got {type(raw).__name__}, not a dict", "input", f"this model takes {self.describe()}")
        for word, names in (("missing", set(self.names) - set(raw)), ("unknown", set(raw) - set(self.names))):
            if names:
                what = f"{word}: {', '.join(sorted(map(repr, names))[:10])}"
                raise InputError(what, "input", f"this model takes {self.describe()}")
        return {
            name: self._checked(raw[name], name, shape, dtype)
            for name, shape, dtype in zip(self.names, self.shapes, self.dtypes)
        }

    def _checked(self, value: Any, name: str, shape: tuple[int | None, ...], dtype: str) -> NDArray[Any]:
        where, fix = f"input {name!r}", f"this model takes {self.describe()}"
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise InputError(f"rows of different lengths: {error}", where, "pass rows of one length") from error
        if array.dtype.kind not in ("uif" if dtype == "float32" else "ui"):
            raise InputError(f"an array of dtype {array.dtype}", where, fix)
        fits = len(array.shape) == len(shape) and all(d is None or d == n for d, n in zip(shape, array.shape))
        if not fits or not array.size:
            raise InputError(f"an array of shape {array.shape}", where, fix)
        with np.errstate(all="ignore"):  # what does not survive is refused below
            out: NDArray[Any] = np.asarray(array, dtype, order="C")
        sound = np.isfinite(out).all() if dtype == "float32" else array.dtype == out.dtype or (array == out).all()
        if not sound:
            raise InputError(f"NaN, infinite or too large values for {dtype}", where, "repair them")
        return out

    def describe(self) -> str:
        """What one raw example must look like, in a reader's words."""
        parts = (
            f"{name!r} {dtype} [{', '.join('any' if d is None else str(d) for d in shape)}]"
            for name, shape, dtype in zip(self.names, self.shapes, self.dtypes)
        )
        return f"a dict of {', '.join(parts)}"

    def to_json(self) -> dict[str, Any]:
        """Plain data, the inverse of from_json."""
        shapes = [list(shape) for shape in self.shapes]
        return {"kind": self.kind, "names": list(self.names), "shapes": shapes, "dtypes": list(self.dtypes)}

    @staticmethod
    def from_json(doc: Any) -> TensorsPreprocessing:
        """Rebuild from to_json's data.

        Raises:
            BundleError: a key is unknown or missing, or a value has the wrong type or range.
        """
        values = read_keys(doc, _KEYS)
        return TensorsPreprocessing(values["names"], values["shapes"], values["dtypes"])


def shape_problem(shape: Any) -> str:
    """Why this is no shape with free dimensions, or ""."""
    sound = isinstance(shape, (list, tuple)) and len(shape) <= MOST_DIMENSIONS
    if sound and all(d is None or (type(d) is int and 1 <= d <= _LARGEST_DIMENSION) for d in shape):
        return ""
    return f"want up to {MOST_DIMENSIONS} whole numbers from 1 to {_LARGEST_DIMENSION:,}, or null where any size fits"


def dtype_problem(dtype: Any) -> str:
    """Why the arrays of a given model cannot have this dtype, or ""."""
    if dtype in TENSOR_DTYPES:
        return ""
    known = ", ".join(TENSOR_DTYPES)
    return f"{ascii(dtype)[:40]} cannot be passed through, only {known}: let the model cast one of these itself"
