"""One fresh process on a GPU: a JSON job on stdin, a JSON answer on stdout. Started by compress.benchmark.gpu.

A run is one example, already on the GPU, until the GPU has answered: launch, kernels and the wait for them, as a
caller sees it. Blocks alternate as on a CPU (edge_runtime.edge_worker.interleave). Beside that stands the time between
two CUDA events around the same call, which is the GPU's own.
"""

import gc
import json
import random
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_runtime.edge_worker import Timing, energy_windows, interleave, timings

EVENT_RUNS = 100
WARM_RUNS = 50  # compiling and choosing algorithms happens in these
Call = Callable[[], object]


def opened(subject: dict[str, Any], device: str) -> tuple[str, Call, Call | None]:
    """Engine's name, one run to its end, and one run without the wait where events can time it."""
    if subject["engine"] == "onnx":
        return onnx_call(subject["bundle"], device)
    return torch_call(subject["bundle"], subject["engine"], device)


def onnx_call(bundle: str, device: str) -> tuple[str, Call, Call | None]:
    """The bundle's ONNX file by ONNX Runtime's CUDA provider; input and output stay on the GPU.

    Raises:
        RuntimeError: the provider is not there, or gave way to the CPU.
    """
    import edge_runtime
    from edge_runtime._onnx import import_onnxruntime

    onnxruntime = import_onnxruntime()
    provider = "CUDAExecutionProvider" if device == "cuda" else "CPUExecutionProvider"
    with edge_runtime.load(bundle, engine="onnx") as model:
        prepared, name, outputs = model.prepare(model.reference()[0][0]), model.entry.input.name, model.entry.outputs
        path = model.folder / model.entry.path
    session = onnxruntime.InferenceSession(str(path), providers=[provider])
    if session.get_providers()[0] != provider:
        raise RuntimeError(f"onnxruntime has no {provider} here; it has {', '.join(session.get_providers())}")
    binding = session.io_binding()
    binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(prepared, device, 0))
    for output in outputs:
        binding.bind_output(output.name, device)

    def run() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return f"onnxruntime {onnxruntime.__version__} {provider}", run, None


def torch_call(checkpoint: str, variant: str, device: str) -> tuple[str, Call, Call | None]:
    """A checkpoint in PyTorch. variant: eager or compiled, and float32 or float16, as in "compiled float16"."""
    import torch

    from compress.model.checkpoint import load_checkpoint
    from compress.model.module import GraphModule

    how, _, precision = variant.partition(" ")
    dtype = torch.float16 if precision == "float16" else torch.float32
    model = load_checkpoint(Path(checkpoint))
    module: Any = GraphModule(model).eval().to(device=device, dtype=dtype)
    given = next(node.attrs for node in model.graph if node.op == "input")
    x = torch.rand((1, *given["shape"]), device=device, dtype=dtype)
    if given.get("dtype") == "int64":  # ids of tokens; any do
        x = torch.ones((1, *given["shape"]), device=device, dtype=torch.int64)
    if how == "compiled":
        module = torch.compile(module)

    def launch() -> None:
        with torch.inference_mode():
            module(x)

    def run() -> None:
        launch()
        if device == "cuda":
            torch.cuda.synchronize()

    return f"torch {torch.__version__} {variant}", run, launch


def kernel_ms(launch: Call) -> float:
    """Median time between two CUDA events around a run."""
    import torch

    found = []
    for _ in range(EVENT_RUNS):
        event: Any = torch.cuda.Event
        start, end = event(enable_timing=True), event(enable_timing=True)
        start.record()
        launch()
        end.record()
        torch.cuda.synchronize()
        found.append(start.elapsed_time(end))
    return statistics.median(found)


def time_models(job: dict[str, Any]) -> dict[str, Any]:
    """One or two models, loaded in random order, timed in interleaved blocks."""
    rng = random.Random(job["seed"])  # noqa: S311 - an order of blocks, no secret
    order = rng.sample(job["subjects"], len(job["subjects"]))
    found = {s["name"]: opened(s, job["device"]) for s in order}
    names = [s["name"] for s in job["subjects"]]
    for _, run, _ in found.values():
        for _ in range(WARM_RUNS):
            run()
    gc.collect()
    gc.disable()
    series = interleave([found[n][1] for n in names], Timing(**job["timing"]), rng)
    out = {}
    for name, one in zip(names, series, strict=True):
        engine, _, launch = found[name]
        events = kernel_ms(launch) if launch and job["device"] == "cuda" else None
        out[name] = {**timings(engine, one), "kernel_ms": events}
    return out


def energy(job: dict[str, Any]) -> dict[str, Any]:
    """One model's windows of work, as `edge_worker.energy`."""
    (subject,) = job["subjects"]
    _, run, _ = opened(subject, job["device"])
    return {subject["name"]: energy_windows(run, job)}


def main() -> None:
    """Do the job on stdin; the last line on stdout is the answer."""
    job = json.load(sys.stdin)
    answer = {"time": time_models, "energy": energy}[job["kind"]](job)
    sys.stdout.write("\n" + json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
