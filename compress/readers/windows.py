"""Recordings of several sensor channels, cut into windows of one length."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from compress.errors import DataError
from compress.readers.raw import Array


def cut_windows(
    recordings: Sequence[Array], length: int, step: int, names: Sequence[str], where: str
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Windows (n, length, channels) every `step` readings, and which recording each one is of.

    recordings: each (readings, channels). What is left at a recording's end, shorter than a window, is not used.

    Raises:
        DataError: a recording is shorter than one window; names[i] says which.
    """
    parts, owners = [], []
    for i, recording in enumerate(recordings):
        if len(recording) < length:
            what = f"{names[i]} has {len(recording)} readings, fewer than a window's {length}"
            raise DataError(what, where, "shorten data.window.length, or drop the recording")
        views = np.lib.stride_tricks.sliding_window_view(recording, length, axis=0)[::step]
        parts.append(views.transpose(0, 2, 1).astype(np.float32))
        owners.append(np.full(len(views), i, np.int64))
    return np.concatenate(parts), np.concatenate(owners)
