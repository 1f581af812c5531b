"""Bundles that are damaged or mean harm: refused with a reason, before an engine sees a byte."""

import contextlib
import io
import os
import pickle
import sys
import tracemalloc
import zipfile

import edge_runtime
import edge_runtime.model
import numpy as np
import pytest
from edge_runtime import BundleError
from edge_runtime.files import FileInfo, npz_bytes, path_problem, read_file, read_npz, write_atomic, write_npz
from edge_runtime.manifest import read_manifest
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def no_engine(monkeypatch):
    """Any engine that is started is a failure."""

    def refuse(*_):
        raise AssertionError("an engine saw the file")

    monkeypatch.setitem(edge_runtime.model.ENGINES, "onnx", refuse)


def test_canary_the_guard_notices_an_engine(bundle, no_engine):
    with pytest.raises(AssertionError, match="saw the file"):
        edge_runtime.load(bundle, engine="onnx")


@pytest.mark.parametrize("position", [0, 200, -1])
def test_one_changed_byte_is_found(bundle, no_engine, position):
    data = bytearray((bundle / "model.onnx").read_bytes())
    data[position] ^= 1
    (bundle / "model.onnx").write_bytes(data)

    with pytest.raises(
        BundleError, match=r"model\.onnx: its checksum is not the manifest's(.|\n)*copy the bundle again"
    ):
        edge_runtime.load(bundle, engine="onnx")


@pytest.mark.parametrize(("change", "found"), [(lambda d: d[:-5], "420 bytes"), (lambda d: d + b"x", "426 bytes")])
@pytest.mark.parametrize("verify", [True, False])
def test_a_truncated_or_longer_file_is_found_even_unverified(bundle, no_engine, change, found, verify):
    path = bundle / "model.onnx"
    path.write_bytes(change(path.read_bytes()))

    with pytest.raises(BundleError, match=f"{found}, but the manifest promises 425"):
        edge_runtime.load(bundle, engine="onnx", verify=verify)


def test_a_missing_model_and_a_missing_reference_are_named(bundle, no_engine):
    (bundle / "model.onnx").unlink()
    (bundle / "reference.npz").unlink()

    with pytest.raises(BundleError, match=r"model\.onnx: the file is missing"):
        edge_runtime.load(bundle, engine="onnx")
    with pytest.raises(BundleError, match=r"reference\.npz: the file is missing"):
        edge_runtime.load(bundle, engine="tflite").check()


def test_links_are_refused_wherever_they_stand(bundle, tmp_path, no_engine):
    real = tmp_path / "elsewhere.onnx"
    (bundle / "model.onnx").rename(real)
    (bundle / "model.onnx").symlink_to(real)

    with pytest.raises(BundleError, match=r"'model\.onnx' is a link"):
        edge_runtime.load(bundle, engine="onnx")

    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "a").write_bytes(b"x")
    (bundle / "sub").symlink_to(inner)
    with pytest.raises(BundleError, match="'sub' is a link"):
        read_file(bundle, "sub/a")


def test_a_linked_manifest_is_refused_but_the_bundle_folder_may_be_a_link(bundle, tmp_path):
    (tmp_path / "current").symlink_to(bundle)
    assert edge_runtime.load(tmp_path / "current").manifest.name == "tiny"

    (bundle / "manifest.json").rename(tmp_path / "m.json")
    (bundle / "manifest.json").symlink_to(tmp_path / "m.json")
    with pytest.raises(BundleError, match=r"'manifest\.json' is a link"):
        read_manifest(bundle)


def test_a_pipe_does_not_hang_the_host(bundle):
    (bundle / "model.onnx").unlink()
    os.mkfifo(bundle / "model.onnx")

    with pytest.raises(BundleError, match="not a regular file"):
        edge_runtime.load(bundle, engine="onnx")


def test_a_folder_in_place_of_a_file_is_refused(bundle):
    (bundle / "model.onnx").unlink()
    (bundle / "model.onnx").mkdir()

    with pytest.raises(BundleError, match=r"not a regular file|cannot be read"):
        edge_runtime.load(bundle, engine="onnx")


def test_an_oversize_file_is_refused_unread(bundle):
    with pytest.raises(BundleError, match="425 bytes; at most 100 are allowed"):
        read_file(bundle, "model.onnx", largest=100)


@pytest.mark.parametrize(
    "path",
    [
        *("", "/etc/passwd", "../x", "a/../../x", "a/..", "./x", "a//b", "a/", "C:x", "a\\b", "a\0b", "a\nb"),
        *("x" * 201, " x", "x.", "x ", "..", "."),
    ],
)
def test_paths_that_could_leave_the_folder_are_refused(tmp_path, path):
    assert path_problem(path)
    with pytest.raises(BundleError, match="use bundles from a source you trust"):
        read_file(tmp_path, path)


@pytest.mark.parametrize("path", ["model.onnx", "a/b/model-1.onnx", "modèle.onnx", "..x"])
def test_plain_relative_paths_are_fine(path):
    assert path_problem(path) == ""


