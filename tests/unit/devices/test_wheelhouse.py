"""Wheels for a device: the right ones are pushed and found by jobs, wrong ones are refused before they travel."""

import dataclasses
import shutil
import sys
import zipfile
from types import SimpleNamespace

import pytest

from compress.devices import wheelhouse
from compress.devices.agent import calls
from compress.devices.connection import open_device
from compress.devices.probe import Probe
from compress.errors import DeviceError

PI = Probe(name="pi5", python="3.11.2", machine="aarch64", bits=64, libc="glibc 2.36", boot_id="", emulated=False,
           free_bytes=10**9, held=None, sites=(), host={"packages": {}}, meters=())  # fmt: skip


def wheel(folder, name):
    path = folder / name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny_thing/__init__.py", "ANSWER = 42\n")
    return path


@pytest.mark.parametrize(
    "name",
    [
        "numpy-2.4.6-cp311-cp311-manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl",
        "old-1.0-cp311-cp311-manylinux2014_aarch64.whl",
        "stable-1.0-cp38-abi3-manylinux_2_17_aarch64.whl",
        "pure-1.0-py3-none-any.whl",
    ],
)
def test_what_fits_a_raspberry_pi_5(tmp_path, name):
    wheelhouse.check_wheels([wheel(tmp_path, name)], PI)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("numpy-2.4.6-cp311-cp311-manylinux_2_28_x86_64.whl", "is for cp311 manylinux_2_28_x86_64"),
        ("numpy-2.4.6-cp312-cp312-manylinux_2_28_aarch64.whl", "is for cp312 manylinux_2_28_aarch64"),
        ("new-1.0-cp311-cp311-manylinux_2_39_aarch64.whl", "is for cp311 manylinux_2_39_aarch64"),
        ("notes.whl", "is no wheel's name"),
    ],
)
def test_what_does_not_is_refused_with_what_the_device_is(tmp_path, name, why):
    with pytest.raises(DeviceError) as caught:
        wheelhouse.check_wheels([wheel(tmp_path, name)], PI)

    assert why in caught.value.what
    assert "(aarch64, Python 3.11.2, glibc 2.36)" in caught.value.what
    assert "compress devices prepare pi5" in caught.value.fix


def test_a_32_bit_python_on_a_64_bit_kernel_takes_32_bit_wheels():
    pi3 = dataclasses.replace(PI, bits=32)

    assert pi3.platform == "armv7l"
    assert wheelhouse.requirements(pi3) == ["tflite-runtime>=2.14"]
    assert wheelhouse.requirements(PI, ["onnx"]) == ["numpy", "onnxruntime"]


def test_musl_is_refused():
    with pytest.raises(DeviceError, match="wheels for glibc alone"):
        wheelhouse.device_tags(dataclasses.replace(PI, libc=""))


def test_what_pip_cannot_find_is_told(tmp_path):
    with pytest.raises(DeviceError, match=r"pip found no wheels for aarch64 and Python 3\.11\.2: ERROR: "):
        wheelhouse.download(PI, ["../no such requirement"], tmp_path / "w")


@pytest.mark.slow
def test_a_wheelhouse_is_pushed_once_and_jobs_find_it(board, tmp_path):
    house = tmp_path / "house"
    house.mkdir()
    wheel(house, "tiny_thing-1.0-py3-none-any.whl")
    device = board.device(python=sys.executable, wheelhouse=str(house), workdir="~/wheels")
    said = []

    wheelhouse.prepare(open_device(device), said.append)
    wheelhouse.prepare(open_device(device), said.append)
    command = ["{python}", "-c", "import tiny_thing; raise SystemExit(tiny_thing.ANSWER)"]
    done = open_device(device).run_job({}, command, results=tmp_path / "out")
    open_device(device).clean()

    assert said == ["pushing 1 wheels, 0.0 MB\n", "1 wheels are there already\n"]
    assert done.code == 42
    assert not (board.home / "wheels").exists()


def test_an_empty_wheelhouse_is_refused(board, tmp_path):
    (tmp_path / "none").mkdir()
    device = board.device(python=sys.executable, wheelhouse=str(tmp_path / "none"))

    with pytest.raises(DeviceError, match="holds no wheels"):
        wheelhouse.prepare(open_device(device), lambda text: None)


def test_a_wheel_that_would_write_elsewhere_is_refused(board, tmp_path):
    house = tmp_path / "house"
    house.mkdir()
    with zipfile.ZipFile(house / "evil-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("../../evil.py", "")
    device = board.device(python=sys.executable, wheelhouse=str(house), workdir="~/evil")

    with pytest.raises(DeviceError, match=r"the device refused: bad path: \.\./\.\./evil\.py"):
        wheelhouse.prepare(open_device(device), lambda text: None)
    assert not list(board.home.rglob("evil.py"))


def test_cleaning_leaves_what_is_not_ours(tmp_path, monkeypatch):
    """`workdir` may be another disk's root, as the message of a full disk advises."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    disk = tmp_path / "disk"
    for name in ("photos", "store", "job-1", "site-abc"):
        (disk / name / "inside").mkdir(parents=True)
    wire = SimpleNamespace(send=lambda *_: None)

    calls.clean(wire, {"workdir": str(disk)})
    assert [p.name for p in disk.iterdir()] == ["photos"]

    shutil.rmtree(disk / "photos")
    calls.clean(wire, {"workdir": str(disk)})
    assert not disk.exists()
    calls.clean(wire, {"workdir": str(disk)})
