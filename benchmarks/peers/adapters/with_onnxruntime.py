"""ONNX Runtime's own quantizer.

https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html: pre-process the float model (shape
inference and optimization), then quantize_static with a calibration data reader, everything else left at its default
(QDQ, signed activations and weights, per tensor); "in general, dynamic quantization is recommended for RNNs and
transformer-based models, and static quantization for CNN models".
"""

import time

from kit import done, examples, read_job
from onnxruntime.quantization import CalibrationDataReader, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process


class Reader(CalibrationDataReader):
    """One example a time."""

    def __init__(self, feeds):
        self.feeds = iter(feeds)

    def get_next(self):
        return next(self.feeds, None)


def main():
    job, began = read_job(), time.monotonic()
    prepared, out = job.out / "prepared.onnx", job.out / "model.onnx"
    facts = {}
    try:
        quant_pre_process(str(job.onnx), str(prepared))
    except Exception as error:  # it raises Exception itself, where shapes stay unknown
        facts["pre_process"] = f"with skip_symbolic_shape, because without: {error}"
        quant_pre_process(str(job.onnx), str(prepared), skip_symbolic_shape=True)
    if job.variant == "dynamic":
        quantize_dynamic(str(prepared), str(out))
    else:
        quantize_static(str(prepared), str(out), Reader([{job.input: x} for x in examples(job.calibration)]))
    done(job, out, "onnx", ("onnxruntime",), began, **facts)


main()
