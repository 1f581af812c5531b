"""A bundle around a given ONNX file: named arrays in, named arrays out, with a self-test made by running it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress import __version__
from compress.given_onnx.compare import run_file
from compress.onnx_file.signature import Signature, Tensor

REFERENCE = "reference.npz"
EXAMPLES = 8
_TOLERANCE = {"float32": 1e-3}  # of the largest number; integer kernels on other CPUs differ by steps of their grids
_TOLERANCE_ELSE = 2e-2


def write_tensors_bundle(
    folder: Path, name: str, data: bytes, precision: str, signature: Signature,
    feeds: Sequence[Mapping[str, NDArray[Any]]],
) -> None:  # fmt: skip
    """Write model.onnx, manifest.json and reference.npz into a new folder. feeds: examples for the self-test."""
    from edge_runtime.manifest import Manifest, ModelFile, SelfTest, file_info, write_manifest, write_npz
    from edge_runtime.reference import pack_inputs, pack_outputs
    from edge_runtime.tensors import TensorsPreprocessing

    feeds = feeds[:EXAMPLES]
    found = run_file(data, feeds, f"bundle {name}")
    names = [t.name for t in signature.outputs]
    answers = [{n: found[n][i] for n in names} for i in range(len(feeds))]
    largest = max((float(np.abs(a).max(initial=0.0)) for arrays in found.values() for a in arrays), default=0.0)
    inputs = signature.inputs
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(data)
    preprocessing = TensorsPreprocessing(
        tuple(t.name for t in inputs), tuple(t.shape for t in inputs), tuple(t.dtype for t in inputs)
    )
    entry = ModelFile("onnx", "model.onnx", precision, tuple(map(_info, inputs)), tuple(map(_info, signature.outputs)))

    def manifest(files: Mapping[str, Any]) -> Manifest:
        tolerance = _TOLERANCE.get(precision, _TOLERANCE_ELSE) * max(1.0, largest)
        test = SelfTest(REFERENCE, 1.0, tolerance)
        return Manifest(name=name, created_by=f"compress {__version__}", task="tensors", labels=(),
                        preprocessing=preprocessing, models=(entry,), files=dict(files), self_test=test)  # fmt: skip

    packed = {**pack_inputs(manifest({}), feeds), **pack_outputs(answers, "onnx", names)}
    write_npz(folder / REFERENCE, packed)
    write_manifest(folder, manifest({n: file_info((folder / n).read_bytes()) for n in ("model.onnx", REFERENCE)}))


def _info(tensor: Tensor) -> Any:
    from edge_runtime.manifest import TensorInfo

    return TensorInfo(tensor.name, tensor.shape, "ANY", tensor.dtype)
