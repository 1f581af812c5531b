"""Example inputs from an .npz: read, checked against the graph's inputs, and split into three disjoint parts."""

import hashlib
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.errors import DataError
from compress.onnx_file.signature import Signature, Tensor

FEWEST = 8
MOST_CALIBRATION = 512  # ranges hardly move after that; the chain's default as well
MOST_JUDGED = 2000  # of each of the two parts that judge
LABELS = "labels"
_ARRAY = b"\x93NUMPY"  # how a .npy begins
Feed = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Examples:
    """n whole sets of inputs. arrays: per input (n, *shape of the input), or a single value that all examples share.

    labels: (n,) int64, or None. fingerprint: sha256 of everything that was read.
    """

    arrays: Mapping[str, NDArray[Any]]
    shared: Mapping[str, NDArray[Any]]
    count: int
    labels: NDArray[np.int64] | None
    fingerprint: str

    def feed(self, index: int) -> dict[str, NDArray[Any]]:
        """The inputs of one example, as the engine takes them."""
        return {**self.shared, **{k: np.ascontiguousarray(a[index]) for k, a in self.arrays.items()}}

    def feeds(self, indices: NDArray[np.int64]) -> list[dict[str, NDArray[Any]]]:
        """Of several."""
        return [self.feed(int(i)) for i in indices]


@dataclass(frozen=True, slots=True)
class Parts:
    """Disjoint index sets: calibration finds the ranges, selection chooses among candidates, test is shown."""

    calibration: NDArray[np.int64]
    selection: NDArray[np.int64]
    test: NDArray[np.int64]


def split(count: int, seed: int) -> Parts:
    """Half to calibrate, a quarter to choose, a quarter to judge, in a random order fixed by the seed.

    >>> [len(p) for p in (lambda s: (s.calibration, s.selection, s.test))(split(10, 0))]
    [5, 2, 3]
    """
    order = np.random.default_rng(seed).permutation(count)
    half, more = count // 2, count // 2 + count // 4
    return Parts(order[:half][:MOST_CALIBRATION], order[half:more][:MOST_JUDGED], order[more:][:MOST_JUDGED])


def read_examples(
    path: Path, signature: Signature, labels: Path | None = None, fixed: Collection[str] = ()
) -> Examples:
    """Arrays of an .npz by input name; a single array may have any name where the graph has one input.

    An array is either stacked whole inputs, (n, *input shape); or, where the input's first dimension is 1 or free,
    (n, *the rest); or one value of the input's own shape, which all examples share (a sampling rate, a start state).
    Labels are an array `labels` in the same file, or a .npy or .txt file of their own. fixed: inputs that were built
    into the graph; arrays for them are passed over.

    Raises:
        DataError: unreadable, a wrong or missing name, shape or element type, NaN, too few examples, all alike, or
            labels that do not fit.
    """
    found = {name: array for name, array in _read(path).items() if name not in fixed}
    label_array = found.pop(LABELS, None) if LABELS not in {t.name for t in signature.inputs} else None
    if labels is not None:
        label_array = _read_labels(labels)
    given = _by_input(found, signature, str(path))
    arrays, shared = {}, {}
    for tensor in signature.inputs:
        stacked = _stacked(given[tensor.name], tensor, str(path))
        if stacked is None:
            shared[tensor.name] = given[tensor.name]
        else:
            arrays[tensor.name] = stacked
    count = _count(arrays, str(path))
    digest = hashlib.sha256()
    for name in sorted(given):
        digest.update(f"{name}{given[name].dtype}{given[name].shape}".encode())
        digest.update(np.ascontiguousarray(given[name]).tobytes())
    checked = None if label_array is None else _labels(label_array, count, signature, str(labels or path))
    return Examples(arrays, shared, count, checked, digest.hexdigest())


def _read(path: Path) -> dict[str, NDArray[Any]]:
    where = str(path)
    try:
        with path.open("rb") as file:
            if file.read(6) != _ARRAY and not zipfile.is_zipfile(file):
                raise DataError("it is no .npz", where, "write it with np.savez(path, INPUT=array)")
            file.seek(0)
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError("it holds a single array", where, "np.savez it under the input's name")
            return {name: archive[name] for name in archive.files}
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError("there is no such file", where, "give an .npz with one array an input") from error
    except (OSError, ValueError, EOFError, KeyError) as error:
        fix = "write it with np.savez(path, INPUT=array); arrays of Python objects are not read"
        raise DataError(f"it is no .npz of plain arrays: {error}", where, fix) from error
    except Exception as error:  # zipfile.BadZipFile, zlib.error
        raise DataError(f"it is damaged: {error}", where, "write it again with np.savez") from error


