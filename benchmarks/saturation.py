"""One int8 ONNX file on CPUs with and without VNNI: a trained net that really loses accuracy there, and the remedy.

    python benchmarks/saturation.py [--limit 5000]

A multilayer perceptron for Fashion-MNIST is trained here with its weights clipped, a usual way to make a net robust to
rounding: it piles weights up at both ends of the range, so that neighbouring 8-bit products overflow the 16 bits in
which AVX2 adds them. It is quantized after training by `compress run`, once with 8-bit and once with 7-bit weights, and
`compress verify` runs both files on emulated CPUs. Writes benchmarks/results/saturation.json; exits 1 unless the 8-bit
file is found out on Haswell and alone there, and the 7-bit file passes everywhere.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from edge_runtime.edge_host import host_facts

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "saturation.json"
CPUS = "haswell,nehalem,cortex-a72"
CLIP, EPOCHS, BATCH = 0.04, 4, 128
RECIPE = """\
version: 1
name: saturation_{bits}bit
data: {{source: fashion-mnist}}
teacher: {{checkpoint: {checkpoint}}}
stages:
  - quantize: {{how: static, weight_bits: {bits}}}
export: [onnx]
measure: {{profile: smoke}}
allow_slower: true
"""


def train(folder: Path) -> dict[str, float]:
    """A clipped net as a checkpoint; what it is like."""
    import torch
    from torch.nn import functional

    from compress.data.sources import open_data
    from compress.model.checkpoint import save_checkpoint
    from compress.model.module import GraphModule, initial_model
    from compress.model.nets import build_net
    from compress.recipe.schema import DataConfig

    data = open_data(DataConfig(source="fashion-mnist"), 0).load()
    x, y = torch.from_numpy(data.inputs(data.train)), torch.from_numpy(data.train.y)
    net = GraphModule(initial_model(build_net("mlp", {"hidden": [256, 128]}, data.input_shape, 10), seed=0))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    torch.manual_seed(0)
    for epoch in range(EPOCHS):
        for index in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            functional.cross_entropy(net(x[index]), y[index]).backward()
            optimizer.step()
            with torch.no_grad():
                for name, parameter in net.named_parameters():
                    if name.endswith("__weight"):
                        parameter.clamp_(-CLIP, CLIP)
        print(f"epoch {epoch + 1} of {EPOCHS}", file=sys.stderr)
    model = net.to_model()
    save_checkpoint(folder, model)
    weights = np.concatenate([w.ravel() for n, w in model.weights.items() if n.endswith(".weight")])
    at_clip = float((np.abs(weights) > 0.99 * CLIP).mean())
    return {"clip": CLIP, "epochs": EPOCHS, "share_of_weights_at_the_clip": round(at_clip, 4)}


def compress(*arguments: str, cwd: Path, codes: tuple[int, ...] = (0,)) -> int:
    done = subprocess.run([sys.executable, "-m", "compress", *arguments], cwd=cwd, capture_output=True, text=True)
    if done.returncode not in codes:
        sys.exit(f"compress {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, default=5000, help="test images a CPU (default 5000)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="saturation-") as scratch:
        folder = Path(scratch)
        net = train(folder / "net")
        reports, codes = {}, {}
        for bits in (8, 7):
            recipe = folder / f"{bits}.yaml"
            recipe.write_text(RECIPE.format(bits=bits, checkpoint=folder / "net"))
            run = folder / f"run{bits}"
            compress("run", str(recipe), "--out", str(run), "--cache", str(folder / "cache"), "--quiet", cwd=folder)
            out = folder / f"{bits}.json"
            arguments = ["--data", str(recipe), "--cpu", CPUS, "--limit", str(options.limit), "--out", str(out)]
            codes[bits] = compress("verify", str(run / "bundle"), *arguments, "--quiet", cwd=folder, codes=(0, 3))
            reports[bits] = json.loads(out.read_text())
            reports[bits]["bundle"] = f"saturation_{bits}bit"
    for bits, report in reports.items():
        for row in report["rows"]:
            print(f"{bits}-bit on {row['cpu']:<11} {100 * row['top1']:6.2f} % (here {100 * row['host_top1']:.2f} %), "
                  f"{100 * row['agreement']:6.2f} % agree: {row['verdict']}")  # fmt: skip
    out_of = {bits: [r["cpu"] for r in report["rows"] if r["verdict"] != "same"] for bits, report in reports.items()}
    shown = codes == {8: 3, 7: 0} and out_of[8] == ["haswell"]
    command = f"python benchmarks/saturation.py --limit {options.limit}"
    result = {"command": command, "taken": time.strftime("%Y-%m-%d"), "label": "emulated", "net": net,
              "exit_codes": codes, "shown": shown, "reports": reports, "host": host_facts()}  # fmt: skip
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print("shown" if shown else "NOT shown")
    return 0 if shown else 1


if __name__ == "__main__":
    sys.exit(main())
