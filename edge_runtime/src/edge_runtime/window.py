"""Windows of sensor readings as model inputs. Shared by training and the device."""

from __future__ import annotations

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

_KEYS = ("kind", "length", "channels", "scale", "mean", "std")
_LIMITS = {"length": 1 << 20, "channels": 4096}


@dataclass(frozen=True)
class WindowPreprocessing:
    """Raw windows (n, length, channels) to `(x * scale - mean) / std`, float32 (n, channels, 1, length).

    length: readings in a window. channels: sensors read at a time.
    scale: multiplies raw values. mean, std: after scaling; one value for all or one per channel. std > 0.

    Channel first with a height of one, so that a 1-D net is a 2-D one with kernels [1, k].

    Raises:
        BundleError: the numbers themselves make no sense.

    >>> p = WindowPreprocessing(length=2, channels=1, scale=0.5, mean=(1.0,), std=(2.0,))
    >>> p(np.array([[[2], [6]]])).tolist()
    [[[[0.0, 1.0]]]]
    """

    length: int
    channels: int
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    kind: str = field(default="window", init=False)

    _mean: NDArray[np.float32] = field(init=False, repr=False, compare=False)
    _std: NDArray[np.float32] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        settle(self, ("length", "channels", "scale", "mean", "std"))
        refuse(size_problems(self, _LIMITS) + number_problems(self, self.channels))
        settle_arrays(self, (-1, 1, 1))

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of one model input without the batch: (channels, 1, length)."""
        return (self.channels, 1, self.length)

    @property
    def example_ranks(self) -> tuple[int, ...]:
        """How many dimensions one raw example may have."""
        return (2,)

    def __call__(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        """Model inputs (n, channels, 1, length), C-contiguous, of raw windows; `raw` stays as it is.

        Raises:
            InputError: wrong shape or dtype; no examples; NaN, infinite or too large values.
        """
        x = checked_array(raw)
        if x.shape[1:] != (self.length, self.channels):
            raise InputError(f"examples of shape {x.shape[1:]}", "input", f"this model takes {self.describe()}")
        return standardize(self, raw, x.transpose(0, 2, 1)[:, :, np.newaxis])

    def describe(self) -> str:
        """What one raw example must look like, in a reader's words."""
        return f"({self.length}, {self.channels}) windows: {self.length} readings of {self.channels} channel(s)"

    def to_json(self) -> dict[str, Any]:
        """Plain data, the inverse of from_json."""
        doc = {key: getattr(self, key) for key in _KEYS}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in doc.items()}

    @staticmethod
    def from_json(doc: Any) -> WindowPreprocessing:
        """Rebuild from to_json's data.

        Raises:
            BundleError: a key is unknown or missing, or a value has the wrong type or range.
        """
        values = read_keys(doc, _KEYS)
        return WindowPreprocessing(**{key: values[key] for key in _KEYS[1:]})
