"""What is said of a layer's numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.blame.tensors import sqnr_db
from compress.blame.weights import clip_finding, clipped, stored
from compress.numerics.affine import quantize_weight, weight_scales

REAL = np.random.default_rng(0).normal(0, 1, (8, 3, 3, 3)).astype(np.float32)


def rounded(real):
    scale = weight_scales(real)
    return quantize_weight(real, scale) * scale.reshape(-1, 1, 1, 1)


def test_rounding_alone_is_no_finding():
    found = stored(REAL, rounded(REAL))

    assert found.findings == ()
    assert 35 < found.weight_sqnr_db < 55
    assert found.gain == pytest.approx(1, abs=0.01)


def test_zeroed_channels_are_counted():
    damaged = rounded(REAL)
    damaged[[1, 4]] = 0

    assert stored(REAL, damaged).zero_channels == 2
    assert stored(REAL, damaged).findings == ("2 of 8 output channels are stored as zeros",)


def test_channels_that_were_zero_already_are_no_finding():
    real = REAL.copy()
    real[3] = 0

    assert stored(real, rounded(real)).findings == ()


def test_a_wrong_scale_is_named_with_its_factor():
    assert stored(REAL, 3 * rounded(REAL)).findings == ("8 of 8 channels are 3 times the true weights: wrong scale",)
    assert stored(REAL, 3 * rounded(REAL)).gain == pytest.approx(3, rel=0.01)


def test_weights_that_do_not_fit_are_a_finding_too():
    noise = np.random.default_rng(1).normal(0, 0.3, REAL.shape)

    assert "weights stand only" in stored(REAL, (REAL + noise).astype(np.float32)).findings[0]


@pytest.mark.parametrize(
    ("values", "floor", "share"),
    [
        ([0.0, 1.0, 2.0], None, 0.0),
        ([0.0, 1.0, 9.0, 9.0], None, 0.5),
        ([-5.0, 1.0], None, 0.5),
        ([-5.0, 1.0], 0.0, 0.0),
    ],
)
def test_the_clipped_share_forgives_what_the_activation_cuts(values, floor, share):
    assert clipped(np.array(values, np.float32), 2 / 255, 0, floor) == share


def test_much_clipping_is_told():
    assert clip_finding(0.019) == ()
    assert clip_finding(0.25) == ("25.0 % of its outputs lie beyond its grid: clipped range",)


@given(st.floats(0.001, 1000))
def test_noise_a_thousandth_as_strong_is_60_decibels(size):
    signal = np.full(100, size)

    assert sqnr_db(signal, signal * (1 + 1e-3)) == pytest.approx(60, abs=0.1)
    assert sqnr_db(signal, signal) == 200
