"""Where an int8 ONNX file begins to answer otherwise on another CPU, and whether its weights can saturate there."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from edge_runtime.files import write_npz
from edge_runtime.manifest import ModelFile
from numpy.typing import NDArray

from compress.emulation.cpus import Cpu
from compress.emulation.launch import run_python
from compress.verified import FirstLayer

WORKER = Path(__file__).with_name("worker.py")
LARGEST_7_BIT = 64
REMEDY = (
    "this CPU adds pairs of 8-bit products in 16 bits, which overflow for large 8-bit weights; quantize with 7-bit "
    "weights: `quantize: {weight_bits: 7}`, or `target: x86-avx2`, which does so for every layer"
)


def has_8_bit_weights(data: bytes) -> bool:
    """Whether the file has int8 weights beyond 7 bits that meet unsigned activations, which AVX2 may saturate."""
    import onnx
    from onnx import TensorProto, numpy_helper

    tensors = {t.name: t for t in onnx.load_from_string(data).graph.initializer}
    int8 = [numpy_helper.to_array(t) for t in tensors.values() if t.data_type == TensorProto.INT8 and len(t.dims) > 1]
    return any(int(np.abs(w.astype(np.int16)).max(initial=0)) > LARGEST_7_BIT for w in int8)


def first_difference(data: bytes, entry: ModelFile, prepared: NDArray[Any], cpu: Cpu) -> FirstLayer | None:
    """The first integer tensor, in the file's order, that a CPU computes otherwise than the host.

    prepared: inputs (n, ...) as the engine takes them. None where no integer tensor differs.

    Raises:
        CompressError: the file fails there.
    """
    with tempfile.TemporaryDirectory(prefix="compress-verify-") as folder:
        scratch = Path(folder)
        model, nodes = _with_all_outputs(data)
        (scratch / "model.onnx").write_bytes(model)
        write_npz(scratch / "feed.npz", {entry.input.name: prepared})
        found = []
        for where in (None, cpu):
            out = scratch / "out.npz"
            run_python(
                where, [str(WORKER), "tensors", str(scratch / "model.onnx"), str(scratch / "feed.npz"), str(out)]
            )
            with np.load(out, allow_pickle=False) as archive:
                found.append({name: archive[name] for name in archive.files})
    host, there = found
    for i, (name, operator) in enumerate(nodes):
        steps = np.abs(host[f"o{i}"].astype(np.int64) - there[f"o{i}"].astype(np.int64))
        if steps.any():
            return FirstLayer(name=name, operator=operator, share=float((steps > 0).mean()),
                              largest_steps=int(steps.max()), examples=len(prepared))  # fmt: skip
    return None


def _with_all_outputs(data: bytes) -> tuple[bytes, list[tuple[str, str]]]:
    """The model with every QuantizeLinear's result as an output, and the (name, operator) that each one belongs to.

    Integer tensors stand between the fused kernels, so that asking for them leaves the fusing as it is.
    """
    import onnx
    from onnx import helper

    model = onnx.load_from_string(data)
    made = {output: node for node in model.graph.node for output in node.output}
    types = {t.name: t.data_type for t in model.graph.initializer}
    del model.graph.output[:]
    nodes = []
    for node in model.graph.node:
        if node.op_type != "QuantizeLinear":
            continue
        source = made.get(node.input[0])
        kind = types.get(node.input[2], onnx.TensorProto.UINT8) if len(node.input) > 2 else onnx.TensorProto.UINT8
        model.graph.output.append(helper.make_tensor_value_info(node.output[0], kind, None))
        nodes.append((source.name or node.input[0], source.op_type) if source else ("input", "QuantizeLinear"))
    return model.SerializeToString(), nodes
