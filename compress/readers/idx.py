"""The IDX format of MNIST and its kin: two zero bytes, a type, a rank, big-endian sizes, then the values."""

import gzip
import zlib
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from compress.errors import DataError
from compress.readers.raw import Array, Raw

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_STEMS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_HEADER_BYTES = 4 + 4 * 4  # of at most four dimensions
_FIX = "copy the file again from where it came; gzip files end in .gz, others must be plain"


def parse_idx(data: bytes, where: str) -> Array:
    """One array from the bytes of an IDX file, in native byte order.

    Raises:
        DataError: the magic number, the sizes or the length are wrong.

    >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]), "doc").tolist()
    [7, 9]
    """
    dtype, shape = _header(data, where)
    start = 4 + 4 * len(shape)
    want = start + prod(shape) * dtype.itemsize
    if len(data) != want:
        raise DataError(f"its header promises shape {shape}, {want} bytes; it has {len(data)}", where, _FIX)
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def _header(data: bytes, where: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _TYPES or not 1 <= data[3] <= 4:
        raise DataError(f"no IDX file: it begins with {data[:4].hex(' ') or 'nothing'}", where, _FIX)
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise DataError(f"cut off in its header, {len(data)} bytes", where, _FIX)
    shape = tuple(int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4))
    return np.dtype(_TYPES[data[2]]), shape


def idx_shape(files: tuple[Path, ...]) -> tuple[tuple[int, int], int]:
    """(height, width) of the images and the number of classes, from the images' header and the labels alone.

    Raises:
        DataError: the first two files hold no images and labels.
    """
    images, labels = files[:2]
    _, shape = _header(_bytes(images, _HEADER_BYTES), str(images))
    found = parse_idx(_bytes(labels), str(labels))
    for path, rank, want in ((images, len(shape), 3), (labels, found.ndim, 1)):
        if rank != want:
            raise DataError(f"it holds {rank} dimensions, want {want}", str(path), _FIX)
    if not found.size or found.dtype.kind not in "ui" or found.min() < 0:
        raise DataError("it holds no class numbers", str(labels), _FIX)
    return (shape[1], shape[2]), int(found.max()) + 1


def idx_files(folder: Path) -> tuple[Path, ...]:
    """Train images, train labels, test images, test labels of a folder; plain files win over .gz ones.

    Raises:
        DataError: the folder or one of the four files does not exist.
    """
    if not folder.is_dir():
        raise DataError("there is no such folder", str(folder), "give the folder that holds the four IDX files")
    found, missing = [], []
    for stem in _STEMS:
        paths = [p for p in (folder / stem, folder / f"{stem}.gz") if p.is_file()]
        found += paths[:1]
        missing += [] if paths else [f"{stem}[.gz]"]
    if missing:
        raise DataError(f"missing: {', '.join(missing)}", str(folder), "put the four MNIST-style files there")
    return tuple(found)


def read_idx_folder(files: tuple[Path, ...], classes: tuple[str, ...] | None = None) -> Raw:
    """Decode the four files that idx_files found."""
    x_train, y_train, x_test, y_test = (_read(path) for path in files)
    for path, array, rank in zip(files, (x_train, y_train, x_test, y_test), (3, 1, 3, 1), strict=True):
        if array.ndim != rank:
            raise DataError(f"it holds {array.ndim} dimensions, want {rank}", str(path), _FIX)
    return Raw(x_train, y_train, x_test, y_test, classes)


def _read(path: Path) -> Array:
    return parse_idx(_bytes(path), str(path))


def _bytes(path: Path, size: int = -1) -> bytes:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return file.read(size)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"it cannot be read: {error}", str(path), _FIX) from error
