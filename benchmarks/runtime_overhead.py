"""What edge_runtime costs on top of the engine it calls: predict, load, import, installed size.

    python benchmarks/runtime_overhead.py            # about 6 minutes on one core

predict   fresh pinned processes; short blocks of the bare engine call and of `model.predict` in random order; the
          difference in microseconds and the ratio compare blocks of one round. The bare call is given an input that is
          ready; predict gets the raw uint8 image, of the model's own size and, in a row of its own, of 640 x 480,
          which it resizes. CPU time of the one thread that does it all, so that other work on the machine counts for
          little.
load      fresh processes in random order, `import edge_runtime` already done: the engine's import, its preparation of
          the model and a sha256 of the file, against `edge_runtime.load`, which does that, checks the manifest and
          looks through the file. CPU and wall time of the first load in a process, CPU time of the third ("again").
import    fresh processes: `import edge_runtime` with its `load`, after `import numpy`.
size      the two wheels, and what they put on a disk.

Weights are random: cost does not depend on them.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "runtime_overhead.json"
NETS = {  # name -> net and its arguments: about 10 us, and about 1 ms with the engine on one thread
    "tiny": ("mlp", {}),
    "1 ms": ("resnet14-wide", {}),
}
GOALS = {
    "predict_us_tiny": 30,
    "predict_percent_1ms": 5,
    "load_percent": 10,
    "import_ms": 60,
    "installed_bytes": 300_000,
}
BLOCK_S = 0.005
HEIGHT, WIDTH, CLASSES = 28, 28, 10


def main() -> None:
    options = _arguments()
    if options.child:
        print(json.dumps({"predict": time_predict, "load": time_load}[options.child](options)))
        return
    if options.size_only:
        with tempfile.TemporaryDirectory() as name:
            report = json.loads(options.out.read_text()) | {"size": sizes(Path(name))}
        options.out.write_text(json.dumps(report, indent=1) + "\n")
        print(report["size"])
        return
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundles = write_bundles(folder)
        report = {
            "command": f"python benchmarks/runtime_overhead.py --processes {options.processes} "
            f"--seconds {options.seconds:g} --loads {options.loads}",
            "label": "measured", "threads": 1, "batch": 1, "goals": GOALS,
            "predict": [predict_row(folder / b, b, f, options) for b in bundles for f in ("onnx", "tflite")],
            "load": [load_row(folder / b, b, f, options) for b in bundles for f in ("onnx", "tflite")],
            "import_ms": import_row(options), "size": sizes(folder),
        }  # fmt: skip
    from edge_runtime.edge_host import host_facts

    report |= {"seconds": round(time.perf_counter() - started), "host": host_facts()}
    show(report)
    options.out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"wrote {options.out}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=6, help="of each predict row")
    parser.add_argument("--seconds", type=float, default=5.0, help="of timing in each process")
    parser.add_argument("--loads", type=int, default=25, help="pairs of fresh processes of each load row")
    parser.add_argument("--size-only", action="store_true", help="weigh the wheels again; the times there are stay")
    parser.add_argument("--out", type=Path, default=RESULTS)
    for name in ("--child", "--bundle", "--format", "--who"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


def write_bundles(folder: Path) -> list[str]:
    """One bundle a net, each with an ONNX and a TFLite file, float32."""
    import numpy as np
    from edge_runtime.preprocessing import Preprocessing

    from compress.export.bundle import write_bundle
    from compress.export.onnx import to_onnx
    from compress.export.tflite import to_tflite
    from compress.model.module import initial_model
    from compress.model.nets import build_net

    raw = np.random.default_rng(0).integers(0, 256, (4, HEIGHT, WIDTH), np.uint8)
    preprocessing = Preprocessing(
        "image", height=HEIGHT, width=WIDTH, channels=1, scale=1 / 255, mean=(0.3,), std=(0.3,)
    )
    for name, (net, arguments) in NETS.items():
        model = initial_model(build_net(net, arguments, (1, HEIGHT, WIDTH), CLASSES), seed=0)
        files = {"onnx": to_onnx(model, name=net), "tflite": to_tflite(model, name=net)}
        write_bundle(
            folder / name, name=net, task="image-classification", labels=[str(i) for i in range(CLASSES)],
            preprocessing=preprocessing, files=files, precision="float32", reference_inputs=raw,
        )  # fmt: skip
    return list(NETS)


# -- predict ----------------------------------------------------------------------------------------------------------


def predict_row(bundle: Path, name: str, format: str, options: argparse.Namespace) -> dict[str, Any]:
    """Every process is one estimate; median over processes, interval from their spread."""
    from edge_runtime.edge_stats import mean_interval, paired_ratio

    runs = []
    for seed in range(options.processes):
        runs.append(_child("predict", bundle, format, seed, seconds=options.seconds))
    row: dict[str, Any] = {"model": name, "format": format, "bare_us": _median(r["bare"] for r in runs)}
    for what in ("predict", "predict_640x480"):
        extra = [statistics.median(b - a for a, b in zip(r["bare"], r[what], strict=True)) for r in runs]
        ratio, interval = paired_ratio([r[what] for r in runs], [r["bare"] for r in runs])
        mean, around = mean_interval(extra)
        row[what] = {
            "median_us": _median(r[what] for r in runs), "extra_us": round(mean, 2),
            "extra_us_ci95": around and [round(v, 2) for v in around],
            "ratio": round(ratio, 4), "ratio_ci95": interval and [round(v, 4) for v in interval],
        }  # fmt: skip
    return {**row, "blocks_us": runs}


def _median(series: Any) -> float:
    return round(statistics.median(statistics.median(s) for s in series), 2)


def time_predict(options: argparse.Namespace) -> dict[str, list[float]]:
    """Microseconds a call, block by block; blocks of one index belong to one round."""
    import edge_runtime
    import numpy as np

    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[options.seed % len(cores)]})
    rng = np.random.default_rng(1)
    image, large = (rng.integers(0, 256, shape, np.uint8) for shape in ((HEIGHT, WIDTH), (480, 640)))
    model = edge_runtime.load(options.bundle, engine=options.format)
    bare = same_engine_call(model, options.format)
    prepared = model.prepare(image)
    calls = {
        "bare": lambda: bare(prepared),
        "predict": lambda: model.predict(image),
        "predict_640x480": lambda: model.predict(large),
    }
    clock, loops = time.thread_time, {}
    for label, call in calls.items():
        start = clock()
        for _ in range(200):
            call()
        loops[label] = max(1, round(BLOCK_S / ((clock() - start) / 200)))
    order, shuffle = list(calls), random.Random(options.seed).shuffle  # noqa: S311 - an order, not a secret
    blocks: dict[str, list[float]] = {label: [] for label in calls}
    end = clock() + options.seconds
    while clock() < end:
        shuffle(order)
        for label in order:
            call, n = calls[label], loops[label]
            call()  # brings the caches back
            start = clock()
            for _ in range(n):
                call()
            blocks[label].append(round((clock() - start) / n * 1e6, 3))
    return blocks


def same_engine_call(model: Any, format: str) -> Any:
    """The engine's own call on the session that predict uses: two sessions would differ by where their weights lie."""
    engine = model._engine
    if format == "onnx":
        session, name, outputs = engine._session, engine._input, engine._outputs
        return lambda x: session.run(outputs, {name: x})[0]
    return _interpreter_call(engine._interpreter, engine._input, engine._output)


