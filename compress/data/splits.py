"""Check what a reader found and cut it into train, validation, test and calibration."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from edge_runtime.errors import BundleError
from edge_runtime.preprocessing import Preprocessing
from edge_runtime.window import WindowPreprocessing
from numpy.typing import NDArray

from compress.data.dataset import Dataset, Split, Untokenized
from compress.errors import DataError
from compress.readers.raw import Array, Examples, Raw
from compress.readers.texts import Texts
from compress.recipe.schema import DataConfig, NormalizeConfig

Indices = NDArray[np.int64]
_LEAST_SPREAD = 1e-6  # beside the mean: float32 has some 16 numbers in it
_TRIES = 200  # at choosing groups so that every class is on both sides


def make_dataset(raw: Raw, config: DataConfig, seed: int, *, name: str, fingerprint: str) -> Dataset:
    """Checked, stratified and normalised splits; the same seed gives the same ones.

    A source's own test split stays the test split, its own validation split likewise. Everything else, mean and std
    too, comes from the training examples alone. Where examples have groups, a group is on one side of every cut, and
    the shares count groups. `limit` shortens training examples and test split before anything else is cut from them.
    Calibration is at most as large as the training split it is drawn from.

    Raises:
        DataError: the data cannot be used as the recipe asks.
    """
    where = f"data {name}"
    classes = raw.classes or tuple(str(i) for i in range(_largest_label(raw.y_train, where) + 1))
    if len(classes) < 2:
        raise DataError(f"{len(classes)} class", where, "a classifier needs two or more")
    if len(set(classes)) != len(classes):
        raise DataError("two classes have the same name", where, "give each class its own name")
    train = replace(_checked(raw.x_train, raw.y_train, classes, f"{where} train"), columns=raw.columns)
    if raw.group is not None:
        train = replace(train, group=_numbered(raw.group, len(train), where))
    _want_every_class(train, classes, f"{where} train", "add examples of it, or drop it and renumber the labels")
    generator = np.random.default_rng([seed, 1])
    test = _given(raw.x_test, raw.y_test, raw.columns_test, train, classes, f"{where} test")
    if test is None:
        train, test = _split_off(train, config.test, classes, generator, f"{where} test")
    given_validation = _given(raw.x_validation, raw.y_validation, raw.columns_validation, train, classes,
                              f"{where} validation")  # fmt: skip
    if config.limit is not None:
        train = _at_most(train, config.limit, classes, generator, f"{where} limit")
        test = _at_most(test, max(config.limit // 5, len(classes)), classes, generator, f"{where} limit")
    if given_validation is None:
        train, validation = _split_off(train, config.validation, classes, generator, f"{where} validation")
    else:
        validation = given_validation
        if config.limit is not None:
            most = max(config.limit // 5, len(classes))
            validation = _at_most(validation, most, classes, generator, f"{where} limit")
    size = min(max(config.calibration, len(classes)), len(train))
    calibration = _at_most(train, size, classes, generator, f"{where} calibration")
    preprocessing = _preprocessing(train.x, raw, config.normalize, where)
    return Dataset(name, classes, preprocessing, train, validation, test, calibration, fingerprint)


def _largest_label(y: Array, where: str) -> int:
    if y.dtype.kind not in "ui" or not y.size:
        raise DataError(f"y is {y.dtype} of shape {y.shape}", f"{where} train", "give one whole number per example")
    if y.max() >= 100_000:
        raise DataError(f"the largest label is {y.max()}", f"{where} train", "number the classes 0, 1, 2, ...")
    return int(y.max())


def _given(
    x: Examples | None,
    y: Array | None,
    columns: Mapping[str, Array],
    train: Split,
    classes: tuple[str, ...],
    where: str,
) -> Split | None:
    """A split of the source's own, which must look like the training examples."""
    if x is None or y is None:
        return None
    split = replace(_checked(x, y, classes, where), columns=columns)
    kinds = [_kind(s.x) for s in (split, train)]
    if kinds[0] != kinds[1]:
        what = f"{where.rpartition(' ')[2]} examples are {kinds[0]}, training ones {kinds[1]}"
        raise DataError(what, where, "save both splits with one shape and dtype")
    return split


def _kind(x: Any) -> str:
    return "texts" if isinstance(x, Texts) else f"{x.dtype} {x.shape[1:]}"


