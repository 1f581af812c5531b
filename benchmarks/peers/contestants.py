"""Who is compared, and how each makes its file."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.envs import clean_environment
from benchmarks.peers.measure import Subject, last_words
from benchmarks.peers.tasks import Kit, Task, lengths_of, write_inputs
from compress.model.checkpoint import load_checkpoint
from compress.model.model import Model

ADAPTERS = Path(__file__).parent / "adapters"
LIMIT_S = 1500
OURS = "compress"


@dataclass(frozen=True)
class Peer:
    """One route through one tool. key: what the command line calls it. kinds: of models it is meant for."""

    key: str
    tool: str
    how: str
    env: str
    script: str
    variant: str
    kinds: tuple[str, ...] = ("image", "text")


PEERS = (
    Peer("ort-static", "ONNX Runtime", "quantize_static, defaults", "optimum", "with_onnxruntime", "static"),
    Peer("ort-dynamic", "ONNX Runtime", "quantize_dynamic, defaults", "optimum", "with_onnxruntime", "dynamic"),
    Peer("optimum-static", "Optimum", "avx512_vnni, static", "optimum", "with_optimum", "static"),
    Peer("optimum-dynamic", "Optimum", "avx512_vnni, dynamic", "optimum", "with_optimum", "dynamic"),
    Peer("nncf", "NNCF", "quantize", "nncf", "with_nncf", "default"),
    Peer("nncf-accuracy", "NNCF", "quantize_with_accuracy_control", "nncf", "with_nncf", "accuracy-control"),
    Peer("olive-static", "Olive", "OnnxStaticQuantization", "olive", "with_olive", "static"),
    Peer("olive-dynamic", "Olive", "OnnxDynamicQuantization", "olive", "with_olive", "dynamic"),
    Peer("inc-static", "Neural Compressor", "static, torch.compile", "inc", "with_neural_compressor", "static"),
    Peer("inc-autotune", "Neural Compressor", "autotune, torch.compile", "inc", "with_neural_compressor", "autotune"),
    Peer("inc-onnx", "Neural Compressor", "static, exported to ONNX", "inc", "with_neural_compressor", "static-onnx"),
    Peer("torchao-static", "torchao", "PT2E x86 static, torch.compile", "torchao", "with_torchao", "static"),
    Peer("torchao-dynamic", "torchao", "PT2E x86 dynamic, torch.compile", "torchao", "with_torchao", "dynamic",
         ("text",)),
    Peer("torchao-onnx", "torchao", "PT2E x86 static, exported to ONNX", "torchao", "with_torchao", "static-onnx"),
    Peer("aeq-static", "ai-edge-quantizer", "static_wi8_ai8", "aeq", "with_ai_edge_quantizer", "static"),
    Peer("aeq-dynamic", "ai-edge-quantizer", "dynamic_wi8_afp32", "aeq", "with_ai_edge_quantizer", "dynamic"),
)  # fmt: skip


class ToolFailed(Exception):
    """The tool made no file; its own message."""


def make(peer: Peer, kit: Kit, python: Path) -> tuple[Subject, dict[str, Any]]:
    """Run the tool in its environment.

    Raises:
        ToolFailed: it ended without a file.
    """
    out = kit.folder / peer.key
    out.mkdir(parents=True, exist_ok=True)
    job = {
        "variant": peer.variant, "out": str(out), "onnx": str(kit.folder / "float.onnx"),
        "tflite": str(kit.folder / "float.tflite"), "torch": str(kit.folder / "float.pt2"),
        "calibration": str(kit.folder / "calibration.npz"), "validation": str(kit.folder / "validation.npz"),
        "input": "input_ids" if is_text(kit) else "input", "text": is_text(kit),
    }  # fmt: skip
    (out / "facts.json").unlink(missing_ok=True)
    (out / "job.json").write_text(json.dumps(job, indent=1))
    with (out / "log.txt").open("w") as log:
        try:
            command = [python, ADAPTERS / f"{peer.script}.py", out / "job.json"]
            done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, cwd=out, env=clean_environment(),
                                  timeout=LIMIT_S, check=False)  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise ToolFailed(f"not done after {LIMIT_S} s") from error
    if done.returncode:
        raise ToolFailed(last_words((out / "log.txt").read_text(errors="replace")))
    if not (out / "facts.json").exists():
        raise ToolFailed("it ended without a result and without an error")
    facts = json.loads((out / "facts.json").read_text())
    engine = facts.pop("engine")
    here = Path(sys.executable)
    return Subject(Path(facts.pop("file")), engine, python if engine == "torch" else here, kit.folder), facts


def is_text(kit: Kit) -> bool:
    return kit.recipe.task == "text-classification"


def ours(task: Task, comparison: str, kit: Kit) -> Iterator[tuple[str, str, Subject, dict[str, Any]]]:
    """(key, how, file, facts) of everything of ours that starts from the same float model."""
    from compress.recipe.schema import QuantizeConfig
    from compress.stages.base import Context
    from compress.stages.quantize import quantize

    folder = kit.folder / OURS
    folder.mkdir(exist_ok=True)
    ways = {"static": QuantizeConfig(how="static")}
    if comparison == "student" and task.qat:
        ways["QAT"] = QuantizeConfig(**task.qat)
    for name, config in ways.items():
        began = time.monotonic()
        made = quantize(kit.model, config, Context(kit.recipe.seed, kit.as_read.without_test())).model
        facts = {"seconds": round(time.monotonic() - began, 1)}
        yield from written(name, name, made, kit, kit.folder, facts)
    if comparison == "student":
        yield given(kit, folder)
    last = kit.recipe.stages[-1]
    made = load_checkpoint(kit.run / "checkpoints" / task.chain)
    if comparison == "teacher":
        inputs = write_inputs(kit, made, folder) if is_text(kit) else kit.folder
        yield from written("chain", "the whole chain", made, kit, inputs, {"seconds": None})
    elif isinstance(last, QuantizeConfig) and last.how == "qat" and not task.qat:
        yield from written("chain", "QAT", made, kit, kit.folder, {"seconds": None})


def written(
    name: str, how: str, model: Model, kit: Kit, inputs: Path, facts: dict[str, Any]
) -> Iterator[tuple[str, str, Subject, dict[str, Any]]]:
    """The model in both formats."""
    from compress.export.onnx import to_onnx
    from compress.export.tflite import to_tflite

    files = {
        "ONNX": to_onnx(model, name="model"),
        "TFLite": to_tflite(model, name="model", lengths=lengths_of(kit.data)),
    }
    for form, content in files.items():
        path = kit.folder / OURS / f"{name.lower()}.{form.lower()}"
        path.write_bytes(content)
        subject = Subject(path, form.lower(), Path(sys.executable), inputs)
        yield f"{OURS}-{name.lower()}-{form.lower()}", f"{how}, {form}", subject, facts


def given(kit: Kit, folder: Path) -> tuple[str, str, Subject, dict[str, Any]]:
    """`compress quantize` on the float ONNX file, as a user without the training code would call it.

    It keeps some of the examples to judge by, so it calibrates on fewer than the others.
    """
    import numpy as np

    from compress.given_onnx.run import Options, quantize_file

    with np.load(kit.folder / "calibration.npz") as data:
        np.savez(folder / "examples.npz", **{"input_ids" if is_text(kit) else "input": data["x"]})
    began, options = time.monotonic(), Options(folder / "examples.npz")
    result = quantize_file(kit.folder / "float.onnx", options, folder / "given")
    facts = {"seconds": round(time.monotonic() - began, 1), "shipped": result.shipped, "why": result.shipped_reason}
    file = folder / "given" / "bundle" / "model.onnx"
    return (
        f"{OURS}-given",
        "`compress quantize` of the ONNX file",
        Subject(file, "onnx", Path(sys.executable), kit.folder),
        facts,
    )
