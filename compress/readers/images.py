"""Folders of image files: DIR/<class>/* or DIR/<train|validation|test>/<class>/*. Needs Pillow.

Every file is decoded, turned upright and resized by the code that the device runs on the files it is given.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from edge_runtime.errors import EdgeError
from edge_runtime.inputs import IMAGE_SUFFIXES, as_array
from edge_runtime.preprocessing import Preprocessing
from numpy.typing import NDArray

from compress.errors import DataError, MissingExtraError
from compress.readers.problems import together
from compress.readers.raw import Raw

_SPLITS = {"train": "train", "validation": "validation", "val": "validation", "valid": "validation", "test": "test"}
_JUNK = ("thumbs.db", "desktop.ini")  # what file managers leave behind
_MAX_BYTES = 1 << 32  # of all pixels together
_COLOUR = {1: ("1", "L", "I;16", "I"), 3: ("RGB", "P", "RGBA", "CMYK", "YCbCr", "PA")}


@dataclass(frozen=True, slots=True)
class Folder:
    """files: split -> (path, class number) in order. classes: folder names, sorted (numbers by value)."""

    root: Path
    files: dict[str, tuple[tuple[Path, int], ...]]
    classes: tuple[str, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file, in order."""
        return tuple(path for split in self.files.values() for path, _ in split)


def find_images(root: Path) -> Folder:
    """List the files of a folder without opening one.

    Raises:
        DataError: there is no such folder, it holds no classes, or something that is no image.
    """
    where, fix = f"data.images {root}", "put the images of each class into a folder of its name"
    if not root.is_dir():
        raise DataError("there is no such folder", where, "give the folder that holds one folder a class")
    tops = {p.name: p for p in _folders(root)}
    by_split = {_SPLITS[name]: path for name, path in tops.items() if name in _SPLITS}
    if not by_split:
        by_split = {"train": root}
    elif strange := sorted(set(tops) - set(_SPLITS)):
        near = difflib.get_close_matches(strange[0], list(_SPLITS), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise DataError(f"beside {', '.join(by_split)} there is a folder {strange[0]!r}{hint}", where, fix)
    if "train" not in by_split:
        raise DataError(f"it has {', '.join(sorted(by_split))} but no train", where, "add a folder named train")
    names = {folder.name for path in by_split.values() for folder in _folders(path)}
    if not names:
        raise DataError("it holds no folders", where, fix)
    whole = all(n.isdecimal() for n in names)
    classes = tuple(sorted(names, key=lambda n: (int(n), n)) if whole else sorted(names))
    files = {split: _files(path, classes) for split, path in by_split.items()}
    return Folder(root, files, classes)


def image_shape(folder: Folder, size: tuple[int, int] | None, channels: int | None) -> tuple[int, int, int]:
    """(height, width, channels) of the examples; what the recipe leaves open is the first file's.

    Raises:
        DataError: the file is no image. MissingExtraError: Pillow is not installed.
    """
    if size is not None and channels is not None:
        return (*size, channels)
    height, width, found = _header(folder.paths[0])
    return (*(size or (height, width)), channels or found)


def read_images(folder: Folder, size: tuple[int, int] | None, channels: int | None) -> Raw:
    """Decode everything, uint8 (n, height, width) or (n, height, width, 3).

    size: resize to it, as the device will; None wants all images of one size. channels: 1 or 3, convert to it; None
    wants all images to have the first one's.

    Raises:
        DataError: naming the files that are damaged, too large, or of another size or number of channels.
        MissingExtraError: Pillow is not installed.
    """
    height, width, bands = image_shape(folder, size, channels)
    total = len(folder.paths) * height * width * bands
    if total > _MAX_BYTES:
        fix = "resize them: data.size: [64, 64], or use data.limit on a smaller folder"
        raise DataError(
            f"{len(folder.paths):,} images of {height} x {width} take {total:,} bytes", str(folder.root), fix
        )
    target = Preprocessing("image", height=height, width=width, channels=bands)
    parts: dict[str, Any] = {}
    problems: list[DataError] = []
    for split, files in folder.files.items():
        x = np.empty((len(files), height, width, bands), np.uint8)
        for i, (path, _) in enumerate(files):
            try:
                if channels is None or size is None:
                    _want_alike(path, (height, width), bands, size is None, channels is None)
                x[i] = _pixels(path, target)
            except DataError as error:
                problems.append(error)
        parts[f"x_{split}"] = x[..., 0] if bands == 1 else x
        parts[f"y_{split}"] = np.array([y for _, y in files], np.int64)
    if problems:
        raise together(problems)
    return Raw(**parts, classes=folder.classes)


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def _files(path: Path, classes: Sequence[str]) -> tuple[tuple[Path, int], ...]:
    found, problems = [], []
    for number, name in enumerate(classes):
        inside = sorted((path / name).iterdir()) if (path / name).is_dir() else []
        for file in inside:
            if file.name.startswith(".") or file.name.lower() in _JUNK:
                continue
            if not file.is_file() or file.suffix.lower() not in IMAGE_SUFFIXES:
                what = "it is a folder within a class" if file.is_dir() else "it is no image file"
                fix = f"move it away; images end in {', '.join(IMAGE_SUFFIXES)}"
                problems.append(DataError(what, str(file), fix))
            found.append((file, number))
    if problems:
        raise together(problems)
    if not found:
        raise DataError("it holds no images", str(path), "put the images of each class into a folder of its name")
    return tuple(found)


def _header(path: Path) -> tuple[int, int, int]:
    """Height and width upright, and channels, without decoding the pixels."""
    try:
        from PIL import ExifTags, Image, UnidentifiedImageError
    except ImportError as error:
        raise MissingExtraError("reading images needs Pillow", "data.images", "pip install pillow") from error
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            width, height = image.size[::-1] if turned else image.size
            return height, width, 1 if image.mode in _COLOUR[1] else 3
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        what = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"it cannot be read as an image: {what}", str(path), "repair it, or take it out") from error


def _want_alike(path: Path, size: tuple[int, int], bands: int, want_size: bool, want_bands: bool) -> None:
    height, width, found = _header(path)
    if want_size and (height, width) != size:
        what = f"it is {height} x {width}, the first image {size[0]} x {size[1]}"
        raise DataError(what, str(path), f"resize all of them alike: data.size: [{size[0]}, {size[1]}]")
    if want_bands and found != bands:
        sorts = {1: "grey", 3: "in colour"}
        what = f"it is {sorts[found]}, the first image {sorts[bands]}"
        raise DataError(what, str(path), "say what all are to be: data.channels: 1 or 3")


def _pixels(path: Path, target: Preprocessing) -> NDArray[np.uint8]:
    """(height, width, channels) of one file."""
    try:
        raw = as_array(path, target)
        inputs = target(raw[None])
    except EdgeError as error:
        raise DataError(error.what, str(path), "repair it, or take it out") from error
    return np.rint(inputs[0].transpose(1, 2, 0)).astype(np.uint8)
