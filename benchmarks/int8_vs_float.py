"""The same net in int8 and in float, one thread, head to head: how much faster is int8 than its own float ONNX file?

    python benchmarks/int8_vs_float.py                     # ResNet-8, 8 processes of 6 s; about 3 minutes
    python benchmarks/int8_vs_float.py --net ds-cnn

Weights are random: speed does not depend on them, accuracy is measured elsewhere. Every process is fresh and pinned to
one core. It runs short blocks of each file in random order; a ratio compares the blocks of one round, so that a slow
moment of the machine hits both sides; see edge_runtime.edge_stats.paired_ratio for the estimate and its interval.

LiteRT is timed twice on CPUs with AMX: XNNPACK then takes 16 x 64 tiles for every integer convolution, which wastes
most of the work of a layer with 16 output channels. `litert_int8_without_amx` runs the same file in processes where
the permission to use AMX was withheld before XNNPACK asked for it.
"""

import argparse
import ctypes
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "int8_vs_float.json"
GOALS = {"litert_int8": 3.0, "ort_int8": 1.7}
BLOCK_S = 0.02
REFERENCE = "ort_float"
FILES = {
    REFERENCE: "float.onnx",
    "ort_int8": "int8.onnx",
    "litert_float": "float.tflite",
    "litert_int8": "int8.tflite",
}


def main() -> None:
    arguments = _arguments()
    if arguments.child:
        print(json.dumps(time_files(Path(arguments.child), arguments.seconds, arguments.seed, arguments.no_amx)))
        return
    with tempfile.TemporaryDirectory() as folder:
        facts = write_files(Path(folder), arguments.net)
        runs: dict[str, list[dict[str, Any]]] = {"": [], "_without_amx": []}
        amx = "amx_int8" in Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else False
        for seed in range(arguments.processes):
            for suffix in runs if amx else [""]:
                command = [sys.executable, __file__, "--child", folder, "--seed", str(seed)]
                command += ["--seconds", str(arguments.seconds), *(["--no-amx"] if suffix else [])]
                out = subprocess.run(command, capture_output=True, text=True, check=True)
                runs[suffix].append(json.loads(out.stdout))
                print(f"process {seed + 1} of {arguments.processes}{suffix}", file=sys.stderr)
    report = summarise(facts, {k: v for k, v in runs.items() if v}, arguments)
    show(report)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")
        print(f"wrote {arguments.out}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", default="resnet8", help="a named net with a 1 x 28 x 28 input")
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=6.0, help="of timing in each process")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--no-amx", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def write_files(folder: Path, net: str) -> dict[str, Any]:
    """Export one net with random weights in all forms; facts of the files."""
    import numpy as np
    import torch

    from compress.export.counts import count_onnx, count_tflite
    from compress.export.onnx import to_onnx
    from compress.export.tflite import to_tflite
    from compress.model.model import Model
    from compress.model.module import GraphModule, initial_model
    from compress.model.nets import build_net
    from compress.model.rewrite import fold_batch_norm
    from compress.model.shapes import count_macs, count_parameters
    from compress.numerics.affine import activation_grid, weight_scales
    from compress.stages.placement import place_quantizers

    model = initial_model(build_net(net, {}, (1, 28, 28), 10), seed=0)
    folded = fold_batch_norm(model)
    graph, grids = place_quantizers(folded.graph, [n.name for n in folded.graph.layers], 8)
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(16, 1, 28, 28)).astype(np.float32))
    with torch.no_grad():
        _, taps = GraphModule(folded).eval()(x, tuple(grids.values()))
    weights = dict(folded.weights)
    for layer in graph.layers:
        weights[f"{layer.name}.weight_scale"] = weight_scales(weights[f"{layer.name}.weight"])
    for grid, tensor in grids.items():
        scale, zero_point = activation_grid(float(taps[tensor].min()), float(taps[tensor].max()))
        weights[f"{grid}.scale"], weights[f"{grid}.zero_point"] = np.asarray(scale), np.asarray(zero_point)
    int8 = Model(graph, weights)
    for name, source in {"float": model, "int8": int8}.items():
        (folder / f"{name}.onnx").write_bytes(to_onnx(source, name=net))
        (folder / f"{name}.tflite").write_bytes(to_tflite(source, name=net))
    parameters = count_parameters(model.graph)
    files = {}
    for label, name in FILES.items():
        data = (folder / name).read_bytes()
        counts = count_onnx(data) if name.endswith("onnx") else count_tflite(data)
        per_parameter = round(len(data) / parameters, 4)
        files[label] = {"size_bytes": len(data), "bytes_per_parameter": per_parameter, "kernels": counts.kernels}
    facts = {"net": net, "weights": "random", "parameters": parameters, "macs": count_macs(model.graph)}
    return {**facts, "input": [1, 28, 28], "files": files}


