"""Windows are moved, amplified and roughened by (seed, epoch, example) alone."""

import numpy as np
import pytest

from compress.data.augment import augment, changes_examples
from compress.errors import DataError
from compress.recipe.schema import AugmentConfig

X = np.random.default_rng(0).normal(size=(20, 30, 3)).astype(np.float32)
INDEX = np.arange(20)


def changed(x=X, index=INDEX, seed=0, epoch=0, **config):
    return augment(x, index, AugmentConfig(**config), seed=seed, epoch=epoch)


def test_an_example_changes_the_same_way_in_any_batch():
    config = {"gain": 0.2, "shift_steps": 4, "jitter": 0.1}
    whole = changed(**config)

    np.testing.assert_array_equal(changed(X[[7, 3]], np.array([7, 3]), **config), whole[[7, 3]])
    assert whole.dtype == X.dtype
    for other in (changed(epoch=1, **config), changed(seed=1, **config)):
        assert not (other == whole).any()


def test_gain_is_one_factor_a_channel():
    factors = changed(gain=0.3) / X
    assert np.ptp(factors, axis=1).max() < 1e-5
    assert 0.7 <= factors.min() < factors.max() <= 1.3
    assert len(np.unique(np.round(factors[:, 0], 5))) == 60


def test_a_shift_moves_all_channels_and_repeats_the_ends():
    ramp = np.repeat(np.arange(30, dtype=np.float32)[:, None], 3, axis=1)[None].repeat(20, axis=0)
    moved = changed(ramp, shift_steps=4)
    by = moved[:, 15, 0] - 15
    assert set(by.tolist()) <= set(range(-4, 5))
    assert {by.min(), by.max()} == {-4, 4}
    for example, shift in zip(moved, by, strict=True):
        np.testing.assert_array_equal(example, np.clip(ramp[0] + shift, 0, 29))


def test_jitter_follows_each_channel_s_own_deviation():
    x = X * np.array([1.0, 10.0, 100.0], np.float32)
    noise = (changed(x, jitter=0.1) - x).std(axis=(0, 1))
    np.testing.assert_allclose(noise / x.std(axis=(0, 1)), 0.1, rtol=0.1)


def test_images_and_whole_numbers_are_no_windows():
    for x in (X[..., 0], (X * 9).astype(np.int16)):
        with pytest.raises(DataError, match="are no windows"):
            changed(x, gain=0.1)
    assert changes_examples(AugmentConfig(jitter=0.1))
    assert not changes_examples(AugmentConfig(mixup_alpha=0.4))
