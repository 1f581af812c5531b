"""The IDX format of MNIST and its kin: two zero bytes, a type, a rank, big-endian sizes, then the values."""

import gzip
import zlib
from math import prod
from pathlib import Path

import numpy as np

from compress.data.raw import Array, Raw
from compress.errors import DataError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_STEMS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_FIX = "copy the file again from where it came; gzip files end in .gz, others must be plain"


def parse_idx(data: bytes, where: str) -> Array:
    """One array from the bytes of an IDX file, in native byte order.

    Raises:
        DataError: the magic number, the sizes or the length are wrong.

    >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]), "doc").tolist()
    [7, 9]
    """
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _TYPES or not 1 <= data[3] <= 4:
        raise DataError(f"no IDX file: it begins with {data[:4].hex(' ') or 'nothing'}", where, _FIX)
    dtype, rank = np.dtype(_TYPES[data[2]]), data[3]
    start = 4 + 4 * rank
    if len(data) < start:
        raise DataError(f"cut off in its header, {len(data)} bytes", where, _FIX)
    shape = tuple(int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4))
    want = start + prod(shape) * dtype.itemsize
    if len(data) != want:
        raise DataError(f"its header promises shape {shape}, {want} bytes; it has {len(data)}", where, _FIX)
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def idx_files(folder: Path) -> tuple[Path, ...]:
    """Train images, train labels, test images, test labels of a folder; plain files win over .gz ones.

    Raises:
        DataError: the folder or one of the four files does not exist.
    """
    if not folder.is_dir():
        raise DataError("no such folder", str(folder), "give the folder that holds the four IDX files")
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
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"it cannot be read: {error}", str(path), _FIX) from error
    return parse_idx(data, str(path))
