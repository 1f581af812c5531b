"""What a data source becomes: four splits of raw arrays, and how to turn them into model inputs."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from edge_runtime.preprocessing import Preprocessing
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Split:
    """x: raw examples, (n, ...) in the source's own dtype. y: (n,) int64 class indices."""

    x: NDArray[np.generic]
    y: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Splits are disjoint, except that calibration is drawn from train.

    classes: label texts; y indexes them.
    preprocessing: raw example -> float32 model input, shared with the device.
    fingerprint: sha256 of the source and of every setting that chose the splits.
    """

    name: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    train: Split
    validation: Split
    test: Split
    calibration: Split
    fingerprint: str

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one model input, channel first, without the batch."""
        return self.preprocessing.output_shape

    def inputs(self, split: Split) -> NDArray[np.float32]:
        """Model inputs (n, *input_shape) of a whole split."""
        return self.preprocessing(split.x)

    def without_test(self) -> "Dataset":
        """The same data with an empty test split: what stages are given, so that none can peek."""
        return replace(self, test=Split(self.test.x[:0], self.test.y[:0]))


def digest_arrays(*arrays: NDArray[np.generic]) -> str:
    """sha256 over dtype, shape and bytes of arrays, in order."""
    h = hashlib.sha256()
    for array in arrays:
        h.update(f"{array.dtype.str}|{array.shape}|".encode())
        h.update(np.ascontiguousarray(array).tobytes())
    return h.hexdigest()
