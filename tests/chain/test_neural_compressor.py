"""`engine: neural-compressor`: Intel's quantizer behind the same ledger, counts and timings."""

import importlib.util

import pytest

from compress.result import load_result
from tests.chain.conftest import Cli

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("neural_compressor") is None, reason="the inc extra is not installed"),
]
RECIPE = """\
version: 1
name: inc
data: {source: digits, limit: 500, calibration: 64}
teacher: {checkpoint: checkpoint}
stages:
  - quantize: {engine: neural-compressor%s}
export: [%s]
measure: {profile: smoke}
allow_slower: true
"""


@pytest.fixture
def cli_with_teacher(tmp_path, finished):
    cli = Cli(tmp_path)
    (tmp_path / "checkpoint").symlink_to(finished.folder / "runs/digits_tiny/checkpoints/00-teacher")
    return cli


@pytest.mark.parametrize("more", ["", ", autotune_drop_points: 5"])
def test_its_file_is_counted_and_compared_like_any_other(cli_with_teacher, more):
    folder = cli_with_teacher.folder
    (folder / "r.yaml").write_text(RECIPE % (more, "onnx"))

    done = cli_with_teacher("run", "r.yaml")
    result = load_result(folder / "runs/inc/result.json")
    int8 = result.artefact("01-quantize.onnx")

    assert int8.precision == "int8"
    assert int8.kernels["integer"] > 0
    assert int8.kernels["integer"] + int8.kernels["float"] >= len(result.artefact("00-teacher.onnx").layers)
    assert int8.paired is not None
    assert abs(int8.paired.difference_points) < 6
    assert all(h.ok for h in result.ledger)
    assert "INFO" not in done.stdout + done.stderr
    if more:
        trials = next(s.metrics["trials"] for s in result.steps if s.name == "01-quantize")
        assert trials[0] - trials[-1] <= 0.05


def test_what_it_cannot_do_is_said_at_lint_time(cli_with_teacher):
    folder = cli_with_teacher.folder
    (folder / "r.yaml").write_text(RECIPE % ("", "onnx, tflite"))
    assert "neural-compressor gives ONNX alone; leave out tflite" in cli_with_teacher("lint", "r.yaml", check=2).stderr
    (folder / "r.yaml").write_text(RECIPE % (", how: dynamic", "onnx"))
    assert "how: dynamic cannot be given with engine" in cli_with_teacher("lint", "r.yaml", check=2).stderr
