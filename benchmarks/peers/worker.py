"""One model file in one process of its engine: answers a line of JSON with a line of JSON.

Runs in our environment for ONNX and TFLite files, in a tool's own for what only its torch.compile runs; so nothing of
compress is imported here. Every engine gets one thread and its default settings.

    {"do": "block", "runs": n}                   one untimed run, then n timed ones -> {"median_ns": ..., "cpu_ns": ...}
    {"do": "predict", "x": "t.npz", "out": "y.npy"}   logits of all examples, one at a time -> {"examples": n}
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Array = Any
Call = Callable[[], object]


def examples(path: str) -> list[Array]:
    """Single examples, token ids without padding beyond their bucket."""
    with np.load(path) as data:
        x, lengths = data["x"], data.get("lengths")
    rows = [x[i : i + 1] if lengths is None else x[i : i + 1, : lengths[i]] for i in range(len(x))]
    return [np.ascontiguousarray(row) for row in rows]


class Onnx:
    """ONNX Runtime."""

    def __init__(self, path: str) -> None:
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.name = f"onnxruntime {onnxruntime.__version__}"
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    def call(self, x: Array) -> Callable[[], Array]:
        """x is ready, as edge_runtime hands it over."""
        feed, run = {self.input: x}, self.session.run
        return lambda: run(None, feed)[0]


class TFLite:
    """LiteRT with XNNPACK. Integer inputs are quantized before, integer outputs dequantized after the timed call."""

    def __init__(self, path: str) -> None:
        from importlib.metadata import version

        from ai_edge_litert.interpreter import Interpreter

        self.name = f"ai-edge-litert {version('ai-edge-litert')}"
        self.interpreter = Interpreter(model_path=path, num_threads=1)
        self.interpreter.allocate_tensors()
        self.given, self.wanted = self.interpreter.get_input_details()[0], self.interpreter.get_output_details()[0]
        names = list(self.interpreter.get_signature_list())
        runners = [self.interpreter.get_signature_runner(n) for n in names] if len(names) > 1 else []
        self.by_shape = {tuple(only(r.get_input_details())["shape"]): r for r in runners}

    def call(self, x: Array) -> Callable[[], Array]:
        """The signature of this length, where the file has one for each."""
        if self.by_shape:
            return self.of_signature(x)
        ready = as_wanted(x, self.given)
        index, out, interpreter = self.given["index"], self.wanted["index"], self.interpreter

        def run() -> Array:
            interpreter.set_tensor(index, ready)
            interpreter.invoke()
            return interpreter.get_tensor(out)

        return run

    def of_signature(self, x: Array) -> Callable[[], Array]:
        runner = self.by_shape[x.shape]
        given, self.wanted = only(runner.get_input_details()), only(runner.get_output_details())
        feed = {name: as_wanted(x, given) for name in runner.get_input_details()}
        return lambda: only(runner(**feed))

    def real(self, y: Array) -> Array:
        scale, zero_point = self.wanted["quantization"]
        return (y.astype(np.float32) - zero_point) * scale if scale else y


class Torch:
    """A saved torch.export program through torch.compile as PT2E's documentation says: frozen weights, C++ wrapper.

    The quantizer's module is imported for what its import does: it registers the patterns that become integer kernels.
    """

    def __init__(self, path: str) -> None:
        os.environ |= {"TORCHINDUCTOR_FREEZING": "1", "TORCHINDUCTOR_CPP_WRAPPER": "1",
                       "TORCHINDUCTOR_CACHE_DIR": str(Path(path).parent / "inductor")}  # fmt: skip
        import torch
        import torchao.quantization.pt2e.quantizer.x86_inductor_quantizer  # noqa: F401

        torch.set_num_threads(1)
        self.torch, self.name = torch, f"torch {torch.__version__} inductor"
        self.model = torch.compile(torch.export.load(path).module())

    def call(self, x: Array) -> Callable[[], Array]:
        tensor, model, torch = self.torch.from_numpy(x), self.model, self.torch

        def run() -> Array:
            with torch.no_grad():
                return model(tensor).numpy()

        return run


ENGINES: dict[str, Callable[[str], Any]] = {"onnx": Onnx, "tflite": TFLite, "torch": Torch}


def as_wanted(x: Array, given: dict[str, Any]) -> Array:
    """Channels last and on the file's own integer grid, where the file wants that."""
    if x.ndim == 4 and x.shape != tuple(given["shape"]):
        x = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    scale, zero_point = given["quantization"]
    if scale and np.issubdtype(given["dtype"], np.integer) and np.issubdtype(x.dtype, np.floating):
        limits = np.iinfo(given["dtype"])
        x = np.clip(np.rint(x / scale) + zero_point, limits.min, limits.max)
    return x.astype(given["dtype"])


def only(named: dict[str, Any]) -> Any:
    (value,) = named.values()
    return value


def block(call: Call, runs: int) -> dict[str, float]:
    """Median of some timed runs after an untimed one, which brings the caches back."""
    call()
    times, spent = [], time.process_time_ns()
    before = time.perf_counter_ns()
    for _ in range(runs):
        call()
        now = time.perf_counter_ns()
        times.append(now - before)
        before = now
    return {"median_ns": statistics.median(times), "cpu_ns": (time.process_time_ns() - spent) / runs}


def predict(model: Any, x: str, out: str) -> dict[str, int]:
    logits = [np.asarray(model.call(one)()) for one in examples(x)]
    y = np.concatenate([one.reshape(1, -1) for one in logits])
    np.save(out, model.real(y) if hasattr(model, "real") else y)
    return {"examples": len(y)}


def main() -> None:
    """argv: engine, file, .npz whose first example is timed, core or "any". What an engine prints goes to stderr."""
    engine, file, example, core = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if core != "any" and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core)})
    model = ENGINES[engine](file)
    call = model.call(examples(example)[0])
    call()

    def say(doc: dict[str, Any]) -> None:
        print(json.dumps(doc), file=answers, flush=True)

    say({"engine": model.name, "size_bytes": Path(file).stat().st_size})
    for line in sys.stdin:
        order = json.loads(line)
        say(block(call, order["runs"]) if order["do"] == "block" else predict(model, order["x"], order["out"]))


if __name__ == "__main__":
    main()
