"""Random changes to training images that depend on (seed, epoch, example) alone.

Not on the batch an example is in, its place there, or how many processes share the work: so two processes train on
exactly the images that one would. Randomness is a hash of those numbers (SplitMix64, Steele et al. 2014,
doi:10.1145/2660193.2660195), computed for a whole batch at once.
"""

import numpy as np
from numpy.typing import NDArray

from compress.data.augment_windows import augment_windows
from compress.errors import DataError
from compress.readers.raw import Array
from compress.recipe.schema import AugmentConfig

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_DRAWS = {"flip": 0, "shift_y": 1, "shift_x": 2, "erase": 3, "erase_h": 4, "erase_w": 5, "erase_y": 6, "erase_x": 7}
_MIXUP_STREAM = 0x6D69787570  # keeps mixup's generator apart from the one that shuffles


def changes_examples(config: AugmentConfig) -> bool:
    """True if a training example looks different from epoch to epoch (mixup aside)."""
    return any(getattr(config, name) for name in (*AugmentConfig.IMAGES, *AugmentConfig.WINDOWS))


def is_active(config: AugmentConfig) -> bool:
    """True if anything at all is random about a training batch."""
    return changes_examples(config) or config.mixup_alpha > 0.0


def augment(x: Array, index: NDArray[np.int64], config: AugmentConfig, *, seed: int, epoch: int) -> Array:
    """Changed copies of raw images; blank is raw value 0.

    x: (n, height, width) or (n, height, width, channels), any dtype, kept. index: (n,) the examples' places in train.

    Raises:
        DataError: the examples are no images.
    """
    if any(getattr(config, name) for name in AugmentConfig.WINDOWS):
        return augment_windows(x, index, config, seed=seed, epoch=epoch)
    if not changes_examples(config):
        return x
    if x.ndim not in (3, 4):
        fix = "turn flip, shift and erase off; mixup works on any data"
        raise DataError(f"examples of shape {x.shape[1:]} are no images", "augment", fix)
    draw = _uniform(index, seed, epoch)
    if config.horizontal_flip:
        flip = draw[_DRAWS["flip"]] < 0.5
        x = np.where(flip.reshape(-1, *[1] * (x.ndim - 1)), x[:, :, ::-1], x)
    if config.shift_pixels:
        x = _shift(x, draw, config.shift_pixels)
    if config.erase:
        x = np.where(_rectangles(x.shape, draw, config.erase), np.zeros((), x.dtype), x)
    return x


def mixup_share(config: AugmentConfig, *, seed: int, epoch: int, step: int) -> float:
    """How much of each example stays itself in this step's batch, 0.5 to 1; 1 without mixup.

    Zhang et al. 2018, arXiv:1710.09412; one Beta draw a batch, folded so that an example keeps the larger part.
    """
    if not config.mixup_alpha:
        return 1.0
    generator = np.random.default_rng([_MIXUP_STREAM, seed, epoch, step])
    share = generator.beta(config.mixup_alpha, config.mixup_alpha)
    return max(share, 1.0 - share)


def _uniform(index: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.float64]:
    """(draws, n) numbers in [0, 1)."""
    key = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0]
    counter = index.astype(np.uint64) * np.uint64(len(_DRAWS)) + np.arange(len(_DRAWS), dtype=np.uint64)[:, None]
    z = key + (counter + np.uint64(1)) * _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.asarray((z >> np.uint64(11)) * (1.0 / (1 << 53)), np.float64)


def _shift(x: Array, draw: NDArray[np.float64], most: int) -> Array:
    n, height, width = x.shape[:3]
    margin = [(0, 0), (most, most), (most, most), *[(0, 0)] * (x.ndim - 3)]
    padded = np.pad(x, margin)
    top = np.floor(draw[_DRAWS["shift_y"]] * (2 * most + 1)).astype(np.int64)
    left = np.floor(draw[_DRAWS["shift_x"]] * (2 * most + 1)).astype(np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    moved = windows[np.arange(n), top, left]  # (n, height, width) or, the window axes being last, (n, c, height, width)
    return moved if x.ndim == 3 else np.ascontiguousarray(np.moveaxis(moved, 1, 3))


def _rectangles(shape: tuple[int, ...], draw: NDArray[np.float64], probability: float) -> NDArray[np.bool_]:
    """True inside one rectangle of the chosen images, each side 1/8 to 1/2 of the image's.

    A simple form of random erasing (Zhong et al. 2017, arXiv:1708.04896).
    """
    hit = draw[_DRAWS["erase"]] < probability
    inside: NDArray[np.bool_] = hit.reshape(-1, 1, 1)
    for axis, (side, place) in enumerate((("erase_h", "erase_y"), ("erase_w", "erase_x")), start=1):
        size = shape[axis]
        length = np.maximum(np.rint(size * (0.125 + 0.375 * draw[_DRAWS[side]])), 1.0)
        start = np.floor(draw[_DRAWS[place]] * (size - length + 1))
        at = np.arange(size)
        line = (at >= start[:, None]) & (at < (start + length)[:, None])
        inside = inside & (line[:, :, None] if axis == 1 else line[:, None, :])
    return inside[..., None] if len(shape) == 4 else inside
