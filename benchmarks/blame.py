"""Does `compress blame` find a layer that was damaged on purpose, and does its plan mend the file?

    python benchmarks/blame.py [--run RUN] [--trials 20] [--out benchmarks/results/blame.json]

In each trial one random integer layer of an exported int8 file is damaged: its weight scales are wrong, the range
behind it is cut, or half of its channels are zeroed. Blame is given the bytes of the damaged file and the checkpoint.
Found: the damaged layer stands first. Recovered: share of the lost validation accuracy that the advised file gives
back.
"""

import argparse
import json
import random
import time
from pathlib import Path

import numpy as np

from compress.benchmark.host import host_facts
from compress.blame.blame import blame
from compress.blame.plans import worst_first
from compress.blame.variants import integer_layers
from compress.compare.sides import find
from compress.data.sources import open_data
from compress.export.onnx import to_onnx
from compress.export.read_back import read_back
from compress.export.tflite import to_tflite
from compress.model.checkpoint import load_checkpoint
from compress.model.model import Model
from compress.recipe.load import recipe_from_json

DAMAGES = ("wrong scale", "clipped range", "zeroed channels")
WRITERS = {"onnx": to_onnx, "tflite": to_tflite}


def damaged(model: Model, layer: str, how: str, rng: random.Random) -> Model:
    """The model as a faulty exporter would have written it."""
    weights = {k: v.copy() for k, v in model.weights.items()}
    if how == "wrong scale":
        factor = rng.choice((0.2, 4.0))
        weights[f"{layer}.weight"] *= np.float32(factor)
        weights[f"{layer}.weight_scale"] *= np.float32(factor)
    elif how == "zeroed channels":
        channels = len(weights[f"{layer}.weight"])
        gone = rng.sample(range(channels), max(1, channels // 2))
        weights[f"{layer}.weight"][gone] = 0
    else:
        name = layer
        for user in model.graph.users(layer):
            name = user.name if user.op in ("relu", "relu6") else name
        grid = next(n.name for n in model.graph.users(name) if n.op == "quantize")
        weights[f"{grid}.scale"] = weights[f"{grid}.scale"] * np.float32(0.08)
    return Model(model.graph, weights)


def ranged(model: Model, layer: str) -> bool:
    """Whether a grid of its own stands behind the layer."""
    name = layer
    for user in model.graph.users(layer):
        name = user.name if user.op in ("relu", "relu6") else name
    return any(n.op == "quantize" for n in model.graph.users(name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="runs/ptq_int8")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--examples", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/blame.json"))
    args = parser.parse_args()
    found = find(args.run)
    recipe = recipe_from_json(found.result.recipe, args.run)
    data = open_data(recipe.data, recipe.seed).load()
    step = found.artefact.step
    checkpoint = load_checkpoint(found.folder / "checkpoints" / step)
    rows = []
    for kind, write in WRITERS.items():
        whole = read_back(write(checkpoint, name="whole"), kind, checkpoint)
        rng = random.Random(kind)  # noqa: S311  (which layer to damage, no secret)
        for trial in range(args.trials):
            how = DAMAGES[trial % len(DAMAGES)]
            layer = rng.choice([n for n in integer_layers(whole) if how != "clipped range" or ranged(whole, n)])
            content = write(damaged(whole, layer, how, rng), name="damaged")
            started = time.perf_counter()
            b = blame(content, kind, checkpoint, data, name=args.run, artefact=f"{step}.{kind}", examples=args.examples)
            first = worst_first(b.layers, b.kl)[0]
            row = {
                "format": kind,
                "damage": how,
                "layer": layer,
                "found": first.name == layer,
                "first": first.name,
                "findings": first.findings,
                "float_top1": b.float_top1,
                "damaged_top1": b.top1,
                "mended_top1": b.plan.top1 if b.plan else None,
                "recovered": b.plan.recovered if b.plan else None,
                "divergence_recovered": 1 - b.plan.kl / b.kl if b.plan else None,
                "keep_float": b.plan.keep_float if b.plan else None,
                "regrid": b.plan.regrid if b.plan else None,
                "seconds": round(time.perf_counter() - started, 2),
            }
            rows.append(row)
            found_it = "found" if row["found"] else f"NOT FOUND ({first.name})"
            told = f"{b.float_top1:.3f} -> {b.top1:.3f} -> {row['mended_top1']}, recovered {row['recovered']}"
            print(kind, how, layer, found_it, told, flush=True)
    lossy = [r for r in rows if r["recovered"] is not None]
    summary = {
        f"found_{kind}": f"{sum(r['found'] for r in rows if r['format'] == kind)} of {args.trials}" for kind in WRITERS
    } | {
        "with_accuracy_loss_and_plan": len(lossy),
        "recovered_80_percent": sum(r["recovered"] >= 0.8 for r in lossy),
        "no_plan": sum(r["mended_top1"] is None for r in rows),
    }
    print(json.dumps(summary))
    doc = {
        "script": "benchmarks/blame.py",
        "run": found.result.name,
        "summary": summary,
        "trials": rows,
        "host": host_facts(),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(doc, indent=1) + "\n")


if __name__ == "__main__":
    main()
