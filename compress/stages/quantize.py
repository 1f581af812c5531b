"""The quantize stage: int8 weights and activations, by calibration alone, at run time, or with fine-tuning."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from compress.data.dataset import Dataset
from compress.errors import StageError
from compress.model.graph import match_layers
from compress.model.model import Model
from compress.model.rewrite import fold_batch_norm
from compress.numerics.affine import activation_grid, weight_scales
from compress.numerics.calibration import Histogram, entropy_range, minmax_range, percentile_range
from compress.recipe.schema import QuantizeConfig
from compress.stages.base import Context, StageResult
from compress.stages.placement import mark_dynamic, place_quantizers
from compress.stages.texts import fit_data

DEFAULT_WEIGHT_BITS = 8
_BATCH = 256


def quantize(model: Model, config: QuantizeConfig, context: Context) -> StageResult:
    """Fold batch norms, choose layers, then give every grid its scale; qat goes on to fine-tune weights and scales.

    Metrics: `ranges` (tensor -> [low, high] observed), and for qat the training history.

    Raises:
        ModelError: a pattern matches no layer.
        StageError: the model is quantized already.
    """
    if config.engine == "neural-compressor":
        from compress.stages.neural_compressor import quantize_with_neural_compressor

        return quantize_with_neural_compressor(model, config, context)
    folded, own = fold_batch_norm(model), fit_data(context.data, model)
    bits = config.weight_bits or DEFAULT_WEIGHT_BITS
    chosen, kept = choose_layers(folded, config)
    if not chosen:
        raise StageError("no layer is left to quantize", "quantize", "shorten keep_float or widen layers")
    if config.how == "dynamic":
        graph = mark_dynamic(folded.graph, chosen, bits)
        return StageResult(Model(graph, {**folded.weights, **_weight_scales(folded, chosen, bits)}), True, kept)
    graph, grids = place_quantizers(folded.graph, chosen, bits)
    histograms = observe(folded, tuple(grids.values()), own)
    ranges = {tensor: find_range(tensor, histogram, config) for tensor, histogram in histograms.items()}
    weights = {**folded.weights, **_weight_scales(folded, chosen, bits)}
    for grid, tensor in grids.items():
        scale, zero_point = activation_grid(*ranges[tensor])
        weights[f"{grid}.scale"], weights[f"{grid}.zero_point"] = np.asarray(scale), np.asarray(zero_point)
    placed = Model(graph, weights)
    metrics: dict[str, Any] = {"ranges": {k: [round(v, 6) for v in r] for k, r in ranges.items()}}
    if config.how == "static":
        return StageResult(placed, True, kept, metrics)
    tuned, history = _fine_tune(placed, config, context)
    return StageResult(tuned, True, kept, {**metrics, **history})


def choose_layers(model: Model, config: QuantizeConfig) -> tuple[tuple[str, ...], dict[str, str]]:
    """Names of the layers to quantize, and for every other layer why it stays float."""
    wanted = match_layers(model.graph, config.layers, "quantize.layers")
    left = match_layers(model.graph, config.keep_float, "quantize.keep_float") if config.keep_float else ()
    kept = {n.name: "not chosen by layers" for n in model.graph.layers if n.name not in wanted}
    kept |= dict.fromkeys(left, "chosen by keep_float")
    return tuple(n for n in wanted if n not in left), kept


def observe(model: Model, tensors: tuple[str, ...], data: Dataset) -> Mapping[str, Histogram]:
    """Histograms of the named tensors over the calibration split, from the float model."""
    import torch

    from compress.model.module import GraphModule
    from compress.stages.batches import real_values, split_batches

    module = GraphModule(model).eval()
    histograms = {name: Histogram.empty() for name in tensors}
    with torch.no_grad():
        for x, _, _ in split_batches(data, data.calibration, torch.device("cpu"), size=_BATCH):
            _, seen = module(x, taps=tensors)
            for name, tensor in seen.items():
                histograms[name].add(real_values(tensor, x, model.graph.pad_id))
    return histograms


def find_range(tensor: str, histogram: Histogram, config: QuantizeConfig) -> tuple[float, float]:
    """The range a tensor's grid spans, by the recipe's calibration method.

    The input always spans what was seen: preprocessing bounds it, and its ends (white, black) carry the picture.
    """
    if config.calibration == "minmax" or tensor == "input":
        return minmax_range(histogram)
    if config.calibration == "percentile":
        return percentile_range(histogram, config.percentile)
    return entropy_range(histogram)


def _weight_scales(model: Model, chosen: tuple[str, ...], bits: int) -> dict[str, Any]:
    return {f"{name}.weight_scale": weight_scales(model.weights[f"{name}.weight"], bits) for name in chosen}


def _fine_tune(model: Model, config: QuantizeConfig, context: Context) -> tuple[Model, dict[str, Any]]:
    """Train weights and scales with simulated rounding, from the teacher's soft labels where there is one."""
    from compress.model.module import GraphModule
    from compress.stages.loop import fit
    from compress.stages.teacher import check_fits, make_teacher, tuning_loss
    from compress.stages.texts import with_copies

    check_fits(model, fit_data(context.data, model), "quantize")
    module = GraphModule(model)
    teacher, data = None, context.data
    if config.distill and context.teacher is not None:
        teacher = make_teacher(context.teacher, data, config, context.seed, where="quantize")
        data = with_copies(data, config, context.seed)

    history = fit(
        module,
        fit_data(data, model),
        config,
        epochs=config.epochs,
        loss=tuning_loss(module, teacher, config),
        seed=context.seed,
        workdir=context.workdir,
        progress=context.progress,
        where="quantize",
        identity=context.teacher.digest() if teacher and context.teacher else "",
    )
    return module.to_model(), history.metrics()
