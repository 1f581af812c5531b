"""Does the mixed file that `compress blame` advises beat all-int8 in accuracy and all-float in speed?

    python benchmarks/mixed_precision.py [--teacher FOLDER] [--out benchmarks/results/mixed_precision.json]

Post-training int8 loses nothing on our own nets, so the loss is made the way it comes about in the field (Nagel et al.
2019, arXiv:1906.04721): channels of one layer are given ranges 1 to `spread` apart, and the next layer's weights divide
by the same numbers. In float the net computes what it did; in int8 one grid must serve all channels. Layers are chosen
on validation examples; accuracy below is on test examples, time by edge_runtime's protocol in five fresh processes.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from compress.benchmark.host import host_facts
from compress.blame.blame import blame
from compress.blame.judge import RunJudge
from compress.blame.times import PLANS, timed
from compress.blame.variants import integer_layers, mixed
from compress.data.sources import open_data
from compress.evaluate.paired import compare
from compress.evaluate.predict import logits_of
from compress.export.read_back import read_back
from compress.model.checkpoint import load_checkpoint
from compress.model.model import Model
from compress.model.rewrite import drop_quantizers, fold_batch_norm
from compress.recipe.schema import DataConfig, QuantizeConfig
from compress.stages.base import Context, run_stage
from compress.stages.catalog import STAGES


def uneven(model: Model, first: str, second: str, spread: float, seed: int = 0) -> Model:
    """The same function: channels of `first` grow by up to `spread`, `second`, which reads them, divides them away."""
    weights = {k: v.copy() for k, v in model.weights.items()}
    count = len(weights[f"{first}.weight"])
    factors = np.exp(np.random.default_rng(seed).uniform(0, np.log(spread), count)).astype(np.float32)
    weights[f"{first}.weight"] *= factors.reshape(-1, 1, 1, 1)
    weights[f"{first}.bias"] *= factors
    weights[f"{second}.weight"] /= factors.reshape(1, -1, 1, 1)
    return Model(model.graph, weights)


def one(kind: Any, model: Model, data: Any, folder: Path) -> dict[str, Any]:
    """One format: blame, then test accuracy and time of the three files."""
    context = Context(seed=0, data=data.without_test(), teacher=None, workdir=folder, progress=lambda *_: None)
    quantized = run_stage(STAGES[QuantizeConfig], model, QuantizeConfig(), context, where="quantize").model
    judge = RunJudge(kind, data, "image-classification", folder)
    content = judge.content(quantized)
    told = blame(content, kind, quantized, data, name="uneven", artefact=f"uneven.{kind}", timing=True)
    real, found = fold_batch_norm(drop_quantizers(quantized)), read_back(content, kind, quantized)
    files = {"int8": content, "float": judge.content(real)}
    if told.plan is not None:
        integer = set(integer_layers(found)) - set(told.plan.keep_float)
        files["mixed"] = judge.content(mixed(real, found, integer))
    bundles = {name: judge.bundle(name, data_) for name, data_ in files.items()}
    logits = {name: logits_of(bundle, data.test.x) for name, bundle in bundles.items()}
    speeds = timed(bundles, "int8", PLANS, lambda *_: None)
    rows = {
        name: {"test_top1": float((logits[name].argmax(1) == data.test.y).mean()), "size_bytes": len(files[name]),
               "milliseconds": speeds[name].milliseconds, "slower_than_int8_ci95_ms": speeds[name].ci95}
        for name in files
    }  # fmt: skip
    row = {"format": kind, "files": rows, "keep_float": told.plan.keep_float if told.plan else None,
           "advice": told.advice}  # fmt: skip
    if told.plan is not None:
        paired = compare(logits["int8"], logits["mixed"], data.test.y, reference="all int8")
        row |= {"mixed_against_int8_points": paired.difference_points, "ci95_points": paired.ci95_points,
                "predicted_slower_ms": told.plan.predicted_slower_ms, "measured_slower_ms": told.plan.slower_ms,
                "predicted_kl": told.plan.predicted_kl, "measured_kl": told.plan.kl}  # fmt: skip
        row["beats_both"] = paired.ci95_points[0] > 0 and rows["mixed"]["milliseconds"] < rows["float"]["milliseconds"]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path, default=Path("recipes/models/mnist_resnet8"))
    parser.add_argument("--spread", type=float, default=3000.0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/mixed_precision.json"))
    args = parser.parse_args()
    data = open_data(DataConfig(source="mnist-5k"), 0).load()
    model = uneven(fold_batch_norm(load_checkpoint(args.teacher)), "block2_1_conv1", "block2_1_conv2", args.spread)
    rows = []
    for kind in ("onnx", "tflite"):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(one(kind, model, data, Path(folder)))
        print(json.dumps(rows[-1], indent=1), flush=True)
    doc = {"script": "benchmarks/mixed_precision.py", "spread": args.spread, "rows": rows, "host": host_facts()}
    args.out.write_text(json.dumps(doc, indent=1) + "\n")


if __name__ == "__main__":
    main()
