"""A bundle around a given ONNX file: named arrays in, named arrays out, with a self-test made by running it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_runtime.tensors import TensorsPreprocessing
from numpy.typing import NDArray

from compress.export.bundle import write_bundle
from compress.onnx_file.signature import Signature

EXAMPLES = 8  # of the self-test


def write_tensors_bundle(
    folder: Path, name: str, data: bytes, precision: str, signature: Signature,
    feeds: Sequence[Mapping[str, NDArray[Any]]],
) -> None:  # fmt: skip
    """Write model.onnx, manifest.json and reference.npz into a new folder."""
    inputs = signature.inputs
    preprocessing = TensorsPreprocessing(
        tuple(t.name for t in inputs), tuple(t.shape for t in inputs), tuple(t.dtype for t in inputs)
    )
    write_bundle(folder, name=name, task="tensors", labels=(), preprocessing=preprocessing, files={"onnx": data},
                 precision=precision, reference_inputs=list(feeds[:EXAMPLES]))  # fmt: skip
