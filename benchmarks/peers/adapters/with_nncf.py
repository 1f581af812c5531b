"""NNCF on the ONNX file.

https://docs.openvino.ai/2025/openvino-workflow/model-optimization-guide/quantizing-models-post-training/, pages
basic-quantization-flow.html: nncf.quantize with an nncf.Dataset, subset_size 300 by default (here: all calibration
examples, as the others have them), model_type TRANSFORMER for transformers; quantizing-with-accuracy-control.html:
nncf.quantize_with_accuracy_control with a validation set and max_drop 0.01, for OpenVINO and ONNX models.
"""

import time

import nncf
import numpy as np
import onnx
import onnxruntime
from kit import done, examples, labels, read_job


def main():
    job, began = read_job(), time.monotonic()
    model, calibration = onnx.load(job.onnx), examples(job.calibration)
    dataset = nncf.Dataset(calibration, lambda x: {job.input: x})
    kind = nncf.ModelType.TRANSFORMER if job.text else None
    facts = {}
    if job.variant == "accuracy-control":
        trials = []

        def accuracy(candidate, feeds):
            session = onnxruntime.InferenceSession(candidate.SerializeToString(), providers=["CPUExecutionProvider"])
            pairs = list(feeds)
            answers = [session.run(None, {job.input: x})[0].argmax() for x, _ in pairs]
            right = [float(a == y) for a, (_, y) in zip(answers, pairs, strict=True)]
            trials.append(round(float(np.mean(right)), 6))
            return trials[-1], right

        pairs = list(zip(examples(job.validation), labels(job.validation), strict=True))
        quantized = nncf.quantize_with_accuracy_control(
            model, dataset, nncf.Dataset(pairs, lambda pair: pair), accuracy, max_drop=0.01,
            subset_size=len(calibration), model_type=kind)  # fmt: skip
        facts["trials"] = trials
    else:
        quantized = nncf.quantize(model, dataset, subset_size=len(calibration), model_type=kind)
    onnx.save(quantized, job.out / "model.onnx")
    done(job, job.out / "model.onnx", "onnx", ("nncf", "onnxruntime"), began, **facts)


main()
