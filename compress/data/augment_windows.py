"""Random changes to windows of sensor readings that depend on (seed, epoch, example) alone, as those to images do."""

import numpy as np
from numpy.typing import NDArray

from compress.errors import DataError
from compress.readers.raw import Array
from compress.recipe.schema import AugmentConfig

_STREAM = 0x77696E646F77  # keeps these generators apart from others with the same seed


def augment_windows(x: Array, index: NDArray[np.int64], config: AugmentConfig, *, seed: int, epoch: int) -> Array:
    """Changed copies of windows: moved in time, each channel amplified, noise added (Um et al. 2017, arXiv:1706.00527).

    x: (n, length, channels) floats; the dtype is kept. A moved window repeats its first or last reading.
    index: (n,) the examples' places in train.

    Raises:
        DataError: the examples are no windows, or whole numbers, which noise would be lost on.
    """
    if x.ndim != 3 or x.dtype.kind != "f":
        fix = "turn gain, shift_steps and jitter off, or give windows of float readings"
        raise DataError(f"examples of shape {x.shape[1:]} and dtype {x.dtype} are no windows", "augment", fix)
    length = x.shape[1]
    out = np.empty_like(x)
    for i, example in enumerate(index):
        generator = np.random.default_rng([_STREAM, seed, epoch, int(example)])
        places = np.arange(length) + generator.integers(-config.shift_steps, config.shift_steps, endpoint=True)
        window = x[i, np.clip(places, 0, length - 1)]
        window = window * (1.0 + config.gain * generator.uniform(-1.0, 1.0, x.shape[2]))
        if config.jitter:
            window += config.jitter * x[i].std(axis=0) * generator.standard_normal(window.shape)
        out[i] = window
    return out
