"""What an exported file really does: which layers compute in integers, read from the file itself.

An ONNX file with quantizers says nothing yet: an engine that cannot fuse a chain computes it in float. So the file is
given to ONNX Runtime and its optimised graph is counted. A TFLite file has its kernels' types in its tensors.
"""

import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from compress.errors import ExportError
from compress.export.joined import JOINT

Kernel = Literal["integer", "float", "dynamic-integer"]

_ONNX_KERNELS: dict[str, Kernel] = {
    **dict.fromkeys(("QLinearConv", "QGemm", "QLinearMatMul", "MatMulIntegerToFloat"), "integer"),
    **dict.fromkeys(("ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"),
                    "dynamic-integer"),
    **dict.fromkeys(("Conv", "FusedConv", "NhwcFusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul",
                     "ConvTranspose", "LSTM", "GRU", "RNN", "Attention", "MultiHeadAttention"), "float"),
}  # fmt: skip
_ONNX_LAYERS = ("Conv", "Gemm", "MatMul", "ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul",
                "ConvTranspose", "LSTM", "GRU", "RNN")  # fmt: skip
_TABLES = (1, 3, 10)  # float, int8, float16: an embedding's rows, not indices
_TFLITE_WEIGHTS = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1, "GATHER": 0}  # layer -> which input


@dataclass(frozen=True, slots=True)
class Counts:
    """kernels: layers by the type of their arithmetic, all three named. operators: of the graph that runs, by type.

    layer_kernels: by layer. weight_bytes: of all constants in the file. zero_share: of the layers' weights.
    """

    kernels: dict[str, int]
    operators: dict[str, int]
    layer_kernels: dict[str, Kernel]
    weight_bytes: int
    zero_share: float


def count_onnx(data: bytes) -> Counts:
    """Count an ONNX file as ONNX Runtime runs it, after its extended optimisations.

    Raises:
        ExportError: it is no ONNX file, or ONNX Runtime refuses it.
    """
    import onnx
    from onnx import numpy_helper

    try:
        graph = onnx.load_from_string(data).graph
    except Exception as error:  # protobuf's error types differ between its implementations
        raise ExportError(f"it is no ONNX file: {error}", "count_onnx", "export the model again") from error
    constants = {i.name: i for i in graph.initializer}
    sources = {node.output[0]: node for node in graph.node}
    layers: dict[str, list[str]] = {}  # any name by which a layer's weight may be known -> the layers that have it
    at_run_time: set[str] = set()  # layers whose ranges are found while running, whatever ONNX Runtime fuses them to
    weights: dict[str, NDArray[Any]] = {}
    for node in graph.node:
        if node.op_type in _ONNX_LAYERS:
            layer = node.name or node.output[0]
            if node.op_type.endswith("Integer"):
                at_run_time.add(layer)
            for name in _names_of_constants(node, sources):
                layers.setdefault(name, []).append(layer)
                if name in constants and len(constants[name].dims) > 1:
                    weights[layer] = _without_padding(numpy_helper.to_array(constants[name]), node, sources)
    found: dict[str, Kernel] = {}
    for node in graph.node:  # an embedding is a Gather with a name; its kernel is the type its rows are stored in
        if node.op_type == "Gather" and node.name and node.input[0] in constants:
            table = constants[node.input[0]]
            if len(table.dims) == 2 and table.data_type in _TABLES:
                weights[node.name] = numpy_helper.to_array(table)
                found[node.name] = "integer" if weights[node.name].dtype == np.int8 else "float"
    optimised = list(_nodes(_optimised(data)))
    for node in optimised:
        kernel = _ONNX_KERNELS.get(node.op_type)
        if kernel is not None:
            by_weight = [layer for i in node.input for layer in layers.get(i, ()) if layer not in found]
            name = node.name if node.name in weights else next(iter(by_weight), node.name or node.output[0])
            found[name] = "dynamic-integer" if kernel == "integer" and name in at_run_time else kernel
    size = sum(numpy_helper.to_array(i).nbytes for i in constants.values())
    in_order = {name: found[name] for name in (*weights, *found) if name in found}
    return _counts(in_order, (n.op_type for n in optimised), size, weights.values())