@given(path=st.text("ab./\\:~ \0", max_size=12))
def test_no_accepted_path_leaves_the_folder(path):
    if not path_problem(path):
        assert os.path.normpath(os.path.join("/base", path)).startswith("/base/")


def test_reading_a_small_file_takes_little_memory(bundle):
    tracemalloc.start()
    read_file(bundle, "model.onnx")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 100_000


# --- the reference archive ---


def test_npz_bytes_depend_on_content_alone(tmp_path):
    a, b = np.arange(6).reshape(2, 3), np.float32([1, 2])

    assert npz_bytes({"a": a, "b": b}) == npz_bytes({"b": b.copy(), "a": np.asfortranarray(a)})
    write_npz(tmp_path / "x.npz", {"a": a, "b": b})
    with np.load(tmp_path / "x.npz", allow_pickle=False) as archive:
        assert np.array_equal(archive["a"], a)
        assert np.array_equal(archive["b"], b)


def test_npz_round_trip_of_every_order_and_an_empty_array():
    arrays = {
        "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "e": np.zeros((0, 3)),
        "big": np.arange(3, dtype=">i4"),
    }

    back = read_npz(npz_bytes(arrays), "x")

    assert {k: v.tolist() for k, v in back.items()} == {k: v.tolist() for k, v in arrays.items()}
    assert back["big"].dtype.isnative


def npy(header):
    text = header.encode()
    return b"\x93NUMPY\x01\0" + len(text).to_bytes(2, "little") + text


def archive(name, body):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr(name, body)
    return out.getvalue()


class Bomb:
    def __reduce__(self):
        return (sys.exit, ("unpickled",))


def pickled():
    out = io.BytesIO()
    np.save(out, np.array([Bomb()], dtype=object), allow_pickle=True)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK", "not a readable .npz archive"),
        (pickle.dumps([1]), "not a readable .npz archive"),
        (archive("inputs.npy", b""), "does not start as a .npy file"),
        (archive("inputs.npy", pickled()), r"it holds dtype \|O, not plain numbers"),
        (
            archive("inputs.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1 << 40,)}\n")),
            "its header is damaged",
        ),
        (
            archive("inputs.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999,)}\n")),
            "does not fit",
        ),
        (
            archive("inputs.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}\n")),
            "its header is damaged",
        ),
        (archive("inputs.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1 2,)}\n")), "literal|shape"),
        (archive("inputs.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1" * 9000)), "damaged"),
        (archive("inputs.npy", npy("{" * 5000)), "its header is damaged"),
        (
            archive("inputs.npy", npy("{'descr': '<U4', 'fortran_order': False, 'shape': ()}\n") + b"0" * 16),
            "dtype <U4",
        ),
        (archive("inputs.npy", b"\0" * ((1 << 28) + 1)), "more than 268,435,456 bytes of arrays"),
    ],
    ids=[
        "stub",
        "pickle",
        "empty",
        "object",
        "expression",
        "promise",
        "negative",
        "gap",
        "digits",
        "nest",
        "text",
        "bomb",
    ],
)
def test_a_reference_archive_that_means_harm_is_refused(data, message):
    with pytest.raises(BundleError, match=message):
        read_npz(data, "reference.npz")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_that_lies_about_its_sizes_is_not_unpacked(method):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        z.writestr(
            "inputs.npy", npy("{'descr': '|u1', 'fortran_order': False, 'shape': (50000000,)}\n") + bytes(50 << 20)
        )
    data = bytearray(out.getvalue())
    at = data.rindex(b"PK\x01\x02") + 24  # of the central directory: the size before compression
    data[at : at + 4] = (1000).to_bytes(4, "little")

    tracemalloc.start()
    with pytest.raises(BundleError, match=r"not a readable \.npz archive"):
        read_npz(bytes(data), "reference.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6


def test_dimensions_beyond_any_machine_are_refused():
    head = "{'descr': '|u1', 'fortran_order': False, 'shape': (" + "9" * 60 + ", 0)}\n"
    with pytest.raises(BundleError, match="does not fit"):
        read_npz(archive("inputs.npy", npy(head)), "reference.npz")


@given(data=st.data())
def test_any_damage_to_an_archive_gives_arrays_or_a_bundle_error(data):
    body = bytearray(npz_bytes({"inputs": np.arange(12, dtype=np.uint8).reshape(3, 4)}))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    body = body[: data.draw(st.integers(0, len(body)))]
    found = {}
    with contextlib.suppress(BundleError):
        found = read_npz(bytes(body), "reference.npz")

    assert all(isinstance(array, np.ndarray) and not array.dtype.hasobject for array in found.values())


# --- writing ---


def test_a_failed_write_leaves_the_old_content_and_no_temporary_file(tmp_path, monkeypatch):
    path = tmp_path / "manifest.json"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))

    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, b"new")

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_verify_files_compares_every_file(bundle):
    manifest = read_manifest(bundle)
    edge_runtime.files.verify_files(bundle, manifest.files)

    with pytest.raises(BundleError, match="its checksum is not the manifest's"):
        edge_runtime.files.verify_files(bundle, {**manifest.files, "model.onnx": FileInfo("0" * 64, 425)})
