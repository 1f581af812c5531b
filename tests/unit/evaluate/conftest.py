"""Artefacts with chosen figures, for what is computed from a result alone."""

import pytest

from compress.result import Accuracy, Artefact, Latency


def latency(ratio, ci95=None, p50_ms=None, device="cpu"):
    ci95 = ci95 or (ratio and (ratio * 0.98, ratio * 1.02))
    return Latency(
        device=device,
        engine="onnxruntime 1.32.0",
        threads=1,
        batch=1,
        label="measured",
        processes_ms=((1.0,),),
        p50_ms=p50_ms if p50_ms is not None else 10.0 / (ratio or 1.0),
        p90_ms=12.0,
        ratio=ratio,
        ratio_ci95=ci95,
    )


def accuracy(split, correct, count=1000):
    return Accuracy(
        split=split,
        count=count,
        correct=correct,
        top1=correct / count,
        ci95=(0.0, 1.0),
        per_class_recall=(),
        confusion=(),
        predictions_sha256="",
    )


@pytest.fixture
def artefact():
    """artefact(id, size, ratio, validation, test): the step is the id's stem, the format its ending."""

    def make(identity, size_bytes=100_000, ratio=None, validation=990, test=985, latencies=None, **more):
        step, _, form = identity.partition(".")
        facts = {
            "id": identity,
            "step": step,
            "role": step,
            "format": form.split(".")[-1],
            "precision": "float32",
            "path": "",
            "sha256": "",
            "size_bytes": size_bytes,
            "gzip_bytes": size_bytes,
            "parameters": 1,
            "macs": 1,
            "sparsity": 0.0,
            "kernels": {},
            "operators": {},
            "layers": (),
            "accuracy": (accuracy("validation", validation), accuracy("test", test)),
            "latency": latencies if latencies is not None else (latency(ratio),),
        }
        return Artefact(**{**facts, **more})

    make.latency = latency
    return make
