"""What an app may hand to predict, as an array: an array itself, lists of numbers, or the path of a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime.errors import BundleError, InputError
from edge_runtime.files import LARGEST_ARRAYS_BYTES, read_file, read_npy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_runtime.preprocessing import Preprocessing

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
_MOST_PIXELS = 1 << 26


def as_array(source: Any, preprocessing: Preprocessing) -> NDArray[Any]:
    """The array of an example or batch. Arrays come back as they are, not copied.

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
    fix = "pass a numpy array, a list of numbers, or the path of a .npy or image file"
    raise InputError(f"got {type(source).__name__}", "input", fix)


def _from_file(path: Path, preprocessing: Preprocessing) -> NDArray[Any]:
    suffix = path.suffix.lower()
    if suffix not in (".npy", *IMAGE_SUFFIXES):
        raise InputError(f"{suffix or 'no suffix'} is no known kind of file", str(path), "pass a .npy or image file")
    if suffix in IMAGE_SUFFIXES and preprocessing.kind != "image":
        raise InputError("an image, but this model takes vectors", str(path), f"pass {preprocessing.describe()}")
    try:
        # The app's own paths may be links: only the file's kind and size are looked at.
        data = read_file(path.resolve().parent, path.resolve().name, largest=LARGEST_ARRAYS_BYTES)
    except BundleError as error:
        raise InputError(error.what, str(path), "check the path") from error
    if suffix != ".npy":
        return _from_image(data, path, preprocessing.output_shape[0])
    try:
        return read_npy(data)
    except ValueError as error:
        raise InputError(f"not a .npy file of numbers: {error}", str(path), "write it with numpy.save") from error


def _from_image(data: bytes, path: Path, channels: int) -> NDArray[Any]:
    """Pixels (h, w) or (h, w, channels), uint8, upright as the camera's orientation tag says."""
    import io

    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as error:
        raise InputError(
            "reading image files needs Pillow", str(path), "pip install pillow, or pass the pixels as an array"
        ) from error
    mode = {1: "L", 3: "RGB", 4: "RGBA"}.get(channels)
    if mode is None:
        raise InputError(f"an image file, but this model takes {channels} channels", str(path), "pass an array")
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > _MOST_PIXELS:
                what = f"{image.width} x {image.height} pixels; at most {_MOST_PIXELS:,} are allowed"
                raise InputError(what, str(path), "make it smaller")
            return np.asarray(ImageOps.exif_transpose(image).convert(mode))
    except UnidentifiedImageError as error:  # its own text names an object in memory
        fix = "give an image file that Pillow knows, or a .npy file"
        raise InputError("not a readable image: of no known format", str(path), fix) from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"not a readable image: {error}", str(path), "open it in a viewer; copy it again") from error
