"""What a data source becomes: four splits of raw arrays, and how to turn them into model inputs."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.errors import DataError
from compress.readers.texts import Texts


@dataclass(frozen=True, slots=True)
class Split:
    """x: raw examples, (n, ...) in the source's own dtype, or texts. y: (n,) int64 class indices.

    group: (n,) whole numbers where examples belong together (one person's), else None. columns: facts about each
    example that no model reads, (n,) texts by name.
    """

    x: Any  # NDArray[np.generic] | Texts
    y: NDArray[np.int64]
    group: NDArray[np.int64] | None = None
    columns: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: NDArray[Any]) -> "Split":
        """The examples at these places, or where a mask is true."""
        group = None if self.group is None else self.group[index]
        return Split(self.x[index], self.y[index], group, {k: v[index] for k, v in self.columns.items()})


class Untokenized:
    """Stands for the preprocessing of texts until a model's tokenizer is known; `with_preprocessing` replaces it."""

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Not known yet."""
        raise self._error()

    def __call__(self, raw: Any) -> NDArray[Any]:
        """Raise DataError: there is nothing to turn texts into numbers with."""
        raise self._error()

    @staticmethod
    def _error() -> DataError:
        return DataError("texts have no numbers without a tokenizer", "data", "use a teacher that takes text")


@dataclass(frozen=True, slots=True)
class Dataset:
    """Splits are disjoint, except that calibration is drawn from train.

    classes: label texts; y indexes them.
    preprocessing: raw example -> float32 model input, shared with the device; Untokenized for texts as they are read.
    fingerprint: sha256 of the source and of every setting that chose the splits.
    """

    name: str
    classes: tuple[str, ...]
    preprocessing: Any  # of edge_runtime, or Untokenized
    train: Split
    validation: Split
    test: Split
    calibration: Split
    fingerprint: str
    added: Mapping[str, int] = field(default_factory=dict)  # what `data.extra` brought, for the report

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one model input, channel first, without the batch."""
        return tuple(self.preprocessing.output_shape)

    def with_preprocessing(self, preprocessing: Any, fingerprint: str) -> "Dataset":
        """The same examples for a model that takes other inputs. fingerprint: of what was changed."""
        whole = hashlib.sha256(f"{self.fingerprint} {fingerprint}".encode()).hexdigest()
        return replace(self, preprocessing=preprocessing, fingerprint=whole)

    def inputs(self, split: Split) -> NDArray[np.float32]:
        """Model inputs (n, *input_shape) of a whole split."""
        inputs: NDArray[np.float32] = self.preprocessing(split.x)
        return inputs

    def without_test(self) -> "Dataset":
        """The same data with an empty test split: what stages are given, so that none can peek."""
        return replace(self, test=self.test.take(np.zeros(0, np.int64)))


def digest_arrays(*arrays: NDArray[np.generic] | Texts) -> str:
    """sha256 over dtype, shape and bytes of arrays, in order; over the texts of Texts."""
    h = hashlib.sha256()
    for array in arrays:
        if isinstance(array, Texts):
            h.update(array.digest().encode())
            continue
        h.update(f"{array.dtype.str}|{array.shape}|".encode())
        h.update(np.ascontiguousarray(array).tobytes())
    return h.hexdigest()
