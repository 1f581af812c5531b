"""Examples and labels from an .npz archive, and its shapes from the headers alone. Objects (pickles) are never read."""

import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from compress.errors import DataError
from compress.readers.raw import Array, Raw

_KNOWN = ("x_train", "y_train", "x_test", "y_test", "classes", "group")
# What numpy and zipfile raise for damaged archives, found by flipping bytes (tests/unit/data/test_sources.py).
_DAMAGE = (
    *(OSError, ValueError, EOFError, KeyError, IndexError, TypeError, SyntaxError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)


def read_npz(path: Path, *, group: bool = False, windows: bool = False, metadata: Sequence[str] = ()) -> Raw:
    """All of it.

    group: whether the array of that name chooses the splits; without, it is not read. windows: x_train, of three
    dimensions, holds windows of sensor readings. metadata: NAME stands for the arrays NAME_train and NAME_test.

    Raises:
        DataError: it is damaged, an array is missing, or classes are no texts.
    """
    where = f"data.npz {path}"
    if not zipfile.is_zipfile(path):
        raise DataError("it is no .npz archive", where, "save the arrays with numpy.savez")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            names = archive.files
            found: dict[str, Array] = {k: archive[k] for k in _KNOWN if k in names and (group or k != "group")}
            facts = {k: archive[k] for m in metadata for k in (f"{m}_train", f"{m}_test") if k in names}
    except _DAMAGE as error:
        fix = "save plain number and text arrays with numpy.savez; objects (pickles) are never read"
        raise DataError(f"it cannot be read: {error}", where, fix) from error
    if missing := [k for k in ("x_train", "y_train", *["group"] * group) if k not in found]:
        fix = f"name the arrays {', '.join(_KNOWN)}"
        raise DataError(f"{' and '.join(missing)} missing; it has {names}", where, fix)
    if ("x_test" in found) != ("y_test" in found):
        raise DataError("it has only one of x_test and y_test", where, "give both, or none to split a test set off")
    classes = found.get("classes")
    if classes is not None and (classes.ndim != 1 or classes.dtype.kind != "U"):
        fix = "save it as a list of strings"
        raise DataError(f"classes has shape {classes.shape} and dtype {classes.dtype}, want texts", where, fix)
    texts = None if classes is None else tuple(str(c) for c in classes)
    columns = {
        part: {m: _column(facts, f"{m}_{part}", len(found[f"y_{part}"]), where) for m in metadata}
        for part in ("train", "test")
        if f"y_{part}" in found
    }
    test = found.get("x_test"), found.get("y_test")
    return Raw(found["x_train"], found["y_train"], *test, texts, kind="windows" if windows else "examples",
               group=found.get("group"), columns=columns["train"], columns_test=columns.get("test", {}))  # fmt: skip


def _column(facts: Mapping[str, Array], name: str, count: int, where: str) -> Array:
    """Facts about examples, as texts."""
    if name not in facts:
        raise DataError(f"{name} missing", where, "give metadata NAME as the arrays NAME_train and NAME_test")
    if facts[name].shape != (count,) or facts[name].dtype.kind not in "uifUb":
        what = f"{name} is {facts[name].dtype} of shape {facts[name].shape}"
        raise DataError(what, where, f"give one number or text for each of {count} examples")
    return facts[name].astype(str)


def npz_shape(path: Path) -> tuple[tuple[int, ...], int]:
    """Shape of x_train, its examples first, and the number of classes.

    Raises:
        DataError: it is damaged, or an array is missing or of a kind that cannot be used.
    """
    where = str(path)
    if not path.is_file():
        raise DataError("there is no such file", where, "give an .npz with x_train and y_train")
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if lacking := [n for n in ("x_train", "y_train") if f"{n}.npy" not in names]:
                fix = "name its arrays x_train, y_train, x_test, y_test"
                raise DataError(f"it lacks {' and '.join(lacking)}", where, fix)
            x = _shape_of(archive, "x_train")
            if 0 in x:
                raise DataError(f"x_train is empty: its shape is {x}", where, "give training examples")
            if "classes.npy" in names:
                return x, int(_shape_of(archive, "classes")[0])
            with archive.open("y_train.npy") as file:
                y = np.lib.format.read_array(file, allow_pickle=False)
    except _DAMAGE as error:
        raise DataError(f"it cannot be read: {error}", where, "write it with numpy.savez") from error
    if y.dtype.kind not in "iu" or not y.size:
        fix = "give one whole number an example; the labels' texts go into an array `classes`"
        raise DataError(f"y_train is {y.dtype} of shape {y.shape}", where, fix)
    return x, int(y.max()) + 1


def _shape_of(archive: zipfile.ZipFile, name: str) -> tuple[int, ...]:
    with archive.open(f"{name}.npy") as file:
        major, _ = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        shape: tuple[int, ...] = read(file)[0]
    return shape
