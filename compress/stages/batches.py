"""Training batches: the same global batches, in the same order, however many processes share them."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compress.data.augment import augment, changes_examples, mixup_share
from compress.data.dataset import Dataset, Split
from compress.errors import StageError
from compress.recipe.schema import AugmentConfig, Training
from compress.stages.texts import batches_of_alike, by_length, is_text

_MULTIPLE = 8  # tokens: what a batch's length is rounded up to
_TEXTS = 64  # a batch of texts that nobody learns from
_SHUFFLE_STREAM = 0x73687566  # keeps the shuffling generator apart from others with the same seed


@dataclass(frozen=True, slots=True)
class Batch:
    """This process's share of one global batch.

    x: (n, *input_shape) float32, channels last, or token ids (n, length) int64.
    targets: (n, classes) float32, labels smoothed and mixed.
    index: (n,) int64, places in the training split. total: examples in the global batch.
    """

    x: Tensor
    targets: Tensor
    index: Tensor
    total: int

    def __len__(self) -> int:
        return len(self.x)


class Feed:
    """Gives each epoch's batches.

    An epoch is a permutation drawn from (seed, epoch), cut into the fewest batches of at most batch_size examples, all
    of one size give or take one, so that no tiny last batch upsets batch norm. Process r takes every world-th example
    from the r-th on. Texts of about one length share a batch, which is cut to the longest of them.

    Raises:
        StageError: a batch is too small to give each process an example.
    """

    def __init__(
        self, data: Dataset, config: Training, *, seed: int, device: torch.device, rank: int = 0, world: int = 1
    ) -> None:
        self._data, self._seed, self._device, self._rank, self._world = data, seed, device, rank, world
        self._config, self._augment = config, config.augment or AugmentConfig()
        self._count = len(data.train)
        self.steps = ceil(self._count / config.batch_size)
        if self._count // self.steps < world:
            what = f"batches of {self._count // self.steps} examples cannot be shared by {world} processes"
            raise StageError(what, "training", "raise batch_size or start fewer processes")
        self._fixed = None if changes_examples(self._augment) else self._tensor(data.inputs(data.train))
        self._pad_id: int | None = data.preprocessing.pad_id if is_text(data) else None
        self._lengths: NDArray[np.int64] | None = None
        if self._fixed is not None and self._pad_id is not None:
            self._lengths = self._fixed.ne(self._pad_id).sum(1).cpu().numpy()

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch, counted from 0."""
        generator = np.random.default_rng([_SHUFFLE_STREAM, self._seed, epoch])
        order = generator.permutation(self._count)
        batches = np.array_split(order, self.steps)
        if self._lengths is not None:
            batches = batches_of_alike(order, self._lengths, self.steps, generator)
        for step, whole in enumerate(batches):
            mine = whole[self._rank :: self._world]
            x, targets = self._inputs(mine, epoch), self._targets(mine)
            share = mixup_share(self._augment, seed=self._seed, epoch=epoch, step=step)
            if share < 1.0:
                other = np.roll(whole, 1)[self._rank :: self._world]
                x = x * share + self._inputs(other, epoch) * (1.0 - share)
                targets = targets * share + self._targets(other) * (1.0 - share)
            yield Batch(_channels_last(x), targets, torch.from_numpy(mine).to(self._device), len(whole))

    def _inputs(self, index: NDArray[np.int64], epoch: int) -> Tensor:
        if self._fixed is not None:
            x = self._fixed[torch.from_numpy(index).to(self._device)]
            return x if self._pad_id is None else cropped(x, self._pad_id)
        raw = augment(self._data.train.x[index], index, self._augment, seed=self._seed, epoch=epoch)
        return self._tensor(self._data.preprocessing(raw))

    def _targets(self, index: NDArray[np.int64]) -> Tensor:
        classes, smoothing = len(self._data.classes), self._config.label_smoothing
        y = torch.from_numpy(self._data.train.y[index])
        hard = torch.nn.functional.one_hot(y, classes).to(torch.float32)
        return (hard * (1.0 - smoothing) + smoothing / classes).to(self._device)

    def _tensor(self, x: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(x).to(self._device)


def split_batches(
    data: Dataset, split: Split, device: torch.device, *, size: int = 256, rank: int = 0, world: int = 1
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Unchanged inputs, labels and places of a split; process r takes every world-th batch from the r-th on.

    In order, but for texts, of which those of about one length come together.
    """
    if is_text(data):
        yield from _text_batches(data, split, device, rank, world)
        return
    for start in range(rank * size, len(split), world * size):
        x = torch.from_numpy(data.preprocessing(split.x[start : start + size])).to(device)
        places = torch.arange(start, start + len(x))
        yield _channels_last(x), torch.from_numpy(split.y[start : start + size]).to(device), places.to(device)


def _text_batches(
    data: Dataset, split: Split, device: torch.device, rank: int, world: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    ids, pad_id = data.inputs(split), data.preprocessing.pad_id
    for i, places in enumerate(by_length(ids.astype(np.int64), pad_id, _TEXTS)):
        if i % world == rank:
            x, y = torch.from_numpy(ids[places]), torch.from_numpy(split.y[places])
            yield cropped(x, pad_id).to(device), y.to(device), torch.from_numpy(places).to(device)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def cropped(ids: Tensor, pad_id: int) -> Tensor:
    """(n, length) without the columns in which every text has ended, but for a multiple of 8."""
    used = torch.nonzero((ids != pad_id).any(0))
    length = int(used[-1]) + 1 if len(used) else 1
    return ids[:, : -(-length // _MULTIPLE) * _MULTIPLE]


def real_values(tensor: Tensor, ids: Tensor, pad_id: int | None) -> NDArray[np.float32]:
    """A tensor's values, of a sequence (n, length, features) those of the texts' own tokens; what padding gives is
    read by nobody and would widen the range."""
    if pad_id is not None and tensor.dim() == 3:
        tensor = tensor[ids != pad_id]
    values: NDArray[np.float32] = tensor.numpy()
    return values