def _numbered(group: Array, count: int, where: str) -> Indices:
    """Groups as whole numbers from 0, in sorted order."""
    if group.ndim != 1 or group.dtype.kind not in "uiU":
        fix = "give one whole number or text an example"
        raise DataError(f"group is {group.dtype} of shape {group.shape}", where, fix)
    if len(group) != count:
        raise DataError(f"{count} examples but {len(group)} groups", where, "give one group per example")
    return np.unique(group, return_inverse=True)[1].astype(np.int64)


def _checked(x: Examples, y: Array, classes: tuple[str, ...], where: str) -> Split:
    if not isinstance(x, Texts):
        _check_array(x, where)
    if y.ndim != 1 or y.dtype.kind not in "ui":
        raise DataError(f"y is {y.dtype} of shape {y.shape}", where, "give one whole number per example")
    if len(x) != len(y):
        raise DataError(f"{len(x)} examples but {len(y)} labels", where, "give one label per example")
    if not len(x) or (not isinstance(x, Texts) and not x.size):
        shape = (0,) if isinstance(x, Texts) else x.shape
        raise DataError(f"it is empty: x has shape {shape}", where, "give at least one example of each class")
    if y.min() < 0 or y.max() >= len(classes):
        bad = int(np.argmax((y < 0) | (y >= len(classes))))
        what = f"label {y[bad]} of example {bad} is outside 0..{len(classes) - 1}"
        raise DataError(what, where, "correct it, or name all classes")
    if not isinstance(x, Texts) and x.dtype.kind == "f" and not np.isfinite(x).all():
        finite = np.isfinite(x).reshape(len(x), -1).all(axis=1)
        count, first = np.count_nonzero(~finite), np.argmin(finite)
        what = f"{count} of {len(x)} examples hold NaN or infinity, the first is example {first}"
        raise DataError(what, where, "remove or repair them")
    return Split(x, y.astype(np.int64))


def _check_array(x: Array, where: str) -> None:
    if x.ndim not in (2, 3, 4):
        fix = "give (n, height, width), (n, height, width, channels) or (n, length)"
        raise DataError(f"x has shape {x.shape}", where, fix)
    if x.ndim == 4 and x.shape[3] > 4 >= x.shape[1]:
        raise DataError(f"x has shape {x.shape}, which looks channel first", where, "move channels to the last axis")
    if x.dtype.kind not in "uif":
        raise DataError(f"x has dtype {x.dtype}", where, "give numbers: uint8, another integer or a float")


def _want_every_class(split: Split, classes: tuple[str, ...], where: str, fix: str) -> None:
    counts = np.bincount(split.y, minlength=len(classes))
    if not counts.all():
        absent = [repr(c) for c, n in zip(classes, counts, strict=True) if not n]
        raise DataError(f"no example of class {', '.join(absent[:5])}", where, fix)


def _split_off(
    split: Split, share: float, classes: tuple[str, ...], generator: np.random.Generator, where: str
) -> tuple[Split, Split]:
    """Two parts, the second holding `share` of every class, or of the groups; every class is in both."""
    if split.group is not None:
        return _split_off_groups(split, split.group, share, classes, generator, where)
    count = max(round(len(split) * share), 1)
    fix = "use more data, a larger share or no limit"
    if count < len(classes) or len(split) - count < len(classes):
        parts = f"{len(split)} examples give {len(split) - count} and {count}"
        raise DataError(f"{parts}; each of {len(classes)} classes must be in both", where, fix)
    taken = stratified(split.y, count, generator)
    mask = np.zeros(len(split), bool)
    mask[taken] = True
    rest, part = split.take(~mask), split.take(mask)
    for piece in (rest, part):
        _want_every_class(piece, classes, f"{where}, after splitting", "use more data; each class needs 2 or more")
    return rest, part


def _split_off_groups(
    split: Split, group: Indices, share: float, classes: tuple[str, ...], generator: np.random.Generator, where: str
) -> tuple[Split, Split]:
    """Whole groups, drawn until a draw leaves every class on both sides."""
    names = np.unique(group)
    count = max(round(len(names) * share), 1)
    if count >= len(names):
        fix = "use data of more groups, or a smaller share"
        raise DataError(f"{len(names)} groups cannot be shared out: {count} would leave none", where, fix)
    for _ in range(_TRIES):
        mask = np.isin(group, generator.permutation(names)[:count])
        if all(len(np.unique(y)) == len(classes) for y in (split.y[mask], split.y[~mask])):
            return split.take(~mask), split.take(mask)
    what = f"no {count} of {len(names)} groups leave every class on both sides ({_TRIES} draws)"
    raise DataError(what, where, "some class is in too few groups: use more data, or another share")


