"""Files of a bundle: read without leaving the folder, checked before anybody uses a byte, written reproducibly."""

from __future__ import annotations

import hashlib
import io
import math
import os
import re
import stat
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime.errors import BundleError

if TYPE_CHECKING:
    import zipfile
    from collections.abc import Mapping

    from numpy.typing import NDArray

LARGEST_FILE_BYTES = 2**31 - 1  # neither engine takes a larger model out of memory
LARGEST_ARRAYS_BYTES = 1 << 28
_LONGEST_HEADER = 10_000
_HEADER = re.compile(
    r"\{'descr': *'([^']{1,40})', *'fortran_order': *(True|False), *'shape': *\(([0-9, ]{0,200})\),? *\}\s*"
)
_NUMBERS = re.compile(r"[<>|=]?(?:b1|[iu][1248]|f[248])")
_COPY_AGAIN = "copy the bundle again, whole"


@dataclass(frozen=True)
class FileInfo:
    """What a manifest promises about a file. sha256: 64 lower-case hex digits."""

    sha256: str
    size_bytes: int


def sha256_hex(data: bytes) -> str:
    """Checksum as the manifest writes it."""
    return hashlib.sha256(data).hexdigest()


def file_info(data: bytes) -> FileInfo:
    """Checksum and size of a file's content."""
    return FileInfo(sha256_hex(data), len(data))


def path_problem(path: str) -> str:
    """Why a path of a manifest is refused, or "" if it can only lie inside the bundle.

    >>> path_problem("model.onnx"), path_problem("../model.onnx")
    ('', "'../model.onnx' leaves the bundle folder")
    """
    if not path or len(path) > 200 or not path.isprintable():
        return f"{ascii(path)[:80]} is no usable file name"
    if path.startswith("/") or "\\" in path or ":" in path:
        return f"{path!r} is not relative with forward slashes"
    if ".." in path.split("/"):
        return f"{path!r} leaves the bundle folder"
    if any(part in ("", ".") or part != part.strip(" ") or part.endswith(".") for part in path.split("/")):
        return f"{path!r} is not in its simplest form"
    return ""


def read_file(folder: Path, path: str, *, largest: int = LARGEST_FILE_BYTES) -> bytes:
    """Content of a regular file inside the folder. The folder itself may be a link; nothing below it may.

    Raises:
        BundleError: the path leaves the folder; a part of it is a link; it is missing, no regular file, or too large.
    """
    where = os.path.join(folder, path)
    if problem := path_problem(path):
        raise BundleError(problem, str(folder), "use bundles from a source you trust")
    try:
        at = str(folder)  # not Path: this is half of what a small file costs
        for part in path.split("/"):
            at = f"{at}{os.sep}{part}"
            if os.path.islink(at):
                raise BundleError(f"{part!r} is a link", where, "a bundle holds plain files; copy the link's target")
        # No-follow once more, for a link put there since; non-blocking, so that a pipe cannot hang us.
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with open(os.open(where, flags), "rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise BundleError("not a regular file", where, _COPY_AGAIN)
            if facts.st_size > largest:
                fix = "a bundle this large is not for this runtime"
                raise BundleError(f"{facts.st_size:,} bytes; at most {largest:,} are allowed", where, fix)
            return file.read(facts.st_size)
    except FileNotFoundError as error:
        raise BundleError("the file is missing", where, _COPY_AGAIN) from error
    except (OSError, ValueError) as error:
        raise BundleError(f"cannot be read: {error}", where, "check the path and its permissions") from error


def read_checked(folder: Path, path: str, info: FileInfo, *, verify: bool = True) -> bytes:
    """Content of a file whose size, and checksum where `verify`, are as promised.

    Raises:
        BundleError: as read_file; or the content is not what the manifest promises.
    """
    where = os.path.join(folder, path)
    data = read_file(folder, path)
    if len(data) != info.size_bytes:
        what = f"{len(data):,} bytes, but the manifest promises {info.size_bytes:,}"
        raise BundleError(what, where, _COPY_AGAIN)
    if verify and sha256_hex(data) != info.sha256:
        raise BundleError("its checksum is not the manifest's: it was damaged or changed", where, _COPY_AGAIN)
    return data


def verify_files(folder: Path, files: Mapping[str, FileInfo]) -> None:
    """Compare every file that a manifest lists with what it promises.

    Raises:
        BundleError: the first one that differs.
    """
    for path, info in files.items():
        read_checked(folder, path, info)


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a power cut, finds the old content or the new, never half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def npz_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """An uncompressed .npz archive: sorted names, fixed dates, so that equal arrays give equal bytes."""
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            body = io.BytesIO()
            array = np.asarray(arrays[name], order="C")
            np.lib.format.write_array(body, array, version=(1, 0), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o644 << 16  # else it differs between systems
            archive.writestr(entry, body.getvalue())
    return out.getvalue()


def write_npz(path: Path | str, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write npz_bytes to a file, atomically."""
    write_atomic(Path(path), npz_bytes(arrays))


def read_npz(data: bytes, where: str) -> dict[str, NDArray[Any]]:
    """Arrays of an .npz archive of plain numbers. Nothing is unpickled; sizes are checked before memory is taken.

    Raises:
        BundleError: no such archive, too large, or it holds anything but arrays of numbers.
    """
    import zipfile
    import zlib

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [e for e in archive.infolist() if e.filename.endswith(".npy")]
            if sum(e.file_size for e in entries) > LARGEST_ARRAYS_BYTES:
                raise ValueError(f"more than {LARGEST_ARRAYS_BYTES:,} bytes of arrays")
            if any(e.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for e in entries):
                raise ValueError("compressed in a way that numpy does not write")
            return {e.filename[:-4]: read_npy(_entry(archive, e)) for e in entries}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise BundleError(f"not a readable .npz archive: {error}", where, _COPY_AGAIN) from error


def _entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """An entry's content. By its size, for reading it to its end would unpack whatever there is, however it lies."""
    with archive.open(entry) as file:
        return file.read(entry.file_size)


def read_npy(data: bytes) -> NDArray[Any]:
    """The array of a .npy file's content, in native byte order and C order.

    Its header is a Python literal; numpy would parse it with a tokenizer and warn, so a strict pattern reads it here.

    Raises:
        ValueError: not such a file, not numbers, or its header promises other than it holds.
    """
    if data[:6] != b"\x93NUMPY" or data[6:8] not in (b"\x01\x00", b"\x02\x00"):
        raise ValueError("it does not start as a .npy file of version 1 or 2")
    start = 10 if data[6] == 1 else 12
    body = start + int.from_bytes(data[8:start], "little")
    header = _HEADER.fullmatch(data[start : min(body, start + _LONGEST_HEADER)].decode("latin-1"))
    if header is None:
        raise ValueError("its header is damaged")
    descr, fortran, dimensions = header.groups()
    if not _NUMBERS.fullmatch(descr):
        raise ValueError(f"it holds dtype {descr}, not plain numbers")
    dtype = np.dtype(descr)
    shape = tuple(int(d) for d in dimensions.split(",") if d.strip())
    count = math.prod(shape)
    if len(shape) > 16 or max(shape, default=0) > LARGEST_FILE_BYTES or count * dtype.itemsize != len(data) - body:
        raise ValueError(f"shape {shape} of {dtype} does not fit {len(data) - body:,} bytes")
    array = np.frombuffer(data, dtype, count, body) if count else np.empty(0, dtype)
    array = array.reshape(shape, order="F" if fortran == "True" else "C")
    return array.astype(dtype.newbyteorder("="), order="C")
