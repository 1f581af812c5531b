"""Real processes: two of them train what one trains, and one that is killed goes on to the same bytes."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from compress.errors import StageError
from compress.model.checkpoint import save_checkpoint
from compress.recipe.schema import AugmentConfig, TrainConfig
from compress.stages.base import Context
from compress.stages.train import train

PROGRAM = """
import json, sys
from pathlib import Path
from compress.data.sources import open_data
from compress.model.checkpoint import load_checkpoint, save_checkpoint
from compress.recipe.schema import DataConfig, TrainConfig
from compress.stages.base import Context
from compress.stages.train import train

start, out, workdir = (Path(p) for p in sys.argv[1:4])
config = TrainConfig.model_validate_json(sys.argv[4])
data = open_data(DataConfig(source="digits", limit=600, calibration=64), 0).load().without_test()
done = lambda d, t, n="": print(d, flush=True)
result = train(load_checkpoint(start), config, Context(0, data, workdir=workdir, progress=done))
save_checkpoint(out, result.model, result.metrics)
import torch.distributed as dist
if dist.is_initialized():
    dist.destroy_process_group()
"""
CONFIG = TrainConfig(
    epochs=3,
    batch_size=35,
    learning_rate=0.05,
    schedule="constant",
    ema_decay=0.9,
    augment=AugmentConfig(shift_pixels=1, mixup_alpha=0.2),
)
# Sums in another order differ by 1e-7, and training amplifies that: after these 45 updates weights differed by 4e-5.
TOLERANCE = {"atol": 5e-4, "rtol": 1e-3}


def command(tmp_path, fresh, out, *, launcher=(), config=CONFIG):
    save_checkpoint(tmp_path / "start", fresh)
    (tmp_path / "program.py").write_text(PROGRAM)
    paths = [str(tmp_path / p) for p in ("program.py", "start", out, f"work-{out}")]
    return [sys.executable, *launcher, *paths, config.model_dump_json()]


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_two_processes_train_what_one_does(tmp_path, fresh, digits):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    done = subprocess.run(
        command(tmp_path, fresh, "two", launcher=launcher), env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]

    one = train(fresh, CONFIG, Context(0, digits))

    two = load_file(tmp_path / "two" / "weights.safetensors")
    metrics = json.loads((tmp_path / "two" / "metrics.json").read_text())
    assert (metrics["processes"], one.metrics["processes"]) == (2, 1)
    np.testing.assert_allclose(metrics["loss"], one.metrics["loss"], rtol=1e-4)
    assert metrics["validation_accuracy"] == pytest.approx(one.metrics["validation_accuracy"], abs=2 / 75)
    for name, array in one.model.weights.items():
        np.testing.assert_allclose(two[name], array, **TOLERANCE, err_msg=name)
    moved = max(float(np.abs(a - fresh.weights[k]).max()) for k, a in one.model.weights.items())
    assert moved > 100 * TOLERANCE["atol"]  # the comparison would notice a process that trained alone


@pytest.mark.slow
def test_a_killed_training_ends_with_the_bytes_of_an_undisturbed_one(tmp_path, fresh, digits):
    config = CONFIG.model_copy(update={"epochs": 12})
    undisturbed = train(fresh, config, Context(0, digits)).model.digest()
    kills = 0
    for steps in (20, 75, 110):
        process = subprocess.Popen(
            command(tmp_path, fresh, "killed", config=config), env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout
        for line in process.stdout:
            if int(line) >= steps:
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
        process.wait()
        process.stdout.close()
    assert kills == 3

    done = subprocess.run(
        command(tmp_path, fresh, "killed", config=config), env=ENVIRONMENT, capture_output=True, text=True, check=True
    )

    assert int(done.stdout.split()[0]) >= 75  # it went on, it did not start again
    doc = json.loads((tmp_path / "killed" / "model.json").read_text())
    assert doc["digest"] == undisturbed


def test_processes_that_accelerate_does_not_see_are_an_error(monkeypatch, fresh, digits):
    monkeypatch.setenv("WORLD_SIZE", "2")

    with pytest.raises(StageError, match="torchrun started 2 processes, accelerate sees 1"):
        train(fresh, CONFIG, Context(0, digits))
