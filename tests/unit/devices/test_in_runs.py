"""The measuring step of a run on several devices: one here, one behind a real sshd, an emulator, one that is gone."""

import io
import json
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console

from compress.errors import DeviceError, UsageError
from compress.recipe.schema import MeasureConfig
from compress.run.cache import Cache
from compress.run.measure import devices_of, measure
from compress.run.progress import Display
from compress.run.recorder import Recorder
from compress.run.world import World


@pytest.fixture
def walk(board, tmp_path, monkeypatch):
    """What the step needs of a run, in a folder with a devices.yaml."""
    device = board.device(python=sys.executable, grace_s=20)
    entry = device.model_dump(include={"ssh", "ssh_config", "identity", "python", "grace_s"}, exclude_none=True)
    found = {"board": entry, "toy": {**entry, "emulated": True, "workdir": "~/toy"},
             "gone": {**entry, "ssh": "pi@127.0.0.1:1"}}  # fmt: skip
    (tmp_path / "devices.yaml").write_text(json.dumps(found))
    monkeypatch.chdir(tmp_path)
    display = Display(Console(file=io.StringIO()), quiet=True)
    cache = Cache(tmp_path / "cache", display.warn)

    def make(*devices):
        recorder = Recorder(cache, display, World(), before=lambda: None)
        recipe = SimpleNamespace(measure=MeasureConfig(devices=devices, profile="smoke"))
        return SimpleNamespace(recipe=recipe, cache=cache, recorder=recorder, folder=SimpleNamespace(root=tmp_path))

    return make


@pytest.fixture(scope="module")
def files(make_bundle):
    """Two exported files as a run has them."""
    return [
        SimpleNamespace(plan=SimpleNamespace(id=name), folder=make_bundle(layers), sha256=name)
        for name, layers in (("00-teacher.onnx", 4), ("01-student.onnx", 1))
    ]


def test_figures_of_every_device_stand_by_themselves_and_a_failure_spoils_none(walk, files):
    found = measure(walk("cpu", "board", "gone"), files)

    student = found.latency["01-student.onnx"]
    assert [(x.device, x.label) for x in student] == [("cpu", "measured"), ("board", "measured")]
    assert all(x.ratio and x.p50_ms > 0 for x in student)
    assert [d.label for d in found.devices] == ["measured", "measured", "none"]
    assert "device gone: " in found.devices[2].reason
    assert found.devices[1].host["cpu"] == found.host["cpu"]


def test_an_emulator_gives_answers_and_no_figures(walk, files):
    found = measure(walk("toy"), files)

    (row,) = found.devices
    assert (row.label, set(row.checks)) == ("emulated", {"00-teacher.onnx", "01-student.onnx"})
    assert "clock says nothing" in row.reason
    assert set(found.latency.values()) == {()}


def test_a_second_run_asks_no_device(walk, files, tmp_path):
    first = measure(walk("board"), files)
    (tmp_path / "devices.yaml").write_text((tmp_path / "devices.yaml").read_text().replace('"gone"', '"away"'))
    again = walk("board", "cpu")  # another device beside it changes nothing for this one

    second = measure(again, files)

    assert [r.cached for r in again.recorder.rows] == [True, False]
    assert second.latency["01-student.onnx"][0] == first.latency["01-student.onnx"][0]


def test_a_device_that_does_not_answer_stops_the_run_before_any_training(walk):
    with pytest.raises(DeviceError, match="device gone"):
        devices_of(walk("cpu", "gone").recipe.measure)
    with pytest.raises(UsageError, match="nowhere"):
        devices_of(walk("nowhere").recipe.measure)
    with pytest.raises(UsageError, match="recipes are not timed on a GPU"):
        devices_of(walk("gpu").recipe.measure)
    assert [d.name for d in devices_of(walk("cpu", "board").recipe.measure)] == ["cpu", "board"]
