import json

import pytest
from click.testing import CliRunner

from compress.benchmark.measurement import Measurement, read_document
from compress.cli import main
from compress.errors import UsageError


@pytest.fixture(autouse=True)
def own_lock(tmp_path, monkeypatch):
    """Nobody else's measurement on this machine gets in the way."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_a_bundle_is_measured_here_and_the_raw_document_kept(make_bundle, tmp_path):
    out = tmp_path / "out"

    done = CliRunner().invoke(main, ["measure", str(make_bundle()), "--profile", "smoke", "--out", str(out)])

    assert done.exit_code == 0, done.output
    assert "onnx  model.onnx, float32, onnxruntime" in done.stdout
    assert "100 %  onnx, start-up and memory" in done.stderr
    found = json.loads((out / "measurement.json").read_text())
    assert (found["format"], found["version"]) == ("compress.measurement", 1)
    assert found["devices"]["cpu"]["label"] == "measured"


def test_two_bundles_are_compared(make_bundle):
    arguments = ["measure", str(make_bundle(40)), "--vs", str(make_bundle(1)), "--profile", "smoke", "--json"]

    done = CliRunner().invoke(main, arguments)

    (pair,) = json.loads(done.stdout)["devices"]["cpu"]["pairs"]
    assert (pair["reference"], pair["this"]) == ("other/onnx", "this/onnx")
    assert pair["ratio"] < 1


def test_a_run_folder_stands_for_its_bundle(make_bundle, tmp_path):
    make_bundle().rename(tmp_path / "bundle")

    done = CliRunner().invoke(main, ["measure", str(tmp_path), "--profile", "smoke", "--json"])

    assert json.loads(done.stdout)["bundle"] == str(tmp_path / "bundle")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--engine", "tflite"], 2, "the bundle holds no tflite model"),
        (["--threads", "999"], 1, "999 threads asked for"),
        (["--vs", "/nowhere"], 2, "/nowhere: there is no such folder"),
    ],
)
def test_what_cannot_be_measured_is_refused(make_bundle, arguments, code, words):
    from compress.cli import main as cli

    done = CliRunner().invoke(cli, ["measure", str(make_bundle()), "--profile", "smoke", *arguments])

    assert done.exit_code == code
    assert words in done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"format": "edge-bench", "vers', "it cannot be read, it may have been cut short"),
        ("[]", "it is no result of edge-bench"),
        ('{"format": "edge-bench", "version": 9}', "it is of version 9, this compress reads 1"),
        ('{"format": "edge-bench", "version": 1, "host": {}}', "it lacks cores, events, label, models, pairs"),
    ],
)
def test_a_devices_result_that_cannot_be_used_is_refused(tmp_path, text, words):
    path = tmp_path / "device_result.json"
    path.write_text(text)

    with pytest.raises(UsageError, match=words):
        read_document(path)
    with pytest.raises(UsageError, match="there is no such file"):
        read_document(tmp_path / "none.json")


def test_a_failed_device_stands_beside_the_others():
    found = Measurement("b", None, {"cpu": {}}, {"pi5": "host unreachable"}).to_json()

    assert (list(found["devices"]), found["failures"]) == (["cpu"], {"pi5": "host unreachable"})
