"""Image classification data sets of the Hugging Face hub, at a pinned commit. Needs a network and the hf extra."""

import importlib.util
from typing import Any

import numpy as np

from compress.errors import DataError, MissingExtraError
from compress.readers.raw import Array, Raw

FASHION_MNIST = ("zalando-datasets/fashion_mnist", "531be5e2ccc9dba0c201ad3ae567a4f3d16ecdd2")


def has_hub() -> bool:
    """True if the `datasets` library is installed; does not import it."""
    return importlib.util.find_spec("datasets") is not None


def require_hub(name: str) -> None:
    """Raise MissingExtraError unless the `datasets` library is installed."""
    if not has_hub():
        what = "reading from the hub needs the datasets library"
        raise MissingExtraError(what, f"data.hf {name}", "pip install 'compress-edge[hf]'")


def read_hub(name: str, revision: str) -> Raw:
    """Download (or take from the local hub cache) the train and, if it has one, the test split.

    Raises:
        MissingExtraError: `datasets` is not installed.
        DataError: it cannot be reached, or has not exactly one image and one class column.
    """
    require_hub(name)
    import datasets

    where = f"data.hf {name}@{revision}"
    try:
        splits = datasets.load_dataset(name, revision=revision)
    except (OSError, ValueError, RuntimeError) as error:  # the library's own errors and network errors are among these
        fix = "check id, revision and network; a set that was downloaded before works offline with HF_HUB_OFFLINE=1"
        raise DataError(f"it cannot be loaded: {[*str(error).splitlines(), repr(error)][0]}", where, fix) from error
    if "train" not in splits:
        raise DataError(f"it has no train split, only {sorted(splits)}", where, "use a set with a split named train")
    image, label, classes = _columns(splits["train"].features, where)
    x_train, y_train = _arrays(splits["train"], image, label, where)
    if "test" not in splits:
        return Raw(x_train, y_train, classes=classes)
    return Raw(x_train, y_train, *_arrays(splits["test"], image, label, where), classes=classes)


def _columns(features: Any, where: str) -> tuple[str, str, tuple[str, ...]]:
    import datasets

    images = [k for k, f in features.items() if isinstance(f, datasets.Image)]
    labels = [k for k, f in features.items() if isinstance(f, datasets.ClassLabel)]
    if len(images) != 1 or len(labels) != 1:
        what = f"want one image and one class column, it has images {images} and classes {labels}"
        raise DataError(what, where, "convert it to an .npz with x_train, y_train and use data.npz")
    return images[0], labels[0], tuple(features[labels[0]].names)


def _arrays(split: Any, image: str, label: str, where: str) -> tuple[Array, Array]:
    pictures = [np.asarray(picture) for picture in split[image]]
    shapes = sorted({p.shape for p in pictures})
    if len(shapes) != 1:
        what = f"its images have {len(shapes)} different shapes, such as {shapes[:3]}"
        raise DataError(what, where, "resize them to one size, save an .npz and use data.npz")
    return np.stack(pictures), np.asarray(split[label])
