"""The GPU's code on this machine's CPU, which shows that it runs and nothing more; and what is said without a GPU."""

import shutil

import numpy as np
import pytest
from edge_runtime.edge_protocol import Job, Profile, Subject

from compress.benchmark import gpu
from compress.errors import MeasureError, UsageError

BRIEF = Profile(2, 0.03, 0.02, 5, starts=0, throughput_s=0.0)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    from compress.model.checkpoint import save_checkpoint
    from compress.model.module import initial_model
    from compress.model.nets import build_net

    folder = tmp_path_factory.mktemp("checkpoint")
    save_checkpoint(folder, initial_model(build_net("mlp", {}, (1, 4, 4), 3), seed=0))
    return folder


@pytest.mark.slow
def test_a_checkpoint_is_timed_in_its_variants_against_the_first(checkpoint, monkeypatch):
    monkeypatch.setattr(gpu, "VARIANTS", ("eager float32", "eager float16"))
    notes = []

    found = gpu.measure_gpu(Job((Subject("torch", str(checkpoint), "torch"),), (), BRIEF),
                            lambda done, note: notes.append(note), device="cpu")  # fmt: skip

    (pair,) = found["pairs"]
    assert (pair["reference"], pair["this"]) == ("eager float32", "eager float16")
    assert found["models"]["eager float16"]["precision"] == "float16"
    assert found["models"]["eager float16"]["engine"].startswith("torch 2.")
    assert found["models"]["eager float32"]["summary"]["p50_ms"] > 0
    assert notes[-1] == "eager float16, process 2 of 2"


@pytest.mark.slow
def test_a_bundles_onnx_file_keeps_its_tensors_on_the_device(make_bundle):
    found = gpu.measure_gpu(
        Job((Subject("onnx", str(make_bundle()), "onnx"),), (), BRIEF), lambda *_: None, device="cpu"
    )

    assert found["models"]["onnx"]["engine"].endswith("CPUExecutionProvider")
    assert np.isfinite(found["models"]["onnx"]["summary"]["p50_ms"])


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="there is a GPU here")
def test_without_a_gpu_it_says_so(make_bundle):
    with pytest.raises(MeasureError, match="there is no NVIDIA GPU here\n  fix: measure on another device"):
        gpu.measure_gpu(Job((Subject("onnx", str(make_bundle()), "onnx"),), (), BRIEF), lambda *_: None)


@pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="no NVIDIA GPU here: the CUDA path is not run")
def test_a_real_gpu(checkpoint):
    found = gpu.measure_gpu(Job((Subject("torch", str(checkpoint), "torch"),), (), BRIEF), lambda *_: None)

    assert all(p["kernel_ms"] > 0 for m in found["models"].values() for p in m["processes"])
    assert found["host"]["gpu"]["name"]


def test_a_tflite_file_does_not_run_on_a_gpu():
    with pytest.raises(UsageError, match="nothing of it runs on a GPU"):
        gpu.measure_gpu(Job((Subject("tflite", "x", "tflite"),), (), BRIEF), lambda *_: None, device="cpu")


def test_slow_downs_are_told_from_idling():
    facts = gpu.parse_facts("H100, 550.1, 1980 MHz, 2619 MHz, 1980 MHz, 41, 700.00 W, 37 %, 0x0000000000000025\n")

    assert facts["name"] == "H100"
    assert gpu._busy(facts)
    assert gpu._slowed(facts) == "reasons 0x24 of nvidia-smi's clocks_throttle_reasons"
    assert gpu._slowed({**facts, "clocks_throttle_reasons.active": "0x0000000000000001"}) == ""
    assert gpu._slowed({**facts, "clocks_throttle_reasons.active": "[N/A]"}) == ""