def _nodes(graph: Any) -> Iterable[Any]:
    """Every node, those in the graphs of If, Loop and Scan included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)


def _names_of_constants(node: Any, sources: dict[str, Any]) -> Iterable[str]:
    """A layer's own inputs, and through a DequantizeLinear what is stored; the first input is the activation's."""
    for name in node.input[1 if not node.op_type.startswith("QLinear") else 3 :]:
        yield name
        source = sources.get(name)
        if source is not None and source.op_type == "DequantizeLinear":
            yield source.input[0]


def _without_padding(weight: NDArray[Any], node: Any, sources: dict[str, Any]) -> NDArray[Any]:
    """The weight without the channels that the export filled up with zeros: their input is a Pad behind a quantizer."""
    dequantizer = sources.get(node.input[0])
    source = sources.get(dequantizer.input[0]) if dequantizer is not None else None
    if source is None or source.op_type != "Pad":
        return weight
    used = np.flatnonzero(weight.any(axis=tuple(a for a in range(weight.ndim) if a != 1)))
    return weight[:, : used.max(initial=0) + 1]


def _optimised(data: bytes) -> Any:
    """The graph that ONNX Runtime runs, in the operators its optimiser made."""
    import onnx
    from edge_runtime._onnx import import_onnxruntime

    onnxruntime = import_onnxruntime()

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimised.onnx"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 3  # it warns that the optimised file suits this machine only
        options.intra_op_num_threads = 1
        try:
            onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no public base class
            what = f"ONNX Runtime refuses it: {str(error).splitlines()[0]}"
            raise ExportError(what, "count_onnx", "export the model again") from error
        return onnx.load(path).graph


def count_tflite(data: bytes) -> Counts:
    """Count a TFLite file by the types of its tensors.

    Of a file with several subgraphs, one for every length of a text, the operators are those of the last, which holds
    the longest; a layer that some subgraph computes in float counts as float. Constants are counted as often as stored.

    Raises:
        ExportError: it is no TFLite file.
    """
    from ai_edge_litert import schema_py_generated as schema

    if data[4:8] != b"TFL3":
        raise ExportError("it is no TFLite file", "count_tflite", "export the model again")
    model = schema.ModelT.InitFromPackedBuf(data)
    found: dict[str, Kernel] = {}
    for graph in model.subgraphs:
        operators, kernels, sources = _count_subgraph(model, graph)
        worse = {name for name, kernel in kernels.items() if kernel == "float" or name not in found}
        found |= {name: kernels[name] for name in kernels if name in worse}
    stored = [_content(buffer, data) for buffer in model.buffers]
    weights = [np.frombuffer(stored[t.buffer], _numpy_type(t.type)) for t in sources]
    size = sum(map(len, stored))
    return _counts(found, operators, size, weights)


def _content(buffer: Any, data: bytes) -> bytes:
    """A buffer's bytes; other writers put large ones behind the flatbuffer, by offset and size."""
    return bytes(buffer.data) if buffer.data is not None else data[buffer.offset : buffer.offset + buffer.size]


def _count_subgraph(model: Any, graph: Any) -> tuple[list[str], dict[str, Kernel], list[Any]]:
    """Its operators, its layers' kernels by name, and the tensors of the layers' weights."""
    from ai_edge_litert import schema_py_generated as schema

    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    operators = [names[model.operatorCodes[op.opcodeIndex].builtinCode] for op in graph.operators]
    stored = {
        op.outputs[0]: op.inputs[0] for op, kind in zip(graph.operators, operators, strict=True) if kind == "DEQUANTIZE"
    }
    found: dict[str, Kernel] = {}
    weights = []
    for number, (op, kind) in enumerate(zip(graph.operators, operators, strict=True)):
        if kind == "BATCH_MATMUL":  # between tokens: it has no weights and no name
            found[f"batch_matmul{number}"] = "float"
            continue
        if kind not in _TFLITE_WEIGHTS:
            continue
        at = _TFLITE_WEIGHTS[kind]
        source = graph.tensors[stored.get(op.inputs[at], op.inputs[at])]
        if source.name:  # ours without a name is an average pooling
            integer = [graph.tensors[i].type == schema.TensorType.INT8 for i in op.inputs[:2]]
            whole = integer[0] if kind == "GATHER" else all(integer)
            kernel: Kernel = "integer" if whole else "dynamic-integer" if integer[at] else "float"
            found[source.name.decode()] = kernel
            weights.append(source)
    return operators, found, weights


def _numpy_type(kind: int) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    types = schema.TensorType
    return {types.FLOAT32: np.float32, types.FLOAT16: np.float16, types.INT8: np.int8}.get(kind, np.uint8)


def _counts(
    found: dict[str, Kernel], operators: Iterable[str], size: int, weights: Iterable[NDArray[Any]]
) -> Counts:  # fmt: skip
    found = {name: kernel for joint, kernel in found.items() for name in joint.split(JOINT)}
    arrays = list(weights)
    total = sum(prod(a.shape) for a in arrays)
    zeros = sum(int((a == 0).sum()) for a in arrays)
    kinds = Counter(found.values())
    kernels = {kind: kinds[kind] for kind in ("integer", "dynamic-integer", "float")}
    return Counts(kernels, dict(sorted(Counter(operators).items())), found, size, zeros / total if total else 0.0)
