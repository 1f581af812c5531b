"""The IDX reader: what it accepts, and what it says about anything else."""

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.errors import DataError
from compress.readers.idx import idx_files, parse_idx, read_idx_folder

STEMS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx_bytes(array, code=0x08):
    return bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def folder_of(path, arrays, *, packed=()):
    for stem, array in zip(STEMS, arrays, strict=True):
        data = idx_bytes(array)
        if stem in packed:
            (path / f"{stem}.gz").write_bytes(gzip.compress(data))
        else:
            (path / stem).write_bytes(data)
    return path


@pytest.fixture
def arrays():
    images = np.arange(4 * 3 * 2, dtype=np.uint8).reshape(4, 3, 2)
    labels = np.array([0, 1, 0, 1], np.uint8)
    return images, labels, images[:2], labels[:2]


def test_a_folder_of_plain_and_gzipped_files_reads_back(tmp_path, arrays):
    raw = read_idx_folder(idx_files(folder_of(tmp_path, arrays, packed=STEMS[:2])), ("a", "b"))

    for got, want in zip((raw.x_train, raw.y_train, raw.x_test, raw.y_test), arrays, strict=True):
        np.testing.assert_array_equal(got, want)
    assert raw.classes == ("a", "b")


@pytest.mark.parametrize(("code", "dtype"), [(0x09, ">i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")])
def test_every_number_type_of_the_format_is_read_in_native_byte_order(code, dtype):
    want = np.array([[1, -2], [3, 100]], dtype)

    got = parse_idx(idx_bytes(want, code), "file")

    assert got.dtype == want.dtype.newbyteorder("=")
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: b"", "no IDX file: it begins with nothing"),
        (lambda d: b"PK\x03\x04" + d, "no IDX file: it begins with 50 4b 03 04"),
        (lambda d: d[:9], "cut off in its header, 9 bytes"),
        (lambda d: d[:-1], r"promises shape \(4, 3, 2\), 40 bytes; it has 39"),
        (lambda d: d + b"x", "40 bytes; it has 41"),
        (lambda d: d[:4] + b"\xff" * 12 + d[16:], "promises shape"),
    ],
    ids=["empty", "zip", "header", "short", "long", "huge"],
)
def test_damage_is_named_with_file_and_cure(damage, message, arrays):
    with pytest.raises(DataError, match=message) as caught:
        parse_idx(damage(idx_bytes(arrays[0])), "train.idx")

    assert str(caught.value).startswith("train.idx: ")
    assert "copy the file again" in caught.value.fix


@given(st.binary(max_size=64))
def test_any_bytes_give_an_array_or_a_data_error(data):
    try:
        array = parse_idx(data, "fuzz")
    except DataError:
        return
    assert 4 + 4 * array.ndim + array.nbytes == len(data)


@given(st.binary(max_size=40).map(lambda b: bytes([0, 0, 8, 2]) + b))
def test_any_sizes_give_an_array_or_a_data_error(data):
    try:
        assert parse_idx(data, "fuzz").ndim == 2
    except DataError as error:
        assert "fix: " in str(error)  # noqa: PT017


def test_missing_files_are_listed(tmp_path, arrays):
    folder_of(tmp_path, arrays)
    (tmp_path / STEMS[1]).unlink()
    (tmp_path / STEMS[3]).unlink()

    with pytest.raises(DataError, match=r"missing: train-labels-idx1-ubyte\[.gz\], t10k-labels-idx1-ubyte\[.gz\]"):
        idx_files(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        idx_files(tmp_path / "nowhere")


def test_swapped_files_and_broken_gzip_are_noticed(tmp_path, arrays):
    images, labels, *test = arrays
    with pytest.raises(DataError, match="train-images-idx3-ubyte: it holds 1 dimensions, want 3"):
        read_idx_folder(idx_files(folder_of(tmp_path, (labels, images, *test))))
    (tmp_path / STEMS[0]).rename(tmp_path / f"{STEMS[0]}.gz")
    with pytest.raises(DataError, match="it cannot be read: Not a gzipped file"):
        read_idx_folder(idx_files(tmp_path))