def _read_labels(path: Path) -> NDArray[Any]:
    try:
        if path.suffix == ".npy":
            return np.asarray(np.load(path, allow_pickle=False))
        return np.array([int(line) for line in path.read_text().split()])
    except (OSError, ValueError) as error:
        fix = "give a .npy of whole numbers, or a text file with one number a line"
        raise DataError(f"labels cannot be read: {error}", str(path), fix) from error


def _by_input(found: dict[str, NDArray[Any]], signature: Signature, where: str) -> dict[str, NDArray[Any]]:
    wanted = [t.name for t in signature.inputs]
    if len(wanted) == 1 and len(found) == 1:
        found = {wanted[0]: next(iter(found.values()))}
    missing, strange = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    if missing or strange:
        problems = [f"no array for input {', '.join(missing)}"] * bool(missing)
        problems += [f"the model has no input {', '.join(strange)}"] * bool(strange)
        raise DataError("; ".join(problems), where, f"name the arrays as the inputs: {', '.join(wanted)}")
    return found


def _stacked(array: NDArray[Any], tensor: Tensor, where: str) -> NDArray[Any] | None:
    """(n, *input shape), or None for one value that all examples share."""
    at = f"{where}, array {tensor.name!r}"
    if array.dtype != np.dtype(tensor.dtype):
        what = f"it is {array.dtype}, the model takes {tensor.dtype}"
        raise DataError(what, at, f"convert it: array.astype({tensor.dtype!r}), scaled as the model wants it")
    if not array.size:
        raise DataError(f"it is empty: shape {array.shape}", at, "give examples")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        raise DataError(f"{bad} of its {array.size} values are NaN or infinite", at, "remove those examples")
    if array.ndim == len(tensor.shape) + 1 and tensor.fits(array[0]):
        return array
    loose = bool(tensor.shape) and tensor.shape[0] in (None, 1)
    if loose and array.ndim == len(tensor.shape) and tensor.fits(array[:1]):
        return array[:, np.newaxis]
    if tensor.fits(array):
        return None
    rows = Tensor(tensor.name, tensor.dtype, ("n", *tensor.shape[loose:]))  # type: ignore[arg-type]
    raise DataError(f"its shape is {array.shape}, the model takes {tensor}", at, f"give {rows}")


def _count(arrays: Mapping[str, NDArray[Any]], where: str) -> int:
    counts = {len(a) for a in arrays.values()}
    if len(counts) > 1:
        what = f"arrays of different lengths: {', '.join(f'{k} {len(a)}' for k, a in arrays.items())}"
        raise DataError(what, where, "give one entry an example in every array")
    count = counts.pop() if counts else 1
    if count < FEWEST:
        what = f"{count} example{'s' if count > 1 else ''}; at least {FEWEST} are wanted"
        raise DataError(what, where, "give some hundred: half calibrate, a quarter chooses, a quarter judges")
    if all((a == a[:1]).all() for a in arrays.values()):
        raise DataError(f"its {count} examples are all alike", where, "give real, different inputs")
    if all((a == a.ravel()[0]).all() for a in arrays.values() if a.dtype.kind == "f") and any(
        a.dtype.kind == "f" for a in arrays.values()
    ):
        raise DataError("every value of its float inputs is the same", where, "give real inputs")
    return count


def _labels(array: NDArray[Any], count: int, signature: Signature, where: str) -> NDArray[np.int64]:
    at, classes = f"{where}, labels", signature.classes
    if classes is None:
        what = "labels were given, but the model is no plain classifier with one output (batch, classes)"
        raise DataError(what, at, "leave the labels out: outputs are compared with the float file's")
    if array.dtype.kind not in "iu" or array.shape != (count,):
        what = f"they are {array.dtype} of shape {array.shape}, want {count} whole numbers"
        raise DataError(what, at, "give one class index an example")
    if array.min() < 0 or array.max() >= classes:
        what = f"they reach from {array.min()} to {array.max()}, the model's classes from 0 to {classes - 1}"
        raise DataError(what, at, "correct the labels")
    return array.astype(np.int64)
