"""Olive's quantization passes in a workflow of its own.

https://microsoft.github.io/Olive/0.7.0/features/passes/quant_onnx.html and reference/pass.html: a workflow with the
pass OnnxStaticQuantization and a data_config whose dataset is registered in a user script, or OnnxDynamicQuantization;
everything else at its default. Olive exits 0 where a pass fails, so its output is looked for.
"""

import time
from pathlib import Path

from kit import done, read_job
from olive import run

SCRIPT = """
import numpy as np
from olive.data.registry import Registry


@Registry.register_dataset()
def calibration_examples(data_dir, **kwargs):
    with np.load({path!r}) as data:
        x, lengths = data["x"], data["lengths"] if "lengths" in data else None
    rows = x if lengths is None else [r[:n] for r, n in zip(x, lengths)]
    return [({{{name!r}: r}}, 0) for r in rows]
"""


def main():
    job, began = read_job(), time.monotonic()
    passes = {"quantize": {"type": "OnnxDynamicQuantization"}}
    config = {
        "input_model": {"type": "ONNXModel", "model_path": str(job.onnx)},
        "systems": {"here": {"type": "LocalSystem", "accelerators": [
            {"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}]}},
        "target": "here", "host": "here",
        "output_dir": str(job.out / "output"), "cache_dir": str(job.out / "cache"), "log_severity_level": 2,
    }  # fmt: skip
    if job.variant == "static":
        script = job.out / "calibration_script.py"
        script.write_text(SCRIPT.format(path=str(job.calibration), name=job.input))
        config["data_configs"] = [{
            "name": "calibration", "user_script": str(script), "type": "DataContainer",
            "load_dataset_config": {"type": "calibration_examples", "params": {"data_dir": ""}},
            "pre_process_data_config": {"type": "skip_pre_process"},
            "post_process_data_config": {"type": "skip_post_process"},
            "dataloader_config": {"type": "default_dataloader", "params": {"batch_size": 1}},
        }]  # fmt: skip
        passes = {"quantize": {"type": "OnnxStaticQuantization", "data_config": "calibration"}}
    config["passes"] = passes
    run(config)
    made = sorted((job.out / "output").rglob("*.onnx"), key=lambda p: len(p.parts))
    if not made:
        raise RuntimeError("Olive ended without an error and without a model")
    done(job, Path(made[0]), "onnx", ("olive-ai", "onnxruntime"), began)


main()
