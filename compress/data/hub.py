"""Images or texts with classes from data sets of the Hugging Face hub, at a pinned commit. Needs the hf extra."""

import importlib.util
from typing import Any

import numpy as np

from compress.errors import DataError, MissingExtraError
from compress.readers.raw import Array, Raw
from compress.readers.texts import Texts

FASHION_MNIST = ("zalando-datasets/fashion_mnist", "531be5e2ccc9dba0c201ad3ae567a4f3d16ecdd2")


def has_hub() -> bool:
    """True if the `datasets` library is installed; does not import it."""
    return importlib.util.find_spec("datasets") is not None


def require_hub(name: str) -> None:
    """Raise MissingExtraError unless the `datasets` library is installed."""
    if not has_hub():
        what = "reading from the hub needs the datasets library"
        raise MissingExtraError(what, f"data.hf {name}", "pip install 'compress-edge[hf]'")


def read_hub(name: str, revision: str, text: str | None = None, label: str = "label") -> Raw:
    """Download (or take from the local hub cache) the train split and, if it has them, test and validation.

    text, label: the columns of a set of texts; without, the set's only image and class columns are taken.

    Raises:
        MissingExtraError: `datasets` is not installed.
        DataError: it cannot be reached, or lacks such columns.
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
    features = splits["train"].features
    if text is None:
        image, label, classes = _columns(features, where)
    else:
        classes = _text_columns(features, text, label, where)
    found: dict[str, Any] = {}
    for split in ("train", "validation", "test"):
        if split not in splits or (split == "validation" and text is None):  # images never had one taken
            continue
        part = splits[split]
        x = _arrays(part, image, where) if text is None else _texts(part, text, f"{where} {split}")
        y = np.asarray(part[label])
        if split == "test" and (y < 0).all():  # how sets on the hub withhold their test labels
            continue
        found[f"x_{split}"], found[f"y_{split}"] = x, y
    return Raw(**found, classes=classes)


def _text_columns(features: Any, text: str, label: str, where: str) -> tuple[str, ...]:
    import datasets

    for name in (text, label):
        if name not in features:
            raise DataError(f"it has no column {name!r}", where, f"its columns are {', '.join(features)}")
    if not isinstance(features[text], datasets.Value) or features[text].dtype not in ("string", "large_string"):
        raise DataError(f"column {text!r} holds no texts but {features[text]}", where, "name another in data.text")
    if not isinstance(features[label], datasets.ClassLabel):
        fix = "name the class column in data.label, or write the set to a .jsonl file"
        raise DataError(f"column {label!r} holds no classes but {features[label]}", where, fix)
    return tuple(features[label].names)


def _texts(split: Any, text: str, where: str) -> Texts:
    texts = list(split[text])
    if None in texts:
        raise DataError(f"example {texts.index(None)} has no text", where, "write the set to a .jsonl file without it")
    return Texts(texts)


def _columns(features: Any, where: str) -> tuple[str, str, tuple[str, ...]]:
    import datasets

    images = [k for k, f in features.items() if isinstance(f, datasets.Image)]
    labels = [k for k, f in features.items() if isinstance(f, datasets.ClassLabel)]
    if len(images) != 1 or len(labels) != 1:
        what = f"want one image and one class column, it has images {images} and classes {labels}"
        raise DataError(what, where, "convert it to an .npz with x_train, y_train and use data.npz")
    return images[0], labels[0], tuple(features[labels[0]].names)


def _arrays(split: Any, image: str, where: str) -> Array:
    pictures = [np.asarray(picture) for picture in split[image]]
    shapes = sorted({p.shape for p in pictures})
    if len(shapes) != 1:
        what = f"its images have {len(shapes)} different shapes, such as {shapes[:3]}"
        raise DataError(what, where, "save them as files, one folder a class, and use data.images with size")
    return np.stack(pictures)
