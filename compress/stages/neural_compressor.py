"""Intel Neural Compressor as the engine of the quantize stage: its static quantization, and its accuracy-driven tuning.

What comes back is its own ONNX file as one node (see compress/model/from_onnx.py): exported, counted, compared and
measured like any other; nothing further can be done to it. Works on CPUs; needs the `inc` extra.
"""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compress.errors import StageError
from compress.model.graph import Graph, Node
from compress.model.model import Model
from compress.model.module import GraphModule
from compress.model.rewrite import fold_batch_norm
from compress.model.shapes import count_macs, count_parameters
from compress.recipe.schema import QuantizeConfig
from compress.stages.base import Context, StageResult

_BATCH = 64


def quantize_with_neural_compressor(model: Model, config: QuantizeConfig, context: Context) -> StageResult:
    """Metrics: `trials` (validation accuracy of each configuration that tuning tried), where it tuned.

    Raises:
        StageError: it fails on this net; or tuning found no configuration within the wanted drop.
    """
    folded = fold_batch_norm(model)
    metrics: dict[str, Any] = {"engine": "neural-compressor"}
    with _quiet():
        try:
            module = GraphModule(folded).eval()
            inputs = context.data.inputs(context.data.calibration)
            calibration = [torch.from_numpy(inputs[i : i + _BATCH]) for i in range(0, len(inputs), _BATCH)]
            batch = torch.export.Dim("batch", min=1, max=4096)
            traced = _traced(module, calibration[0][:2], batch)
            if config.autotune_drop_points is None:
                converted = _static(traced, calibration)
            else:
                converted, metrics["trials"] = _tuned(traced, calibration, config.autotune_drop_points, context)
            content = _exported(converted, calibration[0][:2], batch)
        except StageError:
            raise
        except Exception as error:  # it raises whatever it meets
            what = f"Neural Compressor fails: {(str(error).strip().splitlines() or [type(error).__name__])[0][:300]}"
            raise StageError(what, "quantize", "leave `engine` out to quantize with compress's own engine") from error
    data = np.frombuffer(content, np.uint8)
    classes = len(context.data.classes)
    attrs = {"bytes": len(data), "classes": classes, "parameters": count_parameters(folded.graph),
             "macs": count_macs(folded.graph),
             "why": "made by Neural Compressor", "precision": "int8"}  # fmt: skip
    source = folded.graph.nodes[0]
    graph = Graph((source, Node("file", "onnx", (source.name,), attrs)), "file")
    return StageResult(Model(graph, {"file.content": data}), True, metrics=metrics)


def _traced(module: GraphModule, example: torch.Tensor, batch: Any) -> Any:
    from neural_compressor.torch.export import export

    return export(module, example_inputs=(example,), dynamic_shapes=({0: batch},))


def _static(traced: Any, calibration: list[torch.Tensor]) -> Any:
    from neural_compressor.torch.quantization import StaticQuantConfig, convert, prepare

    prepared = prepare(traced, quant_config=StaticQuantConfig())
    _run(prepared, calibration)
    return convert(prepared)


def _run(module: Any, calibration: list[torch.Tensor]) -> None:
    with torch.no_grad():
        for part in calibration:
            module(part)


def _tuned(
    traced: Any, calibration: list[torch.Tensor], drop_points: float, context: Context
) -> tuple[Any, list[float]]:
    """Configurations in Neural Compressor's own order until one loses no more than this on validation data."""
    from neural_compressor.torch.quantization import TuningConfig, autotune, get_default_static_config

    validation = context.data.validation
    x, trials = torch.from_numpy(context.data.inputs(validation)), []

    def accuracy(module: Any) -> float:
        with torch.no_grad():
            right = torch.cat([module(part).argmax(1) for part in torch.split(x, _BATCH)]).numpy() == validation.y
        trials.append(round(float(right.mean()), 6))
        return trials[-1]

    # A config set must be wrapped in a list (3.10). The loss it tolerates is a share of the baseline.
    config = TuningConfig(config_set=[get_default_static_config()], tolerable_loss=drop_points / 100)
    best = autotune(traced, tune_config=config, eval_fn=accuracy, run_fn=lambda m: _run(m, calibration))
    if best is None or trials[0] - trials[-1] > drop_points / 100 + 1e-9:
        what = f"none of {len(trials) - 1} configurations keeps accuracy on validation within {drop_points:g} points"
        raise StageError(what, "quantize.autotune_drop_points", "allow more, or use compress's own engine")
    return best, trials


def _exported(converted: Any, example: torch.Tensor, batch: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        torch.onnx.export(converted, (example,), str(path), dynamo=True, verbose=False, external_data=False,
                          dynamic_shapes=({0: batch},), input_names=["input"], output_names=["logits"])  # fmt: skip
        return path.read_bytes()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Neural Compressor and its helpers report each step, on loggers with handlers of their own and on stdout."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
