"""Which examples a file is verified on: a recipe's test split, an .npz, or the bundle's own reference examples."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from edge_runtime.errors import EdgeError
from edge_runtime.files import read_checked, read_npz
from edge_runtime.manifest import Manifest, read_manifest
from edge_runtime.reference import unpack_inputs
from numpy.typing import NDArray

from compress.data.splits import stratified
from compress.errors import DataError, ModelError


@dataclass(frozen=True, slots=True)
class Examples:
    """x: raw examples as the bundle takes them. y: (n,) labels, None without. source: in words. of: before --limit."""

    x: Any
    y: NDArray[np.int64] | None
    source: str
    of: int

    def __len__(self) -> int:
        return len(self.x)


def open_bundle(bundle: Path) -> Manifest:
    """The manifest of a bundle folder.

    Raises:
        ModelError: it is no bundle, or a damaged one.
    """
    try:
        return read_manifest(bundle)
    except EdgeError as error:
        raise ModelError(error.what, error.where, error.fix) from error


def load_examples(bundle: Path, manifest: Manifest, data: Path | None, limit: int | None, seed: int = 0) -> Examples:
    """The examples to run, `limit` of them at most, drawn so that every class keeps its share.

    Raises:
        DataError, RecipeError: the data cannot be read, or does not belong to this bundle.
    """
    if data is None:
        found = _reference(bundle, manifest)
    elif data.suffix == ".npz":
        found = _npz(data)
    else:
        found = _recipe(data)
    if found.y is not None and len(found.y) and (found.y.min() < 0 or found.y.max() >= len(manifest.labels)):
        what = f"labels reach from {found.y.min()} to {found.y.max()}, the bundle has {len(manifest.labels)} classes"
        raise DataError(what, str(data), "give the data this bundle was made for")
    if not len(found):
        raise DataError("there are no examples", str(data), "give a test split that is not empty")
    if limit is None or limit >= len(found):
        return found
    generator = np.random.default_rng(seed)
    if found.y is None:
        index = np.sort(generator.permutation(len(found))[:limit])
    else:
        index = np.sort(stratified(found.y, limit, generator))
    x = found.x[index] if not isinstance(found.x, list) else [found.x[i] for i in index]
    return Examples(x, None if found.y is None else found.y[index], found.source, found.of)


def _recipe(path: Path) -> Examples:
    from compress.data.sources import open_data
    from compress.recipe.load import load_recipe

    recipe = load_recipe(path)
    split = open_data(recipe.data, recipe.seed).load().test
    return Examples(split.x, split.y, f"test split of {path.name}", len(split))


def _npz(path: Path) -> Examples:
    fix = "save it with numpy.savez(FILE, x=examples, y=labels); y may be left out"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            names = archive.files
            x_name = next((n for n in ("x", "x_test", "inputs") if n in names), None)
            y_name = next((n for n in ("y", "y_test") if n in names), None)
            if x_name is None:
                raise DataError(f"no array x or x_test; it has {names}", str(path), fix)
            x, y = archive[x_name], archive[y_name] if y_name else None
    except FileNotFoundError as error:
        raise DataError("there is no such file", str(path), "give a recipe or an .npz file") from error
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(f"it cannot be read: {error}", str(path), fix) from error
    if y is not None and (y.shape != x.shape[:1] or y.dtype.kind not in "iu"):
        raise DataError(f"y has shape {y.shape} and dtype {y.dtype}; want one whole number for each x", str(path), fix)
    return Examples(x, None if y is None else y.astype(np.int64), path.name, len(x))


def _reference(bundle: Path, manifest: Manifest) -> Examples:
    path = manifest.self_test.path
    try:
        arrays = read_npz(read_checked(bundle, path, manifest.files[path]), str(bundle / path))
        x = unpack_inputs(manifest, arrays)
    except EdgeError as error:
        raise ModelError(error.what, error.where, error.fix) from error
    except ValueError as error:
        raise ModelError(str(error), str(bundle / path), "write the bundle again with compress") from error
    return Examples(x, None, "the bundle's own reference examples, without labels", len(x))
