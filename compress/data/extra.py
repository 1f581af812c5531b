"""Labels from the field: inputs that a device queued and a person labelled, as additional training examples."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.data.dataset import Dataset, Split
from compress.errors import DataError
from compress.readers.labelled import Item, Queue, digest_queue, open_queue
from compress.readers.texts import Texts

VERSION = 1  # of what is added how: raise it when the same folders give another training split


def fingerprint(folders: Sequence[str]) -> str:
    """sha256 over the labels of folders and what they are about."""
    digests = [digest_queue(Path(folder)) for folder in folders]
    return hashlib.sha256("|".join([str(VERSION), *digests]).encode()).hexdigest()


def add_labelled(data: Dataset, folders: Sequence[str]) -> Dataset:
    """The data with every labelled item of exported queues in its training split, and nowhere else.

    An item that is byte for byte an example of the validation or test split is left out: training must not see it.
    One that stands in the training split already corrects that example's label. `added` counts all three.

    Raises:
        DataError: a folder is damaged, has no labels, or its items do not fit the data; an item has two labels.
    """
    held_out = {_digest(x) for split in (data.validation, data.test) for x in split.x}
    found: dict[str, tuple[Any, int, str]] = {}
    left_out = 0
    for folder in folders:
        queue = open_queue(Path(folder))
        _want_kind(queue, data)
        decisions = queue.decisions()
        if not decisions:
            raise DataError("it holds no labels yet", f"data.extra {folder}", f"compress label {folder}")
        for id, label in decisions.items():
            if label not in data.classes:
                fix = f"the data has {', '.join(data.classes[:12])}"
                raise DataError(f"item {id} is labelled {label!r}, which is no class", f"data.extra {folder}", fix)
            x, y = _example(queue, queue.items[id], data), data.classes.index(label)
            digest = _digest(x)
            left_out += digest in held_out
            if digest in found and found[digest][1] != y:
                what = f"items {found[digest][2]} and {id} are the same input with two labels"
                raise DataError(what, f"data.extra {folder}", "correct one of them with `compress label`")
            if digest not in held_out:
                found[digest] = (x, y, id)
    train, corrected = _corrected(data.train, found)
    new = [(x, y) for x, y, _ in found.values()]
    counts = {"from the field": len(new), "corrected by the field": corrected,
              "from the field, left out since held out": left_out}  # fmt: skip
    return replace(data, train=_joined(train, new), added=counts)


def _corrected(train: Split, found: dict[str, tuple[Any, int, str]]) -> tuple[Split, int]:
    """The training split with the labels that the field gave its own examples; they leave `found`."""
    y, places = train.y.copy(), {_digest(x): i for i, x in enumerate(train.x)}
    known = {digest: label for digest, (_, label, _) in found.items() if digest in places}
    for digest, label in known.items():
        y[places[digest]] = label
        del found[digest]
    return replace(train, y=y), int((y != train.y).sum())


def _joined(train: Split, new: list[tuple[Any, int]]) -> Split:
    if not new:
        return train
    y = np.concatenate([train.y, np.array([label for _, label in new], np.int64)])
    group = train.group
    if group is not None:  # nobody knows whose they are: each is a group of its own
        group = np.concatenate([group, group.max() + 1 + np.arange(len(new), dtype=np.int64)])
    if isinstance(train.x, Texts):
        return Split(Texts([*train.x, *(x for x, _ in new)]), y, group)
    return Split(np.concatenate([train.x, np.stack([x for x, _ in new])]), y, group)


def _want_kind(queue: Queue, data: Dataset) -> None:
    kind = "text" if isinstance(data.train.x, Texts) else data.preprocessing.kind
    if queue.kind != kind:
        fix = "give a queue of a model that was trained on this kind of data"
        raise DataError(f"it holds {queue.kind} inputs, the data {kind}", f"data.extra {queue.folder}", fix)


def _example(queue: Queue, item: Item, data: Dataset) -> Any:
    """The item in the form and type of the data's own examples."""
    where = f"data.extra {queue.folder}, item {item.id}"
    if queue.kind == "text":
        if item.text is None:
            raise DataError("it holds no text", where, 'only features were kept; use keep="raw"')
        return item.text
    x, shape, dtype = queue.array(item), data.train.x.shape[1:], data.train.x.dtype
    if x.size != int(np.prod(shape)) or _plain(x.shape) != _plain(shape):
        fix = "a device keeps inputs at its model's size: use labels of a model that takes the size of this data"
        raise DataError(f"it has shape {x.shape}, the data's examples {shape}", where, fix)
    out: NDArray[Any] = (np.rint(x) if dtype.kind in "ui" else x).astype(dtype).reshape(shape)
    off = 0.5 if dtype.kind in "ui" else 1e-3 * max(1.0, float(np.abs(x).max()))
    if not np.allclose(out, x.reshape(shape), atol=off):
        raise DataError(f"its values do not fit the data's type {dtype}", where, "use labels of a model of this data")
    return out


def _plain(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def _digest(x: Any) -> str:
    data = x.encode("utf-8", "replace") if isinstance(x, str) else np.ascontiguousarray(x).tobytes()
    return hashlib.sha256(data).hexdigest()
