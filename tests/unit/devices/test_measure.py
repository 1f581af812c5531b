"""`compress measure` on a device behind a real sshd, beside this machine."""

import json
import sys

import pytest
from click.testing import CliRunner

from compress.cli import main


@pytest.fixture(autouse=True)
def own_lock(tmp_path, monkeypatch):
    """Nobody else's measurement on this machine gets in the way."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.fixture
def devices_file(board, tmp_path):
    """devices.yaml with the device as `board`, the same called an emulator, and one that does not answer."""
    device = board.device(python=sys.executable, grace_s=20)
    entry = device.model_dump(include={"ssh", "ssh_config", "identity", "python", "grace_s"}, exclude_none=True)
    found = {"board": entry, "toy": {**entry, "emulated": True, "workdir": "~/toy"},
             "gone": {**entry, "ssh": "pi@127.0.0.1:1"}}  # fmt: skip
    path = tmp_path / "devices.yaml"
    path.write_text(json.dumps(found))
    return path


def measure(bundle, devices_file, *arguments):
    command = ["measure", str(bundle), "--devices", str(devices_file), "--profile", "smoke", *arguments]
    return CliRunner().invoke(main, command)


def test_a_device_is_measured_beside_this_machine(make_bundle, devices_file, tmp_path, board):
    out = tmp_path / "out"
    bundle = make_bundle()

    done = measure(bundle, devices_file, "--device", "cpu", "--device", "board", "--out", str(out))

    assert done.exit_code == 0, done.output
    found = json.loads((out / "measurement.json").read_text())["devices"]
    assert list(found) == ["cpu", "board"]
    assert found["board"]["label"] == found["cpu"]["label"] == "measured"
    assert found["board"]["models"]["onnx"]["sha256"] == found["cpu"]["models"]["onnx"]["sha256"]
    assert "board: 100 %  onnx, start-up and memory" in done.stderr
    assert "progress 1.000 onnx" in (out / "logs" / "board.log").read_text()
    assert list(board.home.glob(".cache/compress-device/job-*")) == []  # nothing stays there


def test_an_emulators_times_never_come_home(make_bundle, devices_file):
    done = measure(make_bundle(), devices_file, "--device", "toy", "--json")

    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)["devices"]["toy"]
    assert document["label"] == "emulated"
    assert document["models"]["onnx"]["check"]["message"]
    assert document["models"]["onnx"]["processes"] == []


def test_a_device_that_fails_stands_beside_the_others_and_the_exit_code_tells(make_bundle, devices_file):
    done = measure(make_bundle(), devices_file, "--device", "cpu", "--device", "gone", "--json")

    found = json.loads(done.stdout)
    assert done.exit_code == 1
    assert list(found["devices"]) == ["cpu"]
    assert "device gone: " in found["failures"]["gone"]
    assert "gone failed: device gone: " in done.stderr


def test_a_bundle_that_the_device_refuses_brings_its_words_back(make_bundle, devices_file):
    bundle = make_bundle()
    (bundle / "model.onnx").write_bytes(b"damaged here already")

    done = measure(bundle, devices_file, "--device", "board")

    assert done.exit_code == 1
    assert "device board: the measurement ended with code 1; its last words:" in done.stderr
    assert "model.onnx" in done.stderr


def test_an_unknown_device_is_refused_before_anything_runs(make_bundle, devices_file):
    done = measure(make_bundle(), devices_file, "--device", "bord")

    assert done.exit_code == 2
    assert "bord" in done.stderr
