"""What the target profiles claim, measured: signedness, weight bits, operators, dynamic against static, per engine.

    python benchmarks/targets.py

Three nets with random weights (speed does not depend on them): a ResNet-8 of 32, 64, 128 channels and a DS-CNN of 64
on 32 x 32 colour images, and a BERT of two layers of 384 features on 64 tokens. Every variant is timed against the
float ONNX file by the protocol of `compress run` (profile quick, one thread), its outputs are compared with the float
file's. A probe whose products are as large as 8 bits allow shows whether a CPU's kernels saturate. The table of wheels
is what pip finds for other machines. compress/targets/*.yaml point at the keys of benchmarks/results/targets.json; the
proof for CPUs without VNNI is benchmarks/saturation.py's.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from edge_runtime.edge_host import host_facts
from onnx import TensorProto, helper, numpy_helper

from compress.benchmark.latency import measure
from compress.benchmark.latency import rows as latency_rows
from compress.export.bundle import write_bundle
from compress.export.counts import count_onnx, count_tflite
from compress.export.onnx import to_onnx
from compress.export.tflite import to_tflite
from compress.given_onnx.analyse import analyse
from compress.given_onnx.bundle import write_tensors_bundle
from compress.given_onnx.compare import fidelity, run_file
from compress.given_onnx.quantize import observe, quantized
from compress.given_onnx.recipe import OnnxRecipe, make_recipe
from compress.model.bert import BertShape, bert_graph
from compress.model.model import Model
from compress.model.module import initial_model
from compress.model.nets import build_net
from compress.model.rewrite import drop_quantizers, fold_batch_norm
from compress.numerics.affine import weight_scales
from compress.onnx_file.open import open_onnx
from compress.onnx_file.prepare import prepare
from compress.plan.target import load_target
from compress.stages.placement import mark_dynamic, place_quantizers

RESULTS = Path(__file__).parent / "results" / "targets.json"
SHAPE, TOKENS, EXAMPLES = (3, 32, 32), 64, 24
NETS: dict[str, Any] = {
    "cnn": lambda: build_net("resnet8", {"widths": [32, 64, 128]}, SHAPE, 10),
    "depthwise": lambda: build_net("ds-cnn", {"width": 64}, SHAPE, 10),
    "encoder": lambda: bert_graph(BertShape(vocabulary=2000, layers=2, max_length=TOKENS), 10),
}
CNN = {
    "uint8-int8": {}, "uint8-int8-7bit": {"weight_bits": 7}, "int8-int8": {"activations": "int8"},
    "uint8-uint8": {"weights": "uint8", "per_channel": False}, "per-tensor": {"per_channel": False},
}  # fmt: skip
VARIANTS: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
    "cnn": {**{k: ("static", v) for k, v in CNN.items()}, "layers-only": ("static-layers", {})},
    "depthwise": {"uint8-int8": ("static", {}), "layers-only": ("static-layers", {})},
    "encoder": {
        "dynamic-int8": ("dynamic", {}), "dynamic-uint8": ("dynamic", {"weights": "uint8"}),
        "static-layers": ("static-layers", {}), "static-layers-int8-int8": ("static-layers", {"activations": "int8"}),
        "static-all": ("static", {}),
    },
}  # fmt: skip
WHEELS = {"onnxruntime": "cp311", "ai-edge-litert": "cp311", "tflite-runtime": "cp311"}
PLATFORMS = {
    "x86_64": ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"),
    "aarch64": ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64",
                "manylinux_2_34_aarch64"),
    "armv7l": ("manylinux_2_34_armv7l", "manylinux_2_31_armv7l", "manylinux2014_armv7l", "linux_armv7l"),
}  # fmt: skip


def examples(name: str) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    if name == "encoder":
        return [{"input_ids": rng.integers(1, 2000, (1, TOKENS))} for _ in range(EXAMPLES)]
    return [{"input": rng.normal(size=(1, *SHAPE)).astype(np.float32)} for _ in range(EXAMPLES)]


def onnx_variants(name: str, scratch: Path) -> dict[str, Any]:
    """Every variant of one net: ratio to float with interval, bytes, kernels, signal to noise of the logits."""
    (scratch / f"{name}.onnx").write_bytes(to_onnx(initial_model(NETS[name](), 0), name=name))
    prepared, feeds = prepare(open_onnx(scratch / f"{name}.onnx")), examples(name)
    analysis, ranges = analyse(prepared, feeds[0]), observe(prepared, feeds[: EXAMPLES // 2], "minmax")
    judged = feeds[EXAMPLES // 2 :]
    reference = run_file(prepared.data, judged, "float")
    files, facts = {"float": prepared.data}, {}
    for variant, (how, changes) in VARIANTS[name].items():
        recipe: OnnxRecipe = replace(make_recipe(analysis, load_target("x86-vnni"), how=how), **changes)  # type: ignore[arg-type]
        files[variant] = quantized(prepared, recipe, recipe.candidates[0], ranges)
        rows = fidelity(reference, run_file(files[variant], judged, variant))
        facts[variant] = {"sqnr_db": rows[0].sqnr_db, "kernels": count_onnx(files[variant]).kernels}
    bundles = {variant: scratch / name / variant for variant in files}
    for variant, data in files.items():
        write_tensors_bundle(bundles[variant], name, data, "int8", prepared.signature, feeds)
    return timed(bundles, "float", {k: len(v) for k, v in files.items()}, facts)


def tflite_variants(scratch: Path) -> dict[str, Any]:
    """LiteRT: full integer and dynamic range against its own float file."""
    from edge_runtime.preprocessing import Preprocessing

    folded = fold_batch_norm(initial_model(NETS["cnn"](), 0))
    names = [n.name for n in folded.graph.layers]
    scales = {f"{n}.weight_scale": weight_scales(folded.weights[f"{n}.weight"]) for n in names}
    graph, grids = place_quantizers(folded.graph, names, 8)
    weights: dict[str, Any] = {**folded.weights, **scales}
    for grid in grids:
        weights[f"{grid}.scale"], weights[f"{grid}.zero_point"] = np.asarray(np.float32(0.05)), np.asarray(np.int32(0))
    full = Model(graph, weights)
    models = {"float": drop_quantizers(full), "full-integer": full,
              "dynamic": Model(mark_dynamic(folded.graph, names, 8), {**folded.weights, **scales})}  # fmt: skip
    image = Preprocessing(kind="image", height=32, width=32, channels=3, scale=1 / 255)
    x = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3)).astype(np.uint8)
    sizes, facts, bundles = {}, {}, {}
    for name, model in models.items():
        data = to_tflite(model, name="cnn")
        bundles[name], sizes[name] = scratch / "tflite" / name, len(data)
        facts[name] = {"kernels": count_tflite(data).kernels}
        write_bundle(bundles[name], name="cnn", task="image-classification", labels=[str(i) for i in range(10)],
                     preprocessing=image, files={"tflite": data}, precision="int8", reference_inputs=x)  # fmt: skip
    return timed(bundles, "float", sizes, facts)


def timed(bundles: dict[str, Path], reference: str, sizes: dict[str, int], facts: dict[str, Any]) -> dict[str, Any]:
    found = latency_rows(measure(bundles, reference, profile="quick"), "cpu")
    return {
        name: {**facts.get(name, {}), "size_bytes": sizes[name], "p50_ms": row.p50_ms, "ratio": row.ratio,
               "ratio_ci95": row.ratio_ci95, "processes_ms": row.processes_ms, "warnings": row.warnings}
        for name, row in found.items()
    }  # fmt: skip


def saturation_probe() -> dict[str, Any]:
    """A product of 256 weights near the end of their range with activations near theirs, against exact arithmetic."""
    rng, out = np.random.default_rng(1), {}
    for bits, limit in ((8, 127), (7, 64)):
        w = (rng.integers(limit - 30, limit + 1, (32, 256)) * rng.choice([-1, 1], (32, 1))).astype(np.int8)
        constants = [("xs", np.float32(0.02)), ("xz", np.uint8(0)), ("W", w), ("ws", np.full(32, 0.01, np.float32)),
                     ("wz", np.zeros(32, np.int8)), ("ys", np.float32(10.0)), ("yz", np.uint8(128))]  # fmt: skip
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "xs", "xz"], ["d"]),
            helper.make_node("DequantizeLinear", ["W", "ws", "wz"], ["v"], axis=0),
            helper.make_node("Gemm", ["d", "v"], ["y0"], transB=1),
            helper.make_node("QuantizeLinear", ["y0", "ys", "yz"], ["p"]),
            helper.make_node("DequantizeLinear", ["p", "ys", "yz"], ["y"]),
        ]
        info = helper.make_tensor_value_info
        graph = helper.make_graph(nodes, "probe", [info("x", TensorProto.FLOAT, [1, 256])],
                                  [info("y", TensorProto.FLOAT, [1, 32])],
                                  [numpy_helper.from_array(np.asarray(a), n) for n, a in constants])  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        x = np.full((1, 256), 5.0, np.float32)
        exact = np.clip(np.rint((x * 50).astype(int) @ w.T.astype(int) * 0.0002 / 10 + 128), 0, 255) * 10 - 1280
        found = run_file(model.SerializeToString(), [{"x": x}], "probe")["y"][0]
        out[f"{bits}-bit"] = {"largest_difference": float(np.abs(found - exact).max()), "step": 10.0,
                              "kernels": count_onnx(model.SerializeToString()).kernels}  # fmt: skip
    return out


def wheels() -> dict[str, dict[str, str]]:
    """The newest wheel that pip finds for CPython 3.11 on other machines; "none" where there is none."""
    out: dict[str, dict[str, str]] = {}
    for package, abi in WHEELS.items():
        for machine, tags in PLATFORMS.items():
            flags = [f for tag in tags for f in ("--platform", tag)]
            command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--no-deps", "--target", "none",
                       "--report", "-", "--only-binary=:all:", "--python-version", "3.11", "--implementation", "cp",
                       "--abi", abi, *flags, package]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            found = json.loads(done.stdout)["install"] if done.returncode == 0 else []
            out.setdefault(package, {})[machine] = found[0]["metadata"]["version"] if found else "none"
    return out


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        result = {
            "command": "python benchmarks/targets.py",
            "taken": datetime.now(UTC).isoformat(timespec="seconds"),
            "host": host_facts(),
            "probe": saturation_probe(),
            "wheels": wheels(),
            **{name: onnx_variants(name, scratch) for name in NETS},
            "tflite": tflite_variants(scratch),
        }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    for group in (*NETS, "tflite"):
        for name, row in result[group].items():
            ratio = f"{row['ratio']:.2f}x" if row["ratio"] else "1"
            noise = f"{row['sqnr_db']:.1f} dB" if "sqnr_db" in row else ""
            print(f"{group:<10} {name:<26} {row['p50_ms']:8.3f} ms {ratio:>7} {row['size_bytes']:>10,} {noise}")
    print("probe", result["probe"], "\nwheels", result["wheels"])


if __name__ == "__main__":
    main()
