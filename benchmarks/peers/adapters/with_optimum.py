"""Optimum's ORTQuantizer with its configuration for CPUs with AVX512-VNNI.

https://huggingface.co/docs/optimum/onnxruntime/usage_guides/quantization: AutoQuantizationConfig.avx512_vnni,
static with the ranges of AutoCalibrationConfig.minmax, or dynamic. Its page shows per_channel=False for both.
"""

import time

import numpy as np
from kit import done, examples, read_job
from onnxruntime.quantization import CalibrationMethod
from optimum.onnxruntime import ORTQuantizer
from optimum.onnxruntime.configuration import AutoQuantizationConfig, CalibrationConfig


def main():
    job, began = read_job(), time.monotonic()
    static = job.variant == "static"
    quantizer = ORTQuantizer.from_pretrained(job.onnx.parent, file_name=job.onnx.name)
    config = AutoQuantizationConfig.avx512_vnni(is_static=static, per_channel=False)
    ranges = None
    if static:
        rows = [{job.input: np.ascontiguousarray(x[0])} for x in examples(job.calibration)]
        calibration = CalibrationConfig(  # what AutoCalibrationConfig.minmax makes of a dataset of the Hub
            dataset_name="calibration", dataset_config_name="", dataset_split="train",
            dataset_num_samples=len(rows), method=CalibrationMethod.MinMax)  # fmt: skip
        ranges = quantizer.fit(dataset=rows, calibration_config=calibration,
                               onnx_augmented_model_name=str(job.out / "augmented.onnx"),
                               operators_to_quantize=config.operators_to_quantize)  # fmt: skip
    quantizer.quantize(save_dir=job.out, quantization_config=config, calibration_tensors_range=ranges)
    (made,) = job.out.glob("*_quantized.onnx")
    done(job, made, "onnx", ("optimum-onnx", "optimum", "onnxruntime"), began)


main()
