"""Which operators of a model cost the time, and in which arithmetic the engine really computes them.

ONNX Runtime times each operator itself, and names what it runs after its own rewriting: a Conv that it turned into a
QLinearConv is integer, one that it left a Conv is float. LiteRT gives Python no times: with XNNPACK the whole graph is
one call. Its operators are listed with their types and whether the delegate took them.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

WARM_RUNS, MOST_RUNS, SECONDS = 20, 500, 2.0
PRODUCTS = ("conv", "gemm", "matmul", "attention", "fully_connected")  # where the work is
_CONVERSIONS = ("quantizelinear", "dequantizelinear", "dynamicquantizelinear", "quantize", "dequantize", "cast")
_NO_TIMES = "LiteRT gives Python no time of single operators; with XNNPACK those it takes are one call"


def operators(model: Any, example: Any, threads: int) -> dict[str, Any]:
    """how: where the figures come from. rows: one an operator, in order; us and share are None where there are none.

    model: an opened edge_runtime.Model. Times are the engine's own, its bookkeeping included: shares, not latencies.
    """
    data = (model.folder / model.entry.path).read_bytes()
    prepared = model.prepare(example)
    if model.entry.format == "tflite":
        return litert_operators(data, threads)
    feed = prepared if isinstance(prepared, dict) else {model.entry.input.name: prepared}
    return onnx_operators(data, feed, threads)


def onnx_operators(data: bytes, feed: Mapping[str, Any], threads: int) -> dict[str, Any]:
    """Run with ONNX Runtime's profiler on, the session's other settings as in edge_runtime."""
    from edge_runtime._onnx import import_onnxruntime

    onnxruntime = import_onnxruntime()
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 4
        options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        runs, end = 0, time.monotonic() + SECONDS
        while runs < WARM_RUNS + MOST_RUNS and (runs < 2 * WARM_RUNS or time.monotonic() < end):
            session.run(None, dict(feed))
            runs += 1
        events = json.loads(Path(session.end_profiling()).read_text())
    return {"how": f"onnxruntime {onnxruntime.__version__}'s own profiler", "runs": runs - WARM_RUNS,
            "rows": rows_of(events)}  # fmt: skip


def rows_of(events: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The profiler's events, warm-up runs left out, as microseconds of each operator: the mean of their middle half.

    The profiler counts whole microseconds, too coarse for a median; a plain mean would hold what interrupted the runs.
    """
    times: dict[str, list[float]] = {}
    facts: dict[str, Mapping[str, Any]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            times.setdefault(event["name"], []).append(event["dur"])
            facts[event["name"]] = event["args"]
    means = {name: _middle(found[WARM_RUNS:] or found) for name, found in times.items()}
    total = sum(means.values()) or 1.0
    out = []
    for name, us in means.items():
        types = [next(iter(t)) for t in facts[name].get("input_type_shape", [])]
        op = facts[name]["op_name"]
        out.append({"name": name[: -len("_kernel_time")], "op": op, "arithmetic": arithmetic(op, types),
                    "provider": facts[name].get("provider"), "us": us, "share": us / total})  # fmt: skip
    return out


def _middle(values: Sequence[float]) -> float:
    cut = len(values) // 4
    inner = sorted(values)[cut : len(values) - cut]
    return sum(inner) / len(inner)


def litert_operators(data: bytes, threads: int) -> dict[str, Any]:
    """The graph after the delegate has taken its part."""
    import numpy as np

    from edge_runtime._tflite import _interpreter

    interpreter, engine = _interpreter()
    opened = interpreter(model_content=data, num_threads=threads)
    opened.allocate_tensors()
    nodes = opened._get_ops_details()  # the one way to see the delegate at work; there in every version since 2.5
    types = {int(t["index"]): np.dtype(t["dtype"]).name for t in opened.get_tensor_details()}
    taken = delegated(nodes)
    out = []
    for node in nodes:
        if node["op_name"] != "DELEGATE":
            kind = arithmetic(node["op_name"], [types[int(t)] for t in node["inputs"] if int(t) in types])
            provider = "XNNPACK" if node["index"] in taken else "built-in"
            out.append({"name": str(node["index"]), "op": node["op_name"], "arithmetic": kind,
                        "provider": provider, "us": None, "share": None})  # fmt: skip
    return {"how": f"{engine}: {_NO_TIMES}", "runs": 0, "rows": out}


def delegated(nodes: Sequence[Mapping[str, Any]]) -> set[int]:
    """Which operators lie between the inputs and outputs of the graph's DELEGATE nodes."""
    makers = {int(t): n for n in nodes if n["op_name"] != "DELEGATE" for t in n["outputs"]}
    taken: set[int] = set()
    for delegate in (n for n in nodes if n["op_name"] == "DELEGATE"):
        given, wanted = {int(t) for t in delegate["inputs"]}, [int(t) for t in delegate["outputs"]]
        while wanted:
            tensor = wanted.pop()
            node = makers.get(tensor)
            if node is not None and tensor not in given and node["index"] not in taken:
                taken.add(node["index"])
                wanted += [int(t) for t in node["inputs"]]
    return taken


def arithmetic(op: str, types: Sequence[str]) -> str:
    """integer, float or conversion, told by what goes in.

    >>> arithmetic("QLinearConv", ["uint8", "float", "uint8"]), arithmetic("Conv", ["float", "float"])
    ('integer', 'float')
    >>> arithmetic("QuantizeLinear", ["float", "float", "uint8"])
    'conversion'
    """
    if op.lower() in _CONVERSIONS:
        return "conversion"
    return "float" if types and types[0].startswith(("float", "double", "bfloat")) else "integer"


def verdict(precision: str, found: Mapping[str, Any]) -> list[str]:
    """What the rows mean: where the time goes, and which products of an int8 file run in float all the same."""
    rows = found["rows"]
    out = []
    if timed := sorted((r for r in rows if r["share"] is not None), key=lambda r: -r["share"]):
        top = ", ".join(f"{r['name']} ({r['op']}, {r['arithmetic']}) {100 * r['share']:.0f} %" for r in timed[:3])
        out.append(f"the time goes to {top}")
        if (spent := sum(r["share"] for r in timed if r["arithmetic"] == "conversion")) > 0.1:
            out.append(f"{100 * spent:.0f} % goes into converting between float and integer")
    products = [r for r in rows if any(p in r["op"].lower() for p in PRODUCTS)]
    if "int8" in precision and (floats := [r["name"] for r in products if r["arithmetic"] == "float"]):
        out.append(f"{len(floats)} of {len(products)} products run in float: {', '.join(floats[:8])}")
    elif "int8" in precision and products:
        out.append(f"all {len(products)} products run in integers")
    if alone := [r["op"] for r in rows if r["provider"] == "built-in"]:
        out.append(f"{len(alone)} of {len(rows)} operators are not taken by XNNPACK: {', '.join(dict.fromkeys(alone))}")
    return out
