"""Affine quantization of arrays. Pure functions: no I/O, no logging, no state.

Activations sit on an unsigned 8-bit grid, 0..255, with one scale and zero point a tensor; weights are symmetric signed
integers with one scale per output channel. Source: Jacob et al. 2018, arXiv:1712.05877, equation 1 (r = S (q - Z)).
"""

import numpy as np
from numpy.typing import NDArray

from compress.errors import ShapeError

Float = NDArray[np.float32]
MIN_SCALE = 1e-8  # a constant-zero tensor still needs a positive step
QMAX = 255


def weight_limit(bits: int) -> int:
    """Largest integer of a symmetric weight grid: 127 for 8 bits, 63 for 7. The range is narrow: -limit..limit.

    >>> weight_limit(8), weight_limit(7)
    (127, 63)
    """
    return int(2 ** (bits - 1)) - 1


def weight_scales(weight: Float, bits: int = 8) -> Float:
    """One scale per output channel (axis 0), so that the largest magnitude lands on the last integer.

    weight: (out, ...). Returns (out,), > 0.
    """
    peak = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    return np.maximum(peak / weight_limit(bits), MIN_SCALE).astype(np.float32)


def quantize_weight(weight: Float, scale: Float, bits: int = 8) -> NDArray[np.int8]:
    """clip(rint(w / scale)), per output channel; half to even, as ONNX QuantizeLinear prescribes.

    weight: (out, ...), scale: (out,). Returns int8 of weight's shape in -limit..limit.

    Raises:
        ShapeError: scale does not hold one number per output channel.

    >>> quantize_weight(np.float32([[0.25, -9.0]]), np.float32([0.5])).tolist()
    [[0, -18]]
    """
    if scale.shape != weight.shape[:1]:
        raise ShapeError(
            f"scale has shape {scale.shape}, want {weight.shape[:1]}", "quantize_weight", "one per channel"
        )
    limit = weight_limit(bits)
    spread = scale.reshape(-1, *[1] * (weight.ndim - 1))
    return np.clip(np.rint(weight / spread), -limit, limit).astype(np.int8)


def quantize_bias(bias: Float, input_scale: float, weight_scale: Float) -> NDArray[np.int32]:
    """The bias as int32 at scale input_scale * weight_scale, the accumulator's own unit. bias, weight_scale: (out,)."""
    step = np.float64(input_scale) * weight_scale.astype(np.float64)
    return np.clip(np.rint(bias / step), -(2**31), 2**31 - 1).astype(np.int32)


def activation_grid(low: float, high: float) -> tuple[np.float32, np.int32]:
    """Scale and zero point (0..255) of the unsigned grid that spans [min(low, 0), max(high, 0)]; zero is exact.

    >>> scale, zero_point = activation_grid(-1.0, 3.0)
    >>> float(np.round(scale, 6)), int(zero_point)
    (0.015686, 64)
    """
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / QMAX, MIN_SCALE)
    return np.float32(scale), np.int32(np.clip(np.rint(-low / scale), 0, QMAX))


def quantize_activation(x: Float, scale: np.float32, zero_point: np.int32) -> NDArray[np.uint8]:
    """clip(rint(x / scale) + zero_point, 0, 255); half to even."""
    return np.clip(np.rint(x / scale) + zero_point, 0, QMAX).astype(np.uint8)


def dequantize_activation(q: NDArray[np.uint8], scale: np.float32, zero_point: np.int32) -> Float:
    """Inverse of quantize_activation; inside the range the error is at most scale / 2."""
    return ((q.astype(np.int32) - zero_point) * scale).astype(np.float32)
