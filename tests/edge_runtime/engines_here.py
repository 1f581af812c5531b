"""What the tests can run on this machine: 32-bit ARM has no ONNX Runtime, an emulated CPU is not timed."""

import os

import pytest

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # tests report to nobody; onnxruntime reads it when it is imported
try:
    import onnxruntime
except ImportError:
    onnxruntime = None

FORMS = ("onnx", "tflite") if onnxruntime else ("tflite",)
FORM = FORMS[0]  # for tests to which it is all one
ENGINE_MODULES = {"onnx": ("onnxruntime",), "tflite": ("ai_edge_litert", "tflite_runtime")}
EMULATED = "QEMU_CPU" in os.environ

with_onnx = pytest.mark.skipif("onnx" not in FORMS, reason="ONNX Runtime has no wheel for this machine")
timed = pytest.mark.skipif(EMULATED, reason="an emulated CPU is not timed")
