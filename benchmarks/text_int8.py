"""Static against dynamic int8 for the text recipe's pruned encoder, ONNX Runtime and LiteRT: accuracy, time by length.

    compress run recipes/text_sentiment_int8.yaml
    python benchmarks/text_int8.py runs/text_sentiment_int8

One thread, batch 1, all files in turn in one process. Writes benchmarks/results/text_int8.json.
"""

import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from edge_runtime._onnx import import_onnxruntime

from compress.benchmark.host import host_facts
from compress.data.dataset import Dataset
from compress.data.sources import open_data
from compress.export.onnx import to_onnx
from compress.export.tflite import to_tflite
from compress.model.checkpoint import load_checkpoint
from compress.recipe.load import load_recipe
from compress.recipe.schema import QuantizeConfig
from compress.stages.base import Context
from compress.stages.quantize import quantize
from compress.stages.texts import fit_data
from compress.tokenized import TokenizedHandle

RECIPE = Path("recipes/text_sentiment_int8.yaml")
RESULTS = Path(__file__).parent / "results" / "text_int8.json"
VARIANTS = {
    "static, minmax": QuantizeConfig(how="static"),
    "static, percentile 99.99": QuantizeConfig(how="static", calibration="percentile"),
    "dynamic": QuantizeConfig(how="dynamic"),
}
LENGTHS, BLOCKS, RUNS = (8, 16, 32, 64), 40, 10


def opened(content: bytes, lengths: tuple[int, ...]) -> Callable[[Any], Any]:
    """A file as a function of ids (1, L), L one of `lengths`."""
    if content[4:8] == b"TFL3":
        from ai_edge_litert.interpreter import Interpreter

        engine = Interpreter(model_content=content, num_threads=1)
        runners = {n: engine.get_signature_runner(f"ids_{n}") for n in lengths}
        return lambda ids: runners[ids.shape[1]](input_ids=ids.astype(np.int32))["logits"]
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda ids: session.run(None, {"input_ids": ids})[0]


def accuracy(say: Callable[[Any], Any], data: Dataset) -> float:
    """Of one text at a time, as a device would ask."""
    split = data.validation
    answers = [say(data.preprocessing([text])).argmax() for text in split.x]
    return float((np.array(answers) == split.y).mean())


def in_turn(files: dict[str, Callable[[Any], Any]], ids: Any, blocks: int, runs: int) -> dict[str, list[float]]:
    """Of each file the medians of its blocks of runs, ms: all files every round in random order, two rounds to warm."""
    out: dict[str, list[float]] = {name: [] for name in files}
    for number in range(blocks + 2):
        for name in random.sample(list(files), len(files)):
            times = []
            for _ in range(runs):
                began = time.perf_counter_ns()
                files[name](ids)
                times.append((time.perf_counter_ns() - began) / 1e6)
            if number > 1:
                out[name].append(statistics.median(times))
    return out


def timings(files: dict[str, Callable[[Any], Any]], length: int) -> dict[str, float]:
    """Median over blocks of the median run, ms."""
    blocks = in_turn(files, np.full((1, length), 1, np.int64), BLOCKS, RUNS)
    return {name: round(statistics.median(found), 4) for name, found in blocks.items()}


def main() -> None:
    recipe = load_recipe(RECIPE)
    data = TokenizedHandle(open_data(recipe.data, recipe.seed, recipe.task), recipe).load()
    model = load_checkpoint(Path(sys.argv[1]) / "checkpoints" / "03-prune")
    files = {"float": to_onnx(model, name="x")}
    for name, config in VARIANTS.items():
        files[name] = to_onnx(quantize(model, config, Context(recipe.seed, data)).model, name="x")
    own = fit_data(data, model)
    lengths = tuple(sorted({*LENGTHS, *own.preprocessing.lengths}))
    files["TFLite, float"] = to_tflite(model, name="x", lengths=lengths)
    dynamic = quantize(model, VARIANTS["dynamic"], Context(recipe.seed, data)).model
    files["TFLite, dynamic"] = to_tflite(dynamic, name="x", lengths=lengths)
    engines = {name: opened(content, lengths) for name, content in files.items()}
    doc = {
        "command": "python benchmarks/text_int8.py runs/text_sentiment_int8",
        "label": "measured",
        "threads": 1,
        "files": {n: {"bytes": len(d), "validation_accuracy": accuracy(engines[n], own)} for n, d in files.items()},
        "ms_by_length": {length: timings(engines, length) for length in LENGTHS},
        "host": host_facts(),
    }
    RESULTS.write_text(json.dumps(doc, indent=1) + "\n")
    print(json.dumps({k: doc[k] for k in ("files", "ms_by_length")}, indent=1))


if __name__ == "__main__":
    main()
