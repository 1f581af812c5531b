"""Look through a model file before an engine sees it."""

from __future__ import annotations

from edge_runtime._scan_onnx import scan_onnx
from edge_runtime._scan_tflite import scan_tflite


def scan_model(format: str, data: bytes, where: str) -> frozenset[str]:
    """Refuse what no bundle needs; the operators that hold or run other graphs (If, WHILE, ...) are returned.

    This is no proof that a file is harmless: a model can still take long or much memory when it runs.

    Raises:
        BundleError: as scan_onnx and scan_tflite say.
    """
    return (scan_onnx if format == "onnx" else scan_tflite)(data, where)