def _at_most(split: Split, count: int, classes: tuple[str, ...], generator: np.random.Generator, where: str) -> Split:
    if count >= len(split):
        return split
    if count < len(classes):
        raise DataError(f"{count} examples for {len(classes)} classes", where, f"allow at least {len(classes)}")
    return split.take(stratified(split.y, count, generator))


def stratified(y: Indices, count: int, generator: np.random.Generator) -> Indices:
    """Indices of `count` examples, ascending, classes in their proportions and each at least once where there is room.

    Whole numbers by largest remainder. A class loses its last example only if all of them are taken.
    """
    labels, have = np.unique(y, return_counts=True)
    exact = have * (count / len(y))
    want = np.floor(exact).astype(np.int64)
    order = np.argsort(want - exact, kind="stable")  # largest remainder first, ties to the lower label
    want[order[: count - want.sum()]] += 1
    for i in np.flatnonzero(want == 0):  # a rare class still gets one, at the cost of the most frequent
        largest = int(np.argmax(want))
        if want[largest] > 1:
            want[i], want[largest] = 1, want[largest] - 1
    chosen = [generator.permutation(np.flatnonzero(y == c))[:n] for c, n in zip(labels, want, strict=True)]
    return np.sort(np.concatenate(chosen))


def _preprocessing(
    x: Examples, raw: Raw, given: NormalizeConfig | None, where: str
) -> Preprocessing | WindowPreprocessing | Untokenized:
    """Brings training examples to mean 0 and standard deviation 1 per channel or table column; else all together.

    given: the numbers that a model was trained with elsewhere, instead.
    """
    if isinstance(x, Texts):
        return Untokenized()
    windows = raw.kind == "windows"
    if windows and x.ndim != 3:
        raise DataError(f"x has shape {x.shape}", where, "windows want (n, length, channels)")
    if given is not None:
        return _as_given(x, given, windows, f"{where} normalize")
    scale = raw.scale or (1 / 255 if x.dtype == np.uint8 and not windows else 1.0)
    channels = x.shape[-1] if x.ndim == 4 or raw.kind != "examples" else 1
    flat = x.reshape(-1, channels)
    mean = flat.mean(axis=0, dtype=np.float64)
    std = flat.std(axis=0, dtype=np.float64)  # not by the mean square, which leaves no digit of large numbers
    flattest = int(np.argmin(std - _LEAST_SPREAD * abs(mean)))
    if std[flattest] <= _LEAST_SPREAD * abs(mean[flattest]):
        which = f"{'column' if raw.kind == 'table' else 'channel'} {flattest + 1} of {channels}"
        what = "all training values are the same" if channels == 1 else f"{which} never changes"
        if np.ptp(flat[:, flattest]):
            what = f"{which} has values around {mean[flattest]:.6g} that float32 can hardly tell apart"
        raise DataError(what, where, "give examples that differ, subtract an offset, or leave it out")
    numbers: dict[str, Any] = {"scale": scale, "mean": _short(mean * scale, std * scale), "std": _short(std * scale)}
    return _made(x, windows, numbers)


def _as_given(x: Array, given: NormalizeConfig, windows: bool, where: str) -> Preprocessing | WindowPreprocessing:
    try:
        return _made(x, windows, given.model_dump())
    except BundleError as error:
        fix = "give one number, or one for each channel (images, windows) or element (vectors)"
        raise DataError(error.what, where, fix) from error


def _made(x: Array, windows: bool, numbers: Mapping[str, Any]) -> Preprocessing | WindowPreprocessing:
    channels = x.shape[-1] if x.ndim == 4 or windows else 1
    if windows:
        return WindowPreprocessing(length=x.shape[1], channels=channels, **numbers)
    if x.ndim == 2:
        return Preprocessing("vector", length=x.shape[1], **numbers)
    return Preprocessing("image", height=x.shape[1], width=x.shape[2], channels=channels, **numbers)


def _short(values: NDArray[np.float64], beside: NDArray[np.float64] | None = None) -> tuple[float, ...]:
    """Six significant digits: enough, and readable in a manifest. More where `beside`, a spread, is far smaller."""
    ratio = np.ones_like(values) if beside is None else np.maximum(abs(values) / beside, 1.0)
    digits = np.clip(np.floor(np.log10(ratio)) + 4, 6, 9).astype(int)  # float32 has nine at most
    return tuple(float(f"{v:.{d}g}") for v, d in zip(values.tolist(), digits.tolist(), strict=True))
