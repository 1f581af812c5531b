"""What a user does wrong or what breaks under them: one message, the right exit code, nothing lost."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from compress.model.checkpoint import load_checkpoint, save_checkpoint
from compress.model.model import Model

pytestmark = pytest.mark.slow


def say(done):
    """Everything a user reads, line breaks folded."""
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    return " ".join((done.stdout + done.stderr).split())


def npz(folder, **changes):
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.integers(0, 255, (200, 8, 8)).astype(np.uint8),
        "y_train": np.arange(200) % 4,
        "x_test": rng.integers(0, 255, (40, 8, 8)).astype(np.uint8),
        "y_test": np.arange(40) % 4,
    }
    np.savez(folder / "data.npz", **{**arrays, **changes})
    return ["--set", "data={npz: data.npz}"]


def test_every_problem_of_a_recipe_at_once(cli):
    broken = (cli.folder / "recipe.yaml").read_text().replace("keep_macs: 0.7", "keep_mac: 0.7, iterations: 0")
    (cli.folder / "recipe.yaml").write_text(broken.replace("net: ds-cnn", "net: dscnn"))
    done = cli("lint", "recipe.yaml", check=2)
    message = say(done)

    assert "keep_mac: unknown" in message
    assert "did you mean 'keep_macs'" in message
    assert "iterations" in message
    assert "dscnn" in message
    assert "line 11" in message


def test_a_recipe_that_is_not_there(cli):
    assert "nothing.yaml" in say(cli("run", "nothing.yaml", check=2))


def test_a_layer_pattern_that_matches_nothing(cli):
    message = say(cli("run", "recipe.yaml", "--set", "stages.2.quantize.keep_float=['re:blok']", check=2))

    assert "'re:blok' matches no layer" in message
    assert "the layers are stem" in message


@pytest.mark.parametrize(
    ("changes", "want"),
    [
        ({"x_train": np.full((200, 8, 8), np.nan, np.float32)}, "NaN"),
        ({"y_train": np.arange(200) % 3, "classes": np.array(["a", "b", "c", "d"])}, "no example of class 'd'"),
        ({"x_train": np.zeros((0, 8, 8), np.uint8), "y_train": np.zeros(0, int)}, "empty"),
        ({"x_test": np.zeros((40, 9, 9), np.uint8)}, "shape"),
    ],
    ids=["nan", "class absent from training", "empty split", "wrong shape"],
)
def test_bad_data_is_refused_with_the_place_and_the_cure(cli, changes, want):
    done = cli("run", "recipe.yaml", *npz(cli.folder, **changes), check=None)

    assert done.returncode in (1, 2)
    assert want.lower() in say(done).lower()
    assert "fix:" in say(done)


def test_a_teacher_for_other_labels(finished, cli):
    teacher = finished.folder / "runs" / "digits_tiny" / "checkpoints" / "00-teacher"
    shutil.copytree(teacher, cli.folder / "teacher")
    done = cli("run", "recipe.yaml", *npz(cli.folder), "--set", "teacher={checkpoint: teacher}", check=None)

    assert done.returncode in (1, 2)
    assert "10" in say(done)
    assert "4 classes" in say(done)


@pytest.mark.parametrize(
    ("spoil", "want"),
    [
        (lambda w: np.roll(w, 1, axis=0), "no better than guessing fix: give a teacher that was trained on this data"),
        (lambda w: w * np.float32(np.nan), "validation examples are not finite fix: give a checkpoint whose weights"),
    ],
    ids=["labels in another order", "not finite"],
)
def test_a_teacher_that_knows_nothing_of_the_data(finished, cli, spoil, want):
    model = load_checkpoint(finished.folder / "runs" / "digits_tiny" / "checkpoints" / "00-teacher")
    spoilt = {k: spoil(v) if k.startswith("classifier.") else v for k, v in model.weights.items()}
    save_checkpoint(cli.folder / "teacher", Model(model.graph, spoilt))
    done = cli("run", "recipe.yaml", "--set", "teacher={checkpoint: teacher}", check=1)

    assert want in say(done)
    assert "teacher teacher" in say(done)


def test_a_damaged_checkpoint(finished, cli):
    teacher = finished.folder / "runs" / "digits_tiny" / "checkpoints" / "00-teacher"
    shutil.copytree(teacher, cli.folder / "teacher")
    weights = cli.folder / "teacher" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    done = cli("run", "recipe.yaml", "--set", "teacher={checkpoint: teacher}", check=1)

    assert "content does not match its digest" in say(done)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "kill"])
def test_a_stopped_run_keeps_what_is_finished_and_the_next_goes_on(cli, how):
    command = [sys.executable, "-m", "compress", "run", "recipe.yaml"]
    process = subprocess.Popen(command, cwd=cli.folder, env=cli.environment, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True)  # fmt: skip
    deadline = time.monotonic() + 100
    while not (cli.folder / "runs" / "digits_tiny" / "checkpoints" / "00-teacher").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(how)
    said = process.communicate(timeout=60)[0]

    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "the same command goes on from there" in said
    cli("run", "recipe.yaml")
    steps = json.loads((cli.folder / "runs" / "digits_tiny" / "run.json").read_text())["steps"]
    assert next(s for s in steps if s["name"] == "00-teacher")["cached"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")
def test_a_full_disk_is_one_message_and_earlier_results_stay(finished, cli, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(small)], capture_output=True).returncode:
        pytest.skip("this machine may not mount a tmpfs")
    try:
        done = cli("run", "recipe.yaml", "--cache", str(small / "cache"), check=1)
        assert "No space left on device" in say(done)
        assert "fix: free some space or choose another" in say(done)
        assert not list((small / "cache" / "temporary").iterdir())
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_missing_extra_names_the_command_that_installs_it(cli):
    block = "import sys; sys.modules['torch'] = None; from compress.cli import main; main(['run', 'recipe.yaml'])"
    done = subprocess.run([sys.executable, "-c", block], cwd=cli.folder, env=cli.environment, capture_output=True,
                          text=True)  # fmt: skip

    assert done.returncode == 1
    assert 'pip install "compress-edge[train]"' in say(done)


def test_a_missing_engine_is_told_before_anything_is_trained(cli):
    block = "import sys; sys.modules['onnxruntime'] = None; from compress.cli import main; main(['run', 'recipe.yaml'])"
    done = subprocess.run([sys.executable, "-c", block], cwd=cli.folder, env=cli.environment, capture_output=True,
                          text=True)  # fmt: skip

    assert done.returncode == 1
    assert say(done) == 'error: extras: this run needs onnxruntime fix: pip install "compress-edge[onnx]"'


def test_more_threads_than_cores_are_refused_before_anything_is_trained(cli):
    done = cli("run", "recipe.yaml", "--set", "measure.threads=999", check=1)

    assert say(done).startswith("error: measure.threads: 999 threads asked for")
    assert done.stdout == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_one_message_too(finished):
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "compress", "run", "recipe.yaml"], cwd=finished.folder, text=True,
                              env=finished.environment, stdout=full, stderr=subprocess.PIPE)  # fmt: skip

    assert done.returncode == 1
    assert done.stderr.startswith("error: reading or writing: No space left on device\n  fix: ")
