"""Versions of what takes part, read from package metadata so that nothing is imported for it."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version

TRAINING = ("torch", "accelerate", "numpy")
ONNX = ("onnx", "onnxruntime", "numpy")  # onnxruntime also counts what the file holds
TFLITE = ("ai-edge-litert", "flatbuffers", "numpy")
ENGINES = {"onnx": ("onnxruntime", "numpy"), "tflite": ("ai-edge-litert", "numpy")}
SHOWN = ("torch", "accelerate", "numpy", "onnx", "onnxruntime", "ai-edge-litert", "safetensors", "pydantic")


@cache
def installed(package: str) -> str:
    """A package's version, or `none`."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Package -> version."""
    return {name: installed(name) for name in packages}