def time_files(folder: Path, seconds: float, seed: int, no_amx: bool) -> dict[str, list[float]]:
    """Microseconds a run, block by block; blocks of one index belong to one round."""
    os.environ["OMP_NUM_THREADS"] = "1"
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[seed % len(cores)]})
    if no_amx:
        _withhold_amx()
    # LiteRT first: onnxruntime asks for AMX when it is imported, and what one library is given all have.
    calls = {label: _litert(folder / name) for label, name in FILES.items() if name.endswith("tflite")}
    if no_amx:
        _restore()
    calls.update({label: _ort(folder / name) for label, name in FILES.items() if name.endswith("onnx")})
    loops = {}
    for label, call in calls.items():
        start = time.perf_counter()
        for _ in range(200):
            call()
        loops[label] = max(1, round(BLOCK_S / ((time.perf_counter() - start) / 200)))
    rng = random.Random(seed)  # noqa: S311 - an order, not a secret
    blocks: dict[str, list[float]] = {label: [] for label in calls}
    end, order = time.perf_counter() + seconds + 1.0, list(calls)
    warm = time.perf_counter() + 1.0
    while time.perf_counter() < end:
        rng.shuffle(order)
        for label in order:
            call, n = calls[label], loops[label]
            start = time.perf_counter()
            for _ in range(n):
                call()
            elapsed = time.perf_counter() - start
            if start > warm or blocks[label]:
                blocks[label].append(elapsed / n * 1e6)
    rounds = min(map(len, blocks.values()))
    return {label: [round(b, 2) for b in values[-rounds:]] for label, values in blocks.items()}


def _ort(path: Path) -> Any:
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {"input": np.random.default_rng(1).normal(size=(1, 1, 28, 28)).astype(np.float32)}
    return lambda: session.run(None, feed)


def _litert(path: Path) -> Any:
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    given, wanted = interpreter.get_input_details()[0], interpreter.get_output_details()[0]["index"]
    x = np.random.default_rng(1).integers(-128, 128, given["shape"]).astype(given["dtype"])

    def call() -> Any:
        interpreter.set_tensor(given["index"], x)
        interpreter.invoke()
        return interpreter.get_tensor(wanted)

    return call


class _Stack(ctypes.Structure):
    _fields_ = (("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


_SMALL = ctypes.create_string_buffer(8192)
_DISABLE = 2  # SS_DISABLE


def _withhold_amx() -> None:
    """Linux gives a process no AMX while a thread has a signal stack that could not hold the AMX registers."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.sigaltstack(ctypes.byref(_Stack(ctypes.addressof(_SMALL), 0, len(_SMALL))), None):
        raise OSError(ctypes.get_errno(), "AMX was given away before it could be withheld")


def _restore() -> None:
    ctypes.CDLL(None).sigaltstack(ctypes.byref(_Stack(None, _DISABLE, 0)), None)


def summarise(
    facts: dict[str, Any], runs: dict[str, list[dict[str, Any]]], arguments: argparse.Namespace
) -> dict[str, Any]:
    from edge_runtime.edge_stats import paired_ratio

    from compress.benchmark.host import host_facts

    rows = {}
    for suffix, processes in runs.items():
        for label in FILES:
            if suffix and not label.startswith("litert"):
                continue
            medians = [statistics.median(p[label]) for p in processes]
            ratio, interval = paired_ratio([p[REFERENCE] for p in processes], [p[label] for p in processes])
            rows[label + suffix] = {
                "median_us": round(statistics.median(medians), 1),
                "ratio_to_float_onnx": round(ratio, 3),
                "ratio_ci95": [round(r, 3) for r in interval],
                "goal": GOALS.get(label),
            }
    command = f"python benchmarks/int8_vs_float.py --net {facts['net']} --processes {arguments.processes}"
    return {
        "command": f"{command} --seconds {arguments.seconds:g}", "taken": time.strftime("%Y-%m-%d"),
        "label": "measured", "threads": 1, "batch": 1, **facts, "results": rows, "host": host_facts(),
        "blocks_us": {k or "as_it_comes": v for k, v in runs.items()},
    }  # fmt: skip


def show(report: dict[str, Any]) -> None:
    print(f"{report['net']}, {report['parameters']:,} parameters, {report['host'].get('cpu')}, one thread, batch 1")
    print(f"{'file':32}{'bytes':>9}{'B/param':>9}{'us':>9}{'ratio':>8}  95 %           goal")
    for label, row in report["results"].items():
        file = report["files"][label.removesuffix("_without_amx")]
        size, share = file["size_bytes"], file["bytes_per_parameter"]
        low, high = row["ratio_ci95"]
        numbers = f"{size:9,}{share:9.3f}{row['median_us']:9.1f}{row['ratio_to_float_onnx']:8.2f}"
        print(f"{label:32}{numbers}  {low:.2f} to {high:.2f}   {row['goal'] or ''}")


if __name__ == "__main__":
    main()
