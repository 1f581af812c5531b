"""`engine: neural-compressor`: Intel's quantizer behind the same ledger, counts and timings.

It runs in this Python where the `inc` extra is installed, else in the environment that scripts/interop builds.
"""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from compress.result import load_result
from tests.chain.conftest import Cli

ROOT = Path(__file__).resolve().parents[2]
HOME = Path(os.environ.get("COMPRESS_INTEROP") or Path.home() / ".cache" / "compress-interop")
OTHER = HOME / "inc" / "bin" / "python"
HERE = importlib.util.find_spec("neural_compressor") is not None
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not HERE and not OTHER.exists(),
        reason=f"no inc extra here, and no {OTHER}, which scripts/interop builds ($COMPRESS_INTEROP says where)",
    ),
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
def with_teacher(tmp_path, finished):
    """`compress` of a Python that has Neural Compressor, on this checkout's code, with a trained teacher at hand."""
    cli = Cli(tmp_path, sys.executable if HERE else str(OTHER))
    if not HERE:
        cli.environment |= {"PYTHONPATH": f"{ROOT}:{ROOT / 'edge_runtime' / 'src'}"}
    (tmp_path / "checkpoint").symlink_to(finished.folder / "runs/digits_tiny/checkpoints/00-teacher")
    return cli


@pytest.mark.parametrize("more", ["", ", autotune_drop_points: 5"])
def test_its_file_is_counted_and_compared_like_any_other(with_teacher, more):
    folder = with_teacher.folder
    (folder / "r.yaml").write_text(RECIPE % (more, "onnx"))

    done = with_teacher("run", "r.yaml")
    result = load_result(folder / "runs/inc/result.json")
    int8 = result.artefact("01-quantize.onnx")

    assert int8.precision == "int8"
    assert int8.kernels["integer"] > 0
    assert int8.kernels["integer"] + int8.kernels["float"] >= len(result.artefact("00-teacher.onnx").layers)
    assert int8.paired is not None
    assert abs(int8.paired.difference_points) < 6
    hops = {h.target: h.ok for h in result.ledger}
    assert hops == {"00-teacher.onnx": True, "01-quantize": True, "01-quantize.onnx": True}
    assert "INFO" not in done.stdout + done.stderr
    if more:
        trials = next(s.metrics["trials"] for s in result.steps if s.name == "01-quantize")
        assert len(trials) >= 2
        assert trials[0] - trials[-1] <= 0.05


def test_what_it_cannot_do_is_said_at_lint_time(with_teacher):
    folder = with_teacher.folder
    (folder / "r.yaml").write_text(RECIPE % ("", "onnx, tflite"))
    assert "neural-compressor gives ONNX alone; leave out tflite" in with_teacher("lint", "r.yaml", check=2).stderr
    (folder / "r.yaml").write_text(RECIPE % (", how: dynamic", "onnx"))
    assert "how: dynamic cannot be given with engine" in with_teacher("lint", "r.yaml", check=2).stderr