def _interpreter_call(interpreter: Any, given: int, wanted: int) -> Any:
    def call(x: Any) -> Any:
        interpreter.set_tensor(given, x)
        interpreter.invoke()
        return interpreter.get_tensor(wanted)

    return call


def bare_call(bundle: str, format: str) -> tuple[Any, Any]:
    """The engine as its own documentation shows it, one thread; and the object that must stay alive."""
    path = f"{bundle}/model.{format}"
    if format == "onnx":
        from edge_runtime._onnx import import_onnxruntime

        onnxruntime = import_onnxruntime()
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = settings.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
        name, outputs = session.get_inputs()[0].name, [session.get_outputs()[0].name]
        return (lambda x: session.run(outputs, {name: x})[0]), session
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    given, wanted = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    return _interpreter_call(interpreter, given, wanted), interpreter


# -- load, import -----------------------------------------------------------------------------------------------------


def load_row(bundle: Path, name: str, format: str, options: argparse.Namespace) -> dict[str, Any]:
    from edge_runtime.edge_stats import mean_interval

    pairs = []
    order = ["bare", "load"]
    shuffle = random.Random(7).shuffle  # noqa: S311 - an order, not a secret
    for seed in range(options.loads):
        shuffle(order)
        pairs.append({who: _child("load", bundle, format, seed, who=who) for who in order})
    out: dict[str, Any] = {"model": name, "format": format, "pairs_ms": pairs}
    for what in ("cpu", "wall", "again"):
        bare, load = ([p[who][what] for p in pairs] for who in ("bare", "load"))
        extra, interval = mean_interval([b - a for a, b in zip(bare, load, strict=True)])
        middle = statistics.median(bare)
        out[what] = {
            "bare_ms": round(middle, 3), "load_ms": round(statistics.median(load), 3), "extra_ms": round(extra, 3),
            "extra_ms_ci95": interval and [round(v, 3) for v in interval],
            "extra_percent": round(100 * (statistics.median(load) - middle) / middle, 2),
        }  # fmt: skip
    return out


