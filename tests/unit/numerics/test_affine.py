"""Our affine kernels against slow and obvious ones, with a sabotaged copy to show that the comparison bites."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from compress.errors import ShapeError
from compress.numerics.affine import (
    activation_grid,
    dequantize_activation,
    quantize_activation,
    quantize_bias,
    quantize_weight,
    weight_limit,
    weight_scales,
)

FLOATS = st.floats(-1e3, 1e3, width=32)
MATRICES = hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=4, max_side=5), elements=FLOATS)


def reference(x, scale, zero_point, low, high):
    return [max(low, min(high, round(float(np.float32(v) / np.float32(scale))) + int(zero_point))) for v in np.ravel(x)]


@given(MATRICES, st.sampled_from([7, 8]))
def test_weights_match_the_reference_and_stay_in_range(weight, bits):
    scale = weight_scales(weight, bits)
    q = quantize_weight(weight, scale, bits)

    limit = weight_limit(bits)
    assert [q[i].ravel().tolist() for i in range(len(q))] == [
        reference(weight[i], scale[i], 0, -limit, limit) for i in range(len(q))
    ]
    spread = scale.reshape(-1, *[1] * (weight.ndim - 1))
    assert (np.abs(q * spread - weight) <= spread * 0.501).all()


@given(hnp.arrays(np.float32, 20, elements=FLOATS))
def test_activations_round_trip_within_half_a_step(x):
    scale, zero_point = activation_grid(float(x.min()), float(x.max()))
    q = quantize_activation(x, scale, zero_point)

    assert q.tolist() == reference(x, scale, zero_point, 0, 255)
    assert np.abs(dequantize_activation(q, scale, zero_point) - x).max() <= scale * 1.01


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3))
def test_zero_is_exact_on_every_grid(low, high):
    scale, zero_point = activation_grid(min(low, high), max(low, high))
    zero = quantize_activation(np.float32([0.0]), scale, zero_point)

    assert dequantize_activation(zero, scale, zero_point)[0] == 0.0


def test_canary_truncation_instead_of_rounding_is_noticed():
    x = np.linspace(-3, 3, 97, dtype=np.float32)
    truncating = np.clip(np.trunc(x / np.float32(0.25)) + 12, 0, 255).astype(np.uint8)

    assert truncating.tolist() != reference(x, 0.25, 12, 0, 255)


def test_the_bias_is_in_units_of_the_accumulator():
    q = quantize_bias(np.float32([1.0, -0.5]), 0.1, np.float32([0.01, 0.02]))

    assert q.tolist() == [1000, -250]
    assert q.dtype == np.int32


def test_a_scale_of_the_wrong_length_is_refused():
    with pytest.raises(ShapeError, match=r"scale has shape \(3,\), want \(2,\)"):
        quantize_weight(np.zeros((2, 4), np.float32), np.ones(3, np.float32))
