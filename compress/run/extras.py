"""What a recipe needs installed, asked before hours of training and not after them."""

from collections.abc import Iterable
from importlib.util import find_spec

from compress.errors import MissingExtraError

_MODULES = {
    "train": ("torch", "accelerate"),
    "onnx": ("onnx", "onnxruntime"),
    "tflite": ("ai_edge_litert", "flatbuffers"),
    "inc": ("neural_compressor", "onnxscript"),
    "text": ("tokenizers",),
    "attribution": ("captum",),
}


def require(formats: Iterable[str]) -> None:
    """Nothing is imported for it.

    formats: onnx, tflite: those that the plan exports; text, where the data are texts; torch is needed in any case.

    Raises:
        MissingExtraError: names every missing module and the one command that installs them.
    """
    extras = ("train", *sorted(set(formats)))
    lacking = {e: [m for m in _MODULES[e] if find_spec(m) is None] for e in extras}
    if missing := [m for modules in lacking.values() for m in modules]:
        names = ",".join(e for e in extras if lacking[e])
        fix = f'pip install "compress-edge[{names}]"'
        raise MissingExtraError(f"this run needs {', '.join(missing)}", "extras", fix)
