"""How the width of a DS-CNN decides whether int8 pays: each width in float and int8, ONNX and TFLite, one thread.

    python benchmarks/widths.py

Weights are random: speed does not depend on them. Measured by the protocol of `compress run` (profile quick), each
width's four files against its float ONNX file. Writes benchmarks/results/widths.json.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
from edge_runtime.preprocessing import Preprocessing

from compress.benchmark.host import host_facts
from compress.benchmark.latency import measure
from compress.benchmark.latency import rows as latency_rows
from compress.export.bundle import write_bundle
from compress.export.onnx import to_onnx
from compress.export.tflite import to_tflite
from compress.model.model import Model
from compress.model.module import initial_model
from compress.model.nets import build_net
from compress.model.rewrite import drop_quantizers, fold_batch_norm
from compress.numerics.affine import weight_scales
from compress.stages.placement import place_quantizers

WIDTHS = (32, 40, 44, 48, 56, 64)
RESULTS = Path(__file__).parent / "results" / "widths.json"


def quantized(width: int) -> Model:
    """Random weights on grids that nothing overflows."""
    folded = fold_batch_norm(initial_model(build_net("ds-cnn", {"width": width}, (1, 28, 28), 10), 0))
    graph, grids = place_quantizers(folded.graph, [n.name for n in folded.graph.layers], 8)
    weights = dict(folded.weights)
    for layer in folded.graph.layers:
        weights[f"{layer.name}.weight_scale"] = weight_scales(weights[f"{layer.name}.weight"])
    for grid in grids:
        weights[f"{grid}.scale"] = np.asarray(np.float32(0.05))
        weights[f"{grid}.zero_point"] = np.asarray(np.int32(0))
    return Model(graph, weights)


def main() -> None:
    preprocessing = Preprocessing(kind="image", height=28, width=28, channels=1)
    example = np.random.default_rng(0).integers(0, 255, (28, 28)).astype(np.uint8)
    rows = {}
    for width in WIDTHS:
        int8 = quantized(width)
        files = {
            "float.onnx": to_onnx(drop_quantizers(int8), name="w"),
            "int8.onnx": to_onnx(int8, name="w"),
            "float.tflite": to_tflite(drop_quantizers(int8), name="w"),
            "int8.tflite": to_tflite(int8, name="w"),
        }
        with tempfile.TemporaryDirectory() as scratch:
            bundles = {name: Path(scratch) / name for name in files}
            for name, content in files.items():
                write_bundle(bundles[name], name="w", task="image-classification", labels=tuple("0123456789"),
                             preprocessing=preprocessing, files={name.split(".")[1]: content},
                             precision=name.split(".")[0].replace("float", "float32"),
                             reference_inputs=example[None])  # fmt: skip
            latencies = latency_rows(measure(bundles, "float.onnx"), "cpu")
        rows[width] = {
            name: {"p50_us": round(1000 * x.p50_ms, 1), "ratio": x.ratio, "ratio_ci95": x.ratio_ci95}
            for name, x in latencies.items()
        }
        print(width, {k: v["p50_us"] for k, v in rows[width].items()}, flush=True)
    doc = {
        "command": "python benchmarks/widths.py",
        "label": "measured",
        "threads": 1,
        "widths": rows,
        "host": host_facts(),
    }
    RESULTS.write_text(json.dumps(doc, indent=1) + "\n")


if __name__ == "__main__":
    main()
