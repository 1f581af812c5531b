"""Batches: every example once, the same global batch however many processes share it."""

import numpy as np
import pytest
import torch

from compress.errors import StageError
from compress.recipe.schema import AugmentConfig, TrainConfig
from compress.stages.batches import Feed, split_batches

CPU = torch.device("cpu")
AUGMENTED = AugmentConfig(shift_pixels=1, mixup_alpha=0.4)


def feed(data, rank=0, world=1, seed=0, **config):
    return Feed(data, TrainConfig(**{"batch_size": 64, **config}), seed=seed, device=CPU, rank=rank, world=world)


def test_an_epoch_shows_every_example_once_in_even_batches(digits):
    batches = list(feed(digits, batch_size=100).epoch(0))

    assert sorted(torch.cat([b.index for b in batches]).tolist()) == list(range(len(digits.train)))
    assert {len(b) for b in batches} == {87, 88}  # 525 examples in 6 batches, no small last one
    for b in batches:
        np.testing.assert_array_equal(b.x.numpy(), digits.preprocessing(digits.train.x[b.index.numpy()]))
        assert b.targets.argmax(1).tolist() == digits.train.y[b.index.numpy()].tolist()


def test_epochs_and_seeds_are_shuffled_apart_and_repeat(digits):
    def first(seed, epoch):
        return next(feed(digits, seed=seed).epoch(epoch)).index.tolist()

    assert first(0, 0) == first(0, 0)
    assert len({tuple(first(s, e)) for s in (0, 1) for e in (0, 1)}) == 4


@pytest.mark.parametrize("augment", [None, AUGMENTED], ids=["plain", "augmented"])
def test_two_processes_share_the_batch_that_one_would_see(digits, augment):
    whole = list(feed(digits, batch_size=35, augment=augment).epoch(3))
    parts = [list(feed(digits, r, 2, batch_size=35, augment=augment).epoch(3)) for r in (0, 1)]

    for one, a, b in zip(whole, *parts, strict=True):
        assert (len(a), len(b), a.total, b.total) == ((len(one) + 1) // 2, len(one) // 2, len(one), len(one))
        torch.testing.assert_close(one.x[0::2], a.x, rtol=0, atol=0)
        torch.testing.assert_close(one.x[1::2], b.x, rtol=0, atol=0)
        torch.testing.assert_close(one.targets[1::2], b.targets, rtol=0, atol=0)


def test_more_processes_than_examples_in_a_batch_is_refused(digits):
    with pytest.raises(StageError, match="batches of 3 examples cannot be shared by 4 processes") as caught:
        feed(digits, 0, 4, batch_size=3)
    assert caught.value.fix == "raise batch_size or start fewer processes"


def test_targets_are_smoothed_and_mixed_and_sum_to_one(digits):
    plain = next(feed(digits, label_smoothing=0.1).epoch(0))
    mixed = next(feed(digits, augment=AUGMENTED).epoch(0))

    np.testing.assert_allclose(np.unique(plain.targets.numpy()), [0.01, 0.91], rtol=1e-6)
    torch.testing.assert_close(mixed.targets.sum(1), torch.ones(len(mixed)))
    assert ((mixed.targets > 0).sum(1) <= 2).all()
    assert ((mixed.targets > 0).sum(1) == 2).any()


def test_images_are_channels_last(digits):
    assert next(feed(digits).epoch(0)).x.is_contiguous(memory_format=torch.channels_last)


def test_split_batches_cover_a_split_in_order_between_processes(digits):
    parts = [list(split_batches(digits, digits.train, CPU, size=100, rank=r, world=2)) for r in (0, 1)]
    labels, places = zip(*((y, index) for pair in zip(*parts, strict=True) for _, y, index in pair), strict=True)

    assert torch.cat(labels).tolist() == digits.train.y.tolist()
    assert torch.cat(places).tolist() == list(range(len(digits.train)))
