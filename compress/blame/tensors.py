"""Tensors along the graph: what each layer gives in the int8 model and in the float one, by ONNX Runtime."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from compress.export.onnx import to_onnx
from compress.model.model import Model

_IN_INTEGERS = ("Gather", "ConvInteger", "MatMulInteger")  # give integers, whose scale is known further on
Outputs = Mapping[str, NDArray[np.float32]]


def layer_outputs(model: Model, inputs: NDArray[np.float32]) -> Outputs:
    """What layers give before their activation, by name: float32, the batch first; none of those that give integers.

    The model's own ONNX export runs with its layers' outputs as outputs of the file, so nothing is fused over them and
    integer layers give the float values that are about to be quantized. inputs: (n, *input_shape), preprocessed.
    """
    import onnx
    from edge_runtime._onnx import import_onnxruntime

    onnxruntime = import_onnxruntime()
    proto = onnx.load_from_string(to_onnx(model, name="blame"))
    names = {n.name: n.output[0] for n in proto.graph.node if n.name and n.op_type not in _IN_INTEGERS}
    if not names:
        return {}
    known = {o.name for o in proto.graph.output}
    for tensor in names.values():
        if tensor not in known:
            proto.graph.output.append(onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    size = len(inputs) if given.shape[0] != 1 else 1  # dynamic int8 is written for one example
    parts = [session.run(list(names.values()), {given.name: inputs[i : i + size]}) for i in range(0, len(inputs), size)]
    return {name: np.concatenate(found) for name, found in zip(names, zip(*parts, strict=True), strict=True)}


def sqnr_db(reference: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Signal to quantization noise in decibels, 10 log10(sum r^2 / sum (r - o)^2); at most 200, for no noise at all."""
    signal = float((reference.astype(np.float64) ** 2).sum())
    noise = float(((reference.astype(np.float64) - other) ** 2).sum())
    if noise <= signal * 1e-20:
        return 200.0
    return float(10 * np.log10(max(signal, 1e-30) / noise))
