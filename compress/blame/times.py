"""What each layer costs in time: by the engine's own profile, and by timing the file with that layer in float.

The profile says where the time goes; LiteRT gives Python none. What a layer saves by being in int8 is measured in
both formats: the file against the one with this layer in float, by edge_runtime's protocol.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edge_runtime import edge_protocol
from edge_runtime.edge_bench import held
from edge_runtime.edge_protocol import Job, Profile, Subject
from edge_runtime.errors import EdgeError

from compress.comparison import Interval
from compress.errors import MeasureError

LAYERS = Profile(processes=3, seconds=0.15, warmup_s=0.05, min_runs=20, starts=0, throughput_s=0.0)
PLANS = Profile(processes=5, seconds=0.3, warmup_s=0.1, min_runs=20, starts=0, throughput_s=0.0)
PATIENCE_S = 600.0  # for another measurement on this machine to end
_SUFFIX = re.compile(r"(_token_\d+|_nchwc|_quant|_matmul|_MatMul|_fused)+$")  # that ONNX Runtime's rewriting appends
_MOVES = ("Relu", "Clip", "QuantizeLinear", "DequantizeLinear", "Reshape", "Transpose", "Identity")


@dataclass(frozen=True, slots=True)
class Timed:
    """One file against the int8 one. slower_ms: by how much it takes longer; ci95: None with a single process."""

    milliseconds: float
    slower_ms: float
    ci95: Interval | None


def timed(
    bundles: Mapping[str, Path], reference: str, profile: Profile, progress: Callable[[float, float, str], None]
) -> dict[str, Timed]:
    """Every bundle against bundles[reference], one thread, in fresh processes and interleaved blocks.

    Raises:
        MeasureError: a process failed, or the measurement is void.
    """
    subjects = tuple(Subject(name, str(folder.resolve())) for name, folder in bundles.items())
    pairs = tuple((reference, name) for name in bundles if name != reference)
    try:
        with held("compress blame", PATIENCE_S, lambda holder: progress(0.0, 1.0, f"waiting for {holder}")):
            document = edge_protocol.measure(Job(subjects, pairs, profile), progress)
    except EdgeError as error:
        raise MeasureError(error.what, error.where, error.fix) from error
    base = document["models"][reference]["summary"]["p50_ms"]
    out = {reference: Timed(base, 0.0, None)}
    for pair in document["pairs"]:
        low, high = pair["ci95"] or (None, None)
        interval = None if low is None else (base / high - base, base / low - base)
        out[pair["this"]] = Timed(base / pair["ratio"], base / pair["ratio"] - base, interval)
    return out


def profiled(
    content: bytes, kind: Literal["onnx", "tflite"], feed: Mapping[str, Any], layers: Collection[str]
) -> tuple[str, dict[str, tuple[float, float]]]:
    """How the figures came about, and by layer its milliseconds and share; empty where the engine tells none."""
    from edge_runtime.edge_operators import litert_operators, onnx_operators

    if kind == "tflite":
        return str(litert_operators(content, 1)["how"]), {}
    found = onnx_operators(content, feed, 1)
    names = _layer_names(content, layers)
    out: dict[str, tuple[float, float]] = {}
    for row in found["rows"]:
        name = _SUFFIX.sub("", row["name"])
        layer = name if name in layers else names.get(name)
        if layer is not None:
            ms, share = out.get(layer, (0.0, 0.0))
            out[layer] = (ms + row["us"] / 1000, share + row["share"])
    return str(found["how"]), out


def _layer_names(content: bytes, layers: Collection[str]) -> dict[str, str]:
    """Tensor -> the layer that makes it, be it through an activation: what the optimiser rewrites, it names so."""
    import onnx

    out: dict[str, str] = {}
    for node in onnx.load_from_string(content).graph.node:
        layer = node.name if node.name in layers else out.get(node.input[0]) if node.op_type in _MOVES else None
        if layer is not None:
            out.update(dict.fromkeys(node.output, layer))
    return out
