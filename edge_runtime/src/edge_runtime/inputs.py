"""What an app may hand to predict, as the raw examples that preprocessing takes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime.errors import BundleError, InputError
from edge_runtime.files import LARGEST_ARRAYS_BYTES, read_file, read_npy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_runtime.kinds import ArrayPreprocessing

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
_SUFFIXES = {"image": (".npy", *IMAGE_SUFFIXES), "vector": (".npy", ".csv"), "window": (".npy", ".csv")}
_MOST_PIXELS = 1 << 26
_LARGEST_TEXT_BYTES = 16 << 20


def as_array(source: Any, preprocessing: ArrayPreprocessing) -> NDArray[Any]:
    """The array of an example or batch: an array, lists of numbers, or the path of a file. Arrays are not copied.

    Raises:
        InputError: it is nothing of the kind, or the file cannot be read as an array or image.
    """
    if isinstance(source, np.ndarray):
        return source
    if isinstance(source, (str, os.PathLike)):
        return _from_file(Path(source), preprocessing)
    if isinstance(source, (list, tuple, int, float, np.generic)) or hasattr(source, "__array__"):
        try:
            return np.asarray(source)
        except ValueError as error:
            raise InputError(f"rows of different lengths: {error}", "input", "pass rows of one length") from error
    files = " or ".join(_SUFFIXES[preprocessing.kind][:2])
    fix = f"pass a numpy array, a list of numbers, or the path of a {files} file"
    raise InputError(f"got {type(source).__name__}", "input", fix)


def as_text(source: Any) -> str:
    """A text: a str is one, a path is that of a UTF-8 file with one text.

    Raises:
        InputError: it is nothing of the kind, or the file cannot be read.
    """
    if isinstance(source, str):
        return source
    if not isinstance(source, os.PathLike):
        fix = "pass a str, or a pathlib.Path of a text file"
        raise InputError(f"got {type(source).__name__}, not text", "input", fix)
    return decode(_read(Path(source), _LARGEST_TEXT_BYTES), Path(source))


def read_lines(path: Path) -> list[str]:
    """The texts of a UTF-8 file, one a line; empty lines are none.

    Raises:
        InputError: it cannot be read, or holds no text.
    """
    lines = [line for line in decode(_read(path, _LARGEST_TEXT_BYTES), path).splitlines() if line.strip()]
    if not lines:
        raise InputError("the file holds no text", str(path), "give a file with one text a line")
    return lines


def decode(data: bytes, path: Path) -> str:
    """Text of a UTF-8 file's content, with or without a byte order mark.

    Raises:
        InputError: it is not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 at byte {error.start:,}", str(path), "save it as UTF-8") from error


def _from_file(path: Path, preprocessing: ArrayPreprocessing) -> NDArray[Any]:
    suffix, kind = path.suffix.lower(), preprocessing.kind
    if suffix in IMAGE_SUFFIXES and kind != "image":
        raise InputError("an image, but this model takes no images", str(path), f"pass {preprocessing.describe()}")
    if suffix not in _SUFFIXES[kind]:
        fix = f"pass a .npy or {'.csv' if kind != 'image' else 'image'} file"
        raise InputError(f"{suffix or 'no suffix'} is no known kind of file", str(path), fix)
    data = _read(path, LARGEST_ARRAYS_BYTES)
    if suffix == ".csv":
        return _from_csv(decode(data, path), path, kind)
    if suffix != ".npy":
        return decode_image(data, str(path), preprocessing.output_shape[0])
    try:
        return read_npy(data)
    except ValueError as error:
        raise InputError(f"not a .npy file of numbers: {error}", str(path), "write it with numpy.save") from error


def _read(path: Path, largest: int) -> bytes:
    try:
        # The app's own paths may be links: only the file's kind and size are looked at.
        return read_file(path.resolve().parent, path.resolve().name, largest=largest)
    except BundleError as error:
        raise InputError(error.what, str(path), "check the path") from error


def _from_csv(text: str, path: Path, kind: str) -> NDArray[np.float64]:
    """Rows of numbers between commas, semicolons or tabs; a first row of names is left out. A vector is one row."""
    rows = [line for line in text.splitlines() if line.strip()]
    if not rows:
        raise InputError("the file is empty", str(path), "give rows of numbers")
    mark = max(",;\t", key=rows[-1].count)
    first = 1 if len(rows) > 1 and not _is_number(rows[0].split(mark)[0]) else 0
    try:
        table = np.array([[float(cell) for cell in row.split(mark)] for row in rows[first:]], np.float64)
    except ValueError as error:
        fix = "give rows of numbers, as many in each, with at most one row of names above"
        raise InputError(f"not a table of numbers: {error}", str(path), fix) from error
    return table[0] if kind == "vector" and len(table) == 1 else table


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def decode_image(data: bytes, where: str, channels: int, *, most_pixels: int = _MOST_PIXELS) -> NDArray[Any]:
    """Pixels (h, w) or (h, w, channels), uint8, of an image file's content, upright as the camera's tag says.

    Raises:
        InputError: Pillow is missing, or does not know or trust the content.
    """
    import io

    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as error:
        raise InputError(
            "reading image files needs Pillow", where, "pip install pillow, or pass the pixels as an array"
        ) from error
    mode = {1: "L", 3: "RGB", 4: "RGBA"}.get(channels)
    if mode is None:
        raise InputError(f"an image file, but this model takes {channels} channels", where, "pass an array")
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > most_pixels:
                what = f"{image.width} x {image.height} pixels; at most {most_pixels:,} are allowed"
                raise InputError(what, where, "make it smaller")
            return np.asarray(ImageOps.exif_transpose(image).convert(mode))
    except UnidentifiedImageError as error:  # its own text names an object in memory
        fix = "give an image file that Pillow knows, or a .npy file"
        what = "not a readable image: of no known format" if data else "an empty file"
        raise InputError(what, where, fix) from error
    except Image.DecompressionBombError as error:
        raise InputError("an image of too many pixels to be opened", where, "make it smaller") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(f"not a readable image: {error}", where, "open it in a viewer; copy it again") from error
