"""The short way of one small uint8 image or vector to what the engine takes: a look-up instead of ten array operations.

A byte has 256 values, and preprocessing treats each for itself; so all of its results fit a table, made once by the
very operations that it replaces. Bits are the same, which a test holds it to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime.preprocessing import Preprocessing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_runtime.kinds import AnyPreprocessing
    from edge_runtime.model_file import TensorInfo

_LARGEST = {"float32": 1 << 12, "int8": 1 << 16, "uint8": 1 << 16}  # values; beyond, whole-array arithmetic is faster

Quick = Callable[["NDArray[Any]"], "NDArray[Any]"]


def quick_way(
    preprocessing: AnyPreprocessing, tensor: TensorInfo, ready: Callable[[Any], Any]
) -> tuple[Quick | None, tuple[tuple[int, ...], ...]]:
    """The way, and the shapes of raw uint8 examples that may go it; none of both where there is no such way.

    ready: preprocessed inputs to the file's own layout and type.
    """
    if not isinstance(preprocessing, Preprocessing):
        return None, ()
    size = int(np.prod(preprocessing.output_shape))
    if size > _LARGEST.get(tensor.dtype, 0):
        return None, ()
    raw = np.arange(256, dtype=np.uint8)
    if preprocessing.kind == "vector":
        if len(preprocessing.mean) != 1 or len(preprocessing.std) != 1:
            return None, ()
        table = ready(replace(preprocessing, length=256)(raw[np.newaxis])).ravel()
        return _looked_up(table, (1, size)), (preprocessing.output_shape,)
    channels, height, width = preprocessing.output_shape
    every = np.repeat(raw[np.newaxis, np.newaxis, :, np.newaxis], channels, axis=3)
    tables = ready(replace(preprocessing, height=1, width=256)(every))
    if tensor.layout == "NHWC":
        tables = tables.transpose(0, 3, 1, 2)
    table = tables.ravel()  # channel after channel
    shape = (1, height, width, channels) if tensor.layout == "NHWC" else (1, channels, height, width)
    if channels == 1:
        return _looked_up(table, shape), ((height, width), (height, width, 1))
    places = (np.arange(channels) * 256).astype(np.int32)  # an index on 32-bit machines too, unlike uint32
    way = _looked_up_by_channel(table, shape, places, tensor.layout == "NHWC")
    return way, ((height, width, channels),)


def _looked_up(table: NDArray[Any], shape: tuple[int, ...]) -> Quick:
    return lambda raw: table.take(raw).reshape(shape)


def _looked_up_by_channel(
    table: NDArray[Any], shape: tuple[int, ...], places: NDArray[np.int32], channel_last: bool
) -> Quick:
    def channel_last_way(raw: NDArray[Any]) -> NDArray[Any]:
        return table.take(np.add(raw, places, order="C")).reshape(shape)

    def channel_first_way(raw: NDArray[Any]) -> NDArray[Any]:
        return table.take(np.add(raw.transpose(2, 0, 1), first, order="C")).reshape(shape)

    first = places.reshape(-1, 1, 1)
    return channel_last_way if channel_last else channel_first_way
