"""Preprocessing against an independent reference: plain Python loops, double precision."""

import dataclasses
import math
import pickle

import numpy as np
import pytest
from edge_runtime import BundleError, InputError
from edge_runtime.preprocessing import Preprocessing
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

GRAY = Preprocessing("image", height=4, width=4, channels=1, scale=1 / 255, mean=(0.5,), std=(0.25,))
RGB = Preprocessing("image", height=3, width=2, channels=3, scale=1 / 255, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
VECTOR = Preprocessing("vector", length=3, scale=2.0, mean=(1.0, 2.0, 3.0), std=(1.0, 2.0, 4.0))


def pixel(image, y, x, channel):
    """Bilinear value at real coordinates; outside, the edge goes on."""
    height, width = len(image), len(image[0])
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = math.floor(y), math.floor(x)
    total = 0.0
    for dy in (0, 1):
        for dx in (0, 1):
            weight = (1 - abs(y - top - dy)) * (1 - abs(x - left - dx))
            total += weight * float(image[min(top + dy, height - 1)][min(left + dx, width - 1)][channel])
    return total


def reference(p, raw):
    """(n, h, w, c) raw images to (n, c, height, width), pixel by pixel."""
    out = np.empty((len(raw), p.channels, p.height, p.width))
    for n, c, y, x in np.ndindex(*out.shape):
        image = raw[n].tolist()
        value = pixel(image, (y + 0.5) * len(image) / p.height - 0.5, (x + 0.5) * len(image[0]) / p.width - 0.5, c)
        mean, std = p.mean[c % len(p.mean)], p.std[c % len(p.std)]
        out[n, c, y, x] = (value * p.scale - mean) / std
    return out


@given(
    raw=nps.arrays(np.uint8, st.tuples(st.just(2), st.integers(1, 7), st.integers(1, 7), st.just(3))),
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
)
def test_images_of_any_size_match_the_reference(raw, size):
    p = dataclasses.replace(RGB, height=size[0], width=size[1])

    assert p(raw) == pytest.approx(reference(p, raw), abs=2e-5)


def test_canary_the_reference_notices_corner_aligned_resizing():
    raw = np.arange(2 * 6 * 6 * 3, dtype=np.uint8).reshape(2, 6, 6, 3)
    rows = np.linspace(0, 5, 3).round().astype(int)  # a plausible bug: corners aligned, nearest row

    wrong = RGB(np.ascontiguousarray(raw[:, rows]))

    assert np.abs(wrong - reference(RGB, raw)).max() > 1e-2


@given(raw=nps.arrays(np.float32, (2, 3), elements=st.floats(-1e6, 1e6, width=32)))
def test_vectors_are_scaled_then_shifted_then_divided(raw):
    expected = (raw.astype(np.float64) * 2.0 - np.array(VECTOR.mean)) / np.array(VECTOR.std)

    assert VECTOR(raw) == pytest.approx(expected, rel=1e-6, abs=1e-5)


def test_golden_bits_do_not_change():
    raw = (np.arange(5 * 7, dtype=np.uint8) * 7).reshape(1, 5, 7)

    bits = GRAY(raw).view(np.uint32).ravel()[[0, 1, 5, 10, 15]].tolist()

    assert bits == [3220074094, 3218462166, 3207968180, 1055056616, 1070353486]


def test_an_image_of_the_right_size_passes_untouched_by_the_resize():
    raw = np.arange(16, dtype=np.uint8).reshape(1, 4, 4)

    expected = (raw.astype(np.float32) * np.float32(1 / 255) - np.float32(0.5)) / np.float32(0.25)

    assert np.array_equal(GRAY(raw)[:, 0], expected)


def test_a_batch_gives_the_bits_of_its_examples_and_leaves_the_raw_array_alone():
    raw = np.random.default_rng(1).integers(0, 256, (40, 9, 11), np.uint8)
    before = raw.copy()

    whole = GRAY(raw)

    assert np.array_equal(whole, np.concatenate([GRAY(raw[i : i + 1]) for i in range(len(raw))]))
    assert np.array_equal(raw, before)
    assert whole.flags.c_contiguous
    assert whole.dtype == np.float32


def test_large_batches_are_resized_in_blocks_with_the_same_bits(monkeypatch):
    raw = np.random.default_rng(1).integers(0, 256, (10, 9, 11), np.uint8)
    whole = GRAY(raw)

    monkeypatch.setattr("edge_runtime.preprocessing._RESIZE_BLOCK", 3 * 9 * 11)

    assert np.array_equal(GRAY(raw), whole)


@pytest.mark.parametrize("order", ["float32", "float64", "int64", "fortran", "strided"])
def test_dtype_and_memory_order_of_the_raw_array_do_not_matter(order):
    raw = np.random.default_rng(2).integers(0, 256, (2, 6, 8, 3), np.uint8)
    variant = {
        "fortran": np.asfortranarray(raw),
        "strided": np.repeat(raw, 2, axis=2)[:, :, ::2],
    }.get(order, raw.astype(order if order not in ("fortran", "strided") else np.uint8))

    assert np.array_equal(RGB(variant), RGB(raw))


@pytest.mark.parametrize(
    ("p", "raw", "message"),
    [
        (GRAY, np.zeros((4, 4), np.uint8), r"examples of shape \(4,\)"),
        (GRAY, np.zeros((1, 4, 4, 3), np.uint8), r"examples of shape \(4, 4, 3\)(.|\n)*\(height, width, 1\)"),
        (RGB, np.zeros((1, 4, 4), np.uint8), r"examples of shape \(4, 4\)(.|\n)*\(height, width, 3\)"),
        (RGB, np.zeros((1, 3, 4, 4), np.uint8), r"examples of shape \(3, 4, 4\)"),
        (VECTOR, np.zeros((2, 4), np.float32), r"examples of shape \(4,\)(.|\n)*takes \(3,\) vectors"),
        (VECTOR, np.zeros((0, 3), np.float32), r"an empty array of shape \(0, 3\)"),
        (GRAY, np.zeros((1, 0, 4), np.uint8), r"an empty array"),
        (VECTOR, np.array([["a", "b", "c"]]), "an array of dtype <U1"),
        (VECTOR, np.zeros((1, 3), bool), "an array of dtype bool"),
        (VECTOR, np.zeros((1, 3), complex), "an array of dtype complex128"),
        (VECTOR, np.array([[None, 1, 2]]), "an array of dtype object"),
        (VECTOR, [[1.0, 2.0, 3.0]], "got list, not an array"),
        (VECTOR, np.float64([[1, 2, 3], [1, np.nan, 3]]), "example 1 of 2 holds NaN"),
        (VECTOR, np.float64([[1, 2, np.inf]]), "example 0 of 1 holds NaN, infinite"),
        (VECTOR, np.float64([[1, 2, 1e300]]), "example 0 of 1 holds NaN, infinite or too large"),
        (VECTOR, np.float32([[1, 2, 3e38]]), "example 0 of 1 holds NaN, infinite or too large"),
        (GRAY, np.full((1, 9, 9), np.inf, np.float32), "example 0 of 1 holds NaN, infinite"),
        (GRAY, np.full((1, 9, 9), np.nan, np.float16), "example 0 of 1 holds NaN, infinite"),
    ],
)
def test_what_cannot_be_an_input_is_refused_by_name(p, raw, message):
    with pytest.raises(InputError, match=message):
        p(raw)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "sound"}, "kind is 'sound', known are image, vector"),
        ({"height": 0}, "height is 0, want a whole number from 1 to 16384"),
        ({"channels": None}, "channels is None, want a whole number"),
        ({"width": 2.0}, "width is 2.0"),
        ({"height": True}, "height is True"),
        ({"length": 3}, "length does not belong to kind 'image'"),
        ({"scale": 0}, "scale is 0.0, want a number other than 0"),
        ({"scale": math.nan}, "scale is nan"),
        ({"scale": 1e-60}, "scale is 1e-60"),
        ({"scale": 3.4028235677973366e38}, r"scale is 3\.4028235677973366e\+38"),  # rounds to infinity, with a warning
        ({"mean": (1.0, 2.0)}, "mean holds 2 values, want 1 or 3"),
        ({"mean": "abc"}, "mean holds str"),
        ({"mean": (math.inf,)}, "mean holds a value that is not a float32 number"),
        ({"std": (1.0, -1.0, 1.0)}, "std holds a value that is not positive"),
        ({"std": (1e-60,)}, "std holds a value that is not positive"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(change, message):
    with pytest.raises(BundleError, match=message):
        dataclasses.replace(RGB, **change)


@pytest.mark.parametrize("p", [GRAY, RGB, VECTOR], ids=["gray", "rgb", "vector"])
def test_json_and_pickle_bring_back_the_same_object(p):
    assert Preprocessing.from_json(p.to_json()) == p
    assert pickle.loads(pickle.dumps(p)) == p
    assert hash(pickle.loads(pickle.dumps(p))) == hash(p)


def test_numpy_numbers_and_lists_are_taken_as_plain_ones():
    p = Preprocessing("vector", length=np.int64(2), scale=np.float64(0.5), mean=[np.float32(0.5), 1], std=[2])

    assert p == Preprocessing("vector", length=2, scale=0.5, mean=(0.5, 1.0), std=(2.0,))
    assert p.to_json()["mean"] == [0.5, 1.0]


def test_json_with_a_typo_names_the_key():
    doc = GRAY.to_json()
    doc["hight"] = doc.pop("height")

    with pytest.raises(BundleError, match=r"hight: unknown; did you mean 'height'\?; height: missing"):
        Preprocessing.from_json(doc)


@given(raw=nps.arrays(nps.scalar_dtypes(), nps.array_shapes(min_dims=0, max_dims=5, max_side=4, min_side=0)))
def test_any_array_gives_finite_float32_or_an_input_error(raw):
    for p in (GRAY, RGB, VECTOR):
        try:
            out = p(raw)
        except InputError:
            continue
        assert out.shape == (len(raw), *p.output_shape)
        assert out.dtype == np.float32
        assert np.isfinite(out).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
@given(
    scale=st.floats(1.1e-20, 9e19),
    mean=st.one_of(st.just(0.0), st.floats(1.1e-20, 9e19), st.floats(-9e19, -1.1e-20)),
    std=st.floats(1.1e-6, 9e5),
)
def test_the_quick_way_of_small_integers_never_needs_the_hosts_numpy_settings(dtype, scale, mean, std):
    info = np.iinfo(dtype)
    p = Preprocessing("vector", length=5, scale=scale, mean=(mean,), std=(std,))
    raw = np.array([[info.min, info.max, 0, 1, info.max // 3]], dtype)
    assert p._calm

    with np.errstate(all="raise"):
        quick = p(raw)

    assert np.array_equal(quick, p(raw.astype(np.int64)))  # the careful way
