"""A whole run on the smallest real data there is (digits, 8x8), made once for all tests that only read it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RECIPE = """\
version: 1
name: digits_tiny
data: {source: digits, limit: 500, calibration: 64}
teacher:
  net: resnet8
  args: {widths: [16, 24, 32]}
  train: {epochs: 3, learning_rate: 0.02}
student: {net: ds-cnn, args: {width: 16, blocks: 2}}
stages:
  - distill: {epochs: 3, learning_rate: 0.02}
  - prune: {what: channels, keep_macs: 0.7, finetune_epochs: 1}
  - quantize: {how: qat, epochs: 1}
export: [onnx, tflite, tflite-float16, onnx-float32]
measure: {profile: smoke}
budget: {size_bytes: 60_000}
allow_slower: true
"""


class Cli:
    """Runs `compress` in a folder of its own with a cache of its own."""

    def __init__(self, folder: Path, python: str = sys.executable) -> None:
        self.folder, self.python = folder, python
        self.environment = {**os.environ, "COMPRESS_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
        (folder / "recipe.yaml").write_text(RECIPE)

    def __call__(self, *arguments: str, check: int | None = 0) -> subprocess.CompletedProcess[str]:
        command = [self.python, "-m", "compress", *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=self.folder, env=self.environment, timeout=110
        )
        if check is not None:
            assert done.returncode == check, done.stdout + done.stderr
        return done


@pytest.fixture
def cli(tmp_path):
    return Cli(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The folder of a finished run, its cache beside it. Copy it before changing anything."""
    cli = Cli(tmp_path_factory.mktemp("finished"))
    cli("run", "recipe.yaml")
    return cli
