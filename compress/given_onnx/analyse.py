"""What a float graph spends its work on: its layers with their multiply-accumulates, and where its time goes."""

import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from compress.onnx_file.open import graphs_of
from compress.onnx_file.prepare import Prepared

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN")
Kind = Literal["convolutions", "transformer", "dense", "recurrent", "nothing"]
_TIMED_RUNS = 20


@dataclass(frozen=True, slots=True)
class Layer:
    """A node with weights. macs: multiply-accumulates for one example. inside: the If, Loop or Scan it stands in."""

    name: str
    op: str
    parameters: int
    macs: int
    inside: str = ""


@dataclass(frozen=True, slots=True)
class Analysis:
    """layers: with constant weights. products: MatMul nodes of two activations (attention). time_share: of the float
    run by operator, largest first, as ONNX Runtime's profiler measured it, fused operators under their fused name."""

    kind: Kind
    layers: tuple[Layer, ...]
    products: tuple[str, ...]
    operators: Mapping[str, int]
    time_share: Mapping[str, float]

    @property
    def macs(self) -> int:
        """Of all layers."""
        return sum(layer.macs for layer in self.layers)

    @property
    def layer_time_share(self) -> float:
        """Share of the float run's time in operators that have an integer kernel worth having: convolutions, products,
        recurrent layers."""
        wanted = ("Conv", "Gemm", "MatMul", "LSTM", "GRU", "RNN", "Attention")
        return sum(v for k, v in self.time_share.items() if any(w in k for w in wanted))


def analyse(prepared: Prepared, feed: Mapping[str, NDArray[Any]]) -> Analysis:
    """Count and time a float graph with one example."""
    shapes = tensor_shapes(prepared.model, feed)
    graph = prepared.model.graph
    constants = {i.name: tuple(i.dims) for i in graph.initializer}
    layers, products = [], []
    for node in graph.node:
        weight = _weight_shape(node, constants)
        if weight is not None:
            layers.append(Layer(node.name, node.op_type, int(np.prod(weight)), _macs(node, weight, shapes)))
        elif node.op_type == "MatMul" and not any(i in constants for i in node.input):
            products.append(node.name)
    for node in graph.node:
        for inner in (a.g for a in node.attribute if a.HasField("g")):
            layers += _hidden(inner, f"{node.op_type} {node.name}", constants)
    operators = Counter(n.op_type for g in graphs_of(graph) for n in g.node)
    share = profile(prepared.data, feed)
    return Analysis(_kind(layers, products), tuple(layers), tuple(products), dict(sorted(operators.items())), share)


def _kind(layers: list[Layer], products: list[str]) -> Kind:
    """By what most multiply-accumulates are; layers inside control flow do not count: no quantizer reaches them."""
    macs: Counter[str] = Counter()
    for layer in layers:
        if not layer.inside:
            family = {"Conv": "convolutions", "ConvTranspose": "convolutions", "Gemm": "dense", "MatMul": "dense"}
            macs[family.get(layer.op, "recurrent")] += max(1, layer.macs)
    if not macs:
        return "nothing"
    first = macs.most_common(1)[0][0]
    if first == "dense" and products:
        return "transformer"
    return first  # type: ignore[return-value]


def _weight_shape(node: Any, constants: Mapping[str, tuple[int, ...]]) -> tuple[int, ...] | None:
    if node.op_type not in LAYERS:
        return None
    names = node.input[1:3] if node.op_type in ("LSTM", "GRU", "RNN") else node.input[1:2]
    if node.op_type == "MatMul" and node.input[0] in constants:
        names = node.input[:1]
    if not all(n in constants for n in names):
        return None
    found = [constants[n] for n in names]
    return found[0] if len(found) == 1 else (sum(int(np.prod(s)) for s in found),)


def _macs(node: Any, weight: tuple[int, ...], shapes: Mapping[str, tuple[int, ...]]) -> int:
    """For one example; 0 where a shape is not known."""
    out, source = (shapes.get(next(filter(None, names), "")) for names in (node.output, node.input))
    if out is None or source is None:
        return 0
    if node.op_type == "Conv":
        return int(np.prod(weight[1:])) * int(np.prod(out))
    if node.op_type == "ConvTranspose":
        return int(np.prod(weight[1:])) * int(np.prod(source))
    if node.op_type in ("LSTM", "GRU", "RNN"):
        return int(weight[0]) * int(source[0])
    rows = int(np.prod(out)) // max(1, out[-1])
    return int(np.prod(weight)) * rows


def _hidden(graph: Any, inside: str, constants: Mapping[str, tuple[int, ...]]) -> list[Layer]:
    known = {**constants, **{i.name: tuple(i.dims) for i in graph.initializer}}
    known |= {n.output[0]: tuple(a.t.dims) for n in graph.node if n.op_type == "Constant" for a in n.attribute
              if a.HasField("t")}  # fmt: skip
    out = []
    for node in graph.node:
        if (weight := _weight_shape(node, known)) is not None:
            name = node.name or node.output[0]
            out.append(Layer(f"{inside}/{name}", node.op_type, int(np.prod(weight)), 0, inside))
        for inner in (a.g for a in node.attribute if a.HasField("g")):
            out += _hidden(inner, f"{inside}/{node.op_type} {node.name}", known)
    return out


def tensor_shapes(model: Any, feed: Mapping[str, NDArray[Any]]) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors for this very example, as far as shape inference finds them."""
    import onnx

    bound = onnx.ModelProto()
    bound.CopyFrom(model)
    for value in bound.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, feed[value.name].shape, strict=True):
            dim.Clear()
            dim.dim_value = size
    del bound.graph.value_info[:]
    for output in bound.graph.output:
        for dim in output.type.tensor_type.shape.dim:
            dim.Clear()
    try:
        bound = onnx.shape_inference.infer_shapes(bound, data_prop=True)
    except Exception:  # an aid: without it MACs read 0
        return {}
    out = {}
    for value in (*bound.graph.value_info, *bound.graph.input, *bound.graph.output):
        dims = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(d.HasField("dim_value") for d in dims):
            out[value.name] = tuple(int(d.dim_value) for d in dims)
    return out


def profile(data: bytes, feed: Mapping[str, NDArray[Any]], runs: int = _TIMED_RUNS) -> dict[str, float]:
    """Share of the time in nodes by operator, from ONNX Runtime's own profiler, the first run left out."""
    from edge_runtime._onnx import import_onnxruntime

    onnxruntime = import_onnxruntime()
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "profile")
        options.log_severity_level, options.intra_op_num_threads = 4, 1
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"], enable_fallback=0)
        for _ in range(1 + runs):
            session.run(None, dict(feed))
        return time_shares(json.loads(Path(session.end_profiling()).read_text()))


def time_shares(events: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Share of the time in nodes by operator, largest first, from the profiler's events of two runs or more."""
    second = sorted(event["ts"] for event in events if event.get("name") == "model_run")[1]
    spent: Counter[str] = Counter()
    for event in events:
        name = event.get("args", {}).get("op_name")
        if event.get("cat") != "Node" or event["ts"] < second:
            continue
        if name and name not in ("If", "Loop", "Scan"):  # their bodies count themselves
            spent[name] += event["dur"]
    total = sum(spent.values()) or 1
    return {k: v / total for k, v in spent.most_common()}