def time_load(options: argparse.Namespace) -> dict[str, float]:
    """Milliseconds of the first load in this process, in CPU and wall time, and CPU time of the third ("again")."""
    import hashlib

    import edge_runtime

    load = edge_runtime.load  # imports what edge_runtime itself needs

    def bare() -> Any:
        with open(f"{options.bundle}/model.{options.format}", "rb") as file:
            hashlib.sha256(file.read()).hexdigest()
        return bare_call(options.bundle, options.format)

    call = bare if options.who == "bare" else lambda: load(options.bundle, engine=options.format)
    times, kept = [], []
    for _ in range(3):
        wall, cpu = time.perf_counter(), time.process_time()
        kept.append(call())
        times.append(((time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3))
    return {"wall": times[0][0], "cpu": times[0][1], "again": times[2][1]}


def import_row(options: argparse.Namespace) -> dict[str, Any]:
    code = (
        "import time, numpy\nw, c = time.perf_counter(), time.process_time()\nimport edge_runtime\nedge_runtime.load\n"
        "print((time.perf_counter() - w) * 1e3, (time.process_time() - c) * 1e3)"
    )
    runs = [[float(v) for v in _run([sys.executable, "-c", code]).split()] for _ in range(options.loads)]
    wall, cpu = (statistics.median(column) for column in zip(*runs, strict=True))
    return {"wall_p50": round(wall, 2), "cpu_p50": round(cpu, 2), "runs": runs}


# -- size -------------------------------------------------------------------------------------------------------------


def sizes(folder: Path) -> dict[str, Any]:
    """Bytes of each wheel, of everything it installs, and of that by part of the package."""
    source = folder / "source"
    tracked = _run(["git", "ls-files", "-z", "edge_runtime"], cwd=ROOT).split("\0")
    for path in filter(None, tracked):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes((ROOT / path).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder)]
    _run([*command, str(source / "edge_runtime"), str(source / "edge_runtime" / "ops")])
    return {wheel.name.split("-")[0]: _size(wheel) for wheel in sorted(folder.glob("*.whl"))}


def _size(wheel: Path) -> dict[str, Any]:
    parts: dict[str, int] = {}
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            top, *rest = entry.filename.split("/")
            part = "metadata" if top.endswith(".dist-info") else rest[0] if len(rest) > 1 else "modules"
            parts[part] = parts.get(part, 0) + entry.file_size
    return {"wheel_bytes": wheel.stat().st_size, "installed_bytes": sum(parts.values()), "parts": parts}


def _child(what: str, bundle: Path, format: str, seed: int, seconds: float = 0.0, who: str = "") -> Any:
    command = [sys.executable, __file__, "--child", what, "--bundle", str(bundle), "--format", format]
    return json.loads(_run([*command, "--seed", str(seed), "--seconds", str(seconds), "--who", who]))


def _run(command: list[str], cwd: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


def show(report: dict[str, Any]) -> None:
    print(f"{report['host'].get('cpu')}, one thread, batch 1, measured\n")
    print(f"{'':24}{'engine us':>10}{'predict us':>11}{'extra us':>10}{'ratio':>8}")
    for row in report["predict"]:
        for what in ("predict", "predict_640x480"):
            note = ", 640 x 480" if what != "predict" else ""
            label, found = f"{row['model']}, {row['format']}{note}", row[what]
            numbers = f"{row['bare_us']:10.1f}{found['median_us']:11.1f}{found['extra_us']:10.1f}{found['ratio']:8.3f}"
            print(f"{label:24}{numbers}")
    print(f"\n{'':24}{'engine ms':>10}{'load ms':>11}{'extra ms':>10}{'%':>8}")
    for row in report["load"]:
        for what in ("cpu", "wall", "again"):
            label, found = f"{row['model']}, {row['format']}, {what}", row[what]
            numbers = f"{found['bare_ms']:10.2f}{found['load_ms']:11.2f}{found['extra_ms']:10.2f}"
            print(f"{label:24}{numbers}{found['extra_percent']:8.1f}")
    imported = report["import_ms"]
    print(f"\nimport beyond numpy: {imported['cpu_p50']} ms of CPU, {imported['wall_p50']} ms")
    for name, size in report["size"].items():
        print(f"{name}: wheel {size['wheel_bytes']:,} bytes; installed {size['installed_bytes']:,}: {size['parts']}")


if __name__ == "__main__":
    main()
