"""Augmentation depends on (seed, epoch, example) alone, and changes images the way its settings say."""

import numpy as np
import pytest

from compress.data.augment import augment, is_active, mixup_share
from compress.errors import DataError
from compress.recipe.schema import AugmentConfig

ALL = AugmentConfig(horizontal_flip=True, shift_pixels=2, erase=0.5)


def images(count=64, shape=(8, 6), dtype=np.uint8):
    return np.random.default_rng(0).integers(1, 255, (count, *shape)).astype(dtype)


def changed(x, index=None, config=ALL, seed=0, epoch=0):
    return augment(x, np.arange(len(x)) if index is None else index, config, seed=seed, epoch=epoch)


@pytest.mark.parametrize("shape", [(8, 6), (8, 6, 3)])
def test_an_example_changes_the_same_way_in_any_batch(shape):
    x = images(shape=shape)
    whole = changed(x)
    order = np.random.default_rng(1).permutation(len(x))

    np.testing.assert_array_equal(changed(x[order], order), whole[order])
    np.testing.assert_array_equal(changed(x[5:6], np.array([5])), whole[5:6])


def test_another_epoch_or_seed_changes_it_otherwise():
    x = images()

    assert not np.array_equal(changed(x, epoch=0), changed(x, epoch=1))
    assert not np.array_equal(changed(x, seed=0), changed(x, seed=1))


def test_the_input_is_left_alone_and_the_type_kept():
    x = images(dtype=np.float32)
    before = x.copy()

    assert changed(x).dtype == np.float32
    np.testing.assert_array_equal(x, before)
    assert changed(x, config=AugmentConfig()) is x


def test_flip_mirrors_about_half_of_the_images():
    x = images(2000)
    out = changed(x, config=AugmentConfig(horizontal_flip=True))
    same, mirrored = (np.array([np.array_equal(a, b) for a, b in zip(out, o, strict=True)]) for o in (x, x[:, :, ::-1]))

    assert (same ^ mirrored).all()
    assert 0.45 < mirrored.mean() < 0.55


def test_shift_moves_every_way_and_lets_zeros_in():
    x = np.zeros((3000, 9, 9), np.uint8)
    x[:, 4, 4] = 1
    out = changed(x, config=AugmentConfig(shift_pixels=2))
    _, rows, columns = np.nonzero(out)

    assert len(rows) == 3000
    counts = np.histogram2d(rows, columns, bins=[range(2, 8)] * 2)[0]
    assert counts.sum() == 3000
    assert counts.min() > 60  # 25 places, 120 expected in each
    edge = changed(np.ones((50, 5, 5), np.uint8), config=AugmentConfig(shift_pixels=2))
    assert set(np.unique(edge)) == {0, 1}


def test_colour_moves_together():
    x = images(20, (7, 7, 1)).repeat(3, axis=3)
    out = changed(x, config=AugmentConfig(shift_pixels=3, horizontal_flip=True))

    np.testing.assert_array_equal(out[..., 0], out[..., 2])
    np.testing.assert_array_equal(
        out[..., 0], changed(x[..., 0], config=AugmentConfig(shift_pixels=3, horizontal_flip=True))
    )


def test_erase_blanks_one_rectangle_in_its_share_of_images():
    x = np.ones((2000, 16, 16), np.uint8)
    out = changed(x, config=AugmentConfig(erase=0.25))
    holes = (out == 0).reshape(2000, -1).sum(1)
    first = out[np.argmax(holes > 0)]
    rows, columns = np.nonzero(first == 0)

    assert 0.21 < (holes > 0).mean() < 0.29
    assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    assert holes.max() <= 8 * 8


def test_vectors_cannot_be_shifted():
    with pytest.raises(DataError, match=r"examples of shape \(7,\) are no images") as caught:
        changed(np.zeros((3, 7)))
    assert "mixup works on any data" in caught.value.fix


def test_mixup_keeps_the_larger_part_and_depends_on_the_step():
    config = AugmentConfig(mixup_alpha=0.4)
    shares = [mixup_share(config, seed=0, epoch=1, step=s) for s in range(50)]

    assert all(0.5 <= s <= 1.0 for s in shares)
    assert len(set(shares)) == 50
    assert shares[3] == mixup_share(config, seed=0, epoch=1, step=3)
    assert mixup_share(AugmentConfig(), seed=0, epoch=0, step=0) == 1.0
    assert is_active(config)
    assert not is_active(AugmentConfig())
