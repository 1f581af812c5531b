"""The prune stage: fewer channels (smaller and faster), or zeros among the weights (smaller once compressed)."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import ceil
from typing import Any

import numpy as np
from torch import nn

from compress.errors import StageError
from compress.model.channels import ChannelGroup, choose_groups
from compress.model.graph import Graph, match_layers
from compress.model.model import Model
from compress.model.module import GraphModule
from compress.model.shapes import count_macs, count_parameters, features_of, infer_shapes
from compress.recipe.schema import PruneConfig
from compress.stages.base import Context, Progress, StageResult
from compress.stages.importance import Scores, magnitude, select_channels, taylor
from compress.stages.loop import History, fit
from compress.stages.sparsify import RAMP, SparseModule, apply_masks, smallest
from compress.stages.surgery import remove_channels
from compress.stages.teacher import Teacher, check_fits, make_teacher, tuning_loss
from compress.stages.texts import fit_data, with_copies


def prune(model: Model, config: PruneConfig, context: Context) -> StageResult:
    """Remove what matters least, and fine-tune with the teacher's help.

    Raises:
        ModelError: a pattern in `layers` matches nothing.
        StageError: model and data do not fit together, the goal cannot be reached, or training diverged.
    """
    check_fits(model, fit_data(context.data, model), "prune")
    if model.graph.quantized:
        raise StageError("the model is quantized already", "prune", "put prune before quantize")
    teacher = _teacher(config, context)
    data = with_copies(context.data, config, context.seed) if teacher else context.data
    own = replace(context, data=fit_data(data, model))
    return (_prune_weights if config.what == "weights" else _prune_channels)(model, config, own, teacher)


def _prune_channels(model: Model, config: PruneConfig, context: Context, teacher: Teacher | None) -> StageResult:
    """In `iterations` rounds whose goals fall geometrically; each scores the channels anew."""
    cost: Callable[[Graph], int] = count_macs if config.keep_macs is not None else count_parameters
    goal = config.keep_macs if config.keep_macs is not None else config.keep_parameters
    assert goal is not None  # the schema asks for exactly one
    names = [g.name for g in choose_groups(model.graph, config.layers, "prune.layers")[0]]
    kept = choose_groups(model.graph, config.layers, "prune.layers")[1]
    if not names:
        raise StageError(
            "no layer that was chosen can lose channels: " + _reasons(kept), "prune.layers", "choose others"
        )
    now, rounds, limit = model, [], cost(model.graph)
    epochs = _spread(config.finetune_epochs, config.iterations)
    for number in range(1, config.iterations + 1):
        groups = [g for g in choose_groups(now.graph, "all", "prune")[0] if g.name in names]
        scores = _scores(now, groups, config, context)
        wanted = limit * goal ** (number / config.iterations)
        keep = select_channels(now.graph, groups, scores, cost=cost, limit=wanted, round_to=config.round_to)
        now = remove_channels(now, keep)
        record: dict[str, Any] = {"macs": count_macs(now.graph), "parameters": count_parameters(now.graph)}
        if epochs[number - 1]:
            module = GraphModule(now)
            history = _fine_tune(
                module, epochs[number - 1], config, context, teacher, number, sum(epochs[: number - 1])
            )
            now = module.to_model()
            record |= history.metrics()
        rounds.append(record)
    removed = _removed(model.graph, now.graph)
    kept |= _why_whole(model.graph, names, removed, config)
    metrics = {
        "macs": [count_macs(model.graph), count_macs(now.graph)],
        "parameters": [count_parameters(model.graph), count_parameters(now.graph)],
        "channels_removed": removed,
        "rounds": rounds,
    }
    return StageResult(now, now.digest() != model.digest(), kept, metrics)


def _scores(model: Model, groups: list[ChannelGroup], config: PruneConfig, context: Context) -> Scores:
    if config.importance == "taylor":
        return taylor(model, groups, context.data)
    return magnitude(model, groups)


def _removed(before: Graph, after: Graph) -> dict[str, int]:
    """Layer -> channels it lost, for layers that lost any."""
    old, new = infer_shapes(before), infer_shapes(after)
    lost = {n.name: features_of(old[n.name]) - features_of(new[n.name]) for n in before.layers}
    return {name: count for name, count in lost.items() if count}


def _why_whole(graph: Graph, names: list[str], removed: dict[str, int], config: PruneConfig) -> dict[str, str]:
    out: dict[str, str] = {}
    for group in choose_groups(graph, "all", "prune")[0]:
        if group.name not in names or group.name in removed:
            continue
        why = "each of its channels matters more than those removed elsewhere"
        if group.channels <= group.multiple(config.round_to):
            why = f"it has {group.channels} channels, no more than round_to ({config.round_to})"
        layers = {n.name for n in graph.layers}
        out |= dict.fromkeys((*group.producers, *(t.node for t in group.followers if t.node in layers)), why)
    return out


def _reasons(kept: dict[str, str]) -> str:
    telling = {k: v for k, v in kept.items() if not v.startswith("not chosen")}
    return "; ".join(f"{k}: {v}" for k, v in list((telling or kept).items())[:5])


def _prune_weights(model: Model, config: PruneConfig, context: Context, teacher: Teacher | None) -> StageResult:
    """`sparsity` of each chosen layer's weights, all at once or, with fine-tuning, in `iterations` rounds."""
    assert config.sparsity is not None  # the schema asks for it
    chosen = match_layers(model.graph, config.layers, "prune.layers")
    kept = {n.name: "not chosen by `layers`" for n in model.graph.layers if n.name not in chosen}
    small = [n for n in chosen if round(model.weights[f"{n}.weight"].size * config.sparsity) == 0]
    kept |= dict.fromkeys(small, "it has too few weights for this sparsity")
    layers = tuple(n for n in chosen if n not in small)
    metrics: dict[str, Any] = {}
    if config.finetune_epochs:
        module = SparseModule(model, layers, config.iterations, config.sparsity)
        first = ceil(RAMP * config.finetune_epochs) if config.iterations > 1 else 1  # sparse enough from this epoch on
        history = _fine_tune(module, config.finetune_epochs, config, context, teacher, 1, 0, module.on_step, first)
        out, metrics = apply_masks(module.net.to_model(), module.masks()), history.metrics()
    else:
        masks = {f"{n}.weight": smallest(model.weights[f"{n}.weight"], config.sparsity) for n in layers}
        out = apply_masks(model, masks)
    metrics["zeros"] = {n: float(np.mean(out.weights[f"{n}.weight"] == 0)) for n in layers}
    return StageResult(out, out.digest() != model.digest(), kept, metrics)


def _teacher(config: PruneConfig, context: Context) -> Teacher | None:
    if not (config.distill and context.teacher is not None and config.finetune_epochs):
        return None
    return make_teacher(context.teacher, context.data, config, context.seed, where="prune")


def _fine_tune(
    module: nn.Module,
    epochs: int,
    config: PruneConfig,
    context: Context,
    teacher: Teacher | None,
    number: int,
    done: int,
    on_step: Callable[[int, int], None] | None = None,
    select_from: int = 1,
) -> History:
    """number: of the round, from 1. done: epochs of the rounds before."""
    return fit(
        module,
        context.data,
        config,
        epochs=epochs,
        loss=tuning_loss(module, teacher, config),
        seed=context.seed + number,
        workdir=context.workdir / f"round-{number}" if context.workdir else None,
        progress=partial(_overall, context.progress, done, epochs, config.finetune_epochs),
        where=f"prune, round {number}",
        identity=context.teacher.digest() if context.teacher and teacher else "",
        on_step=on_step,
        select_from=select_from,
    )


def _overall(
    progress: Progress, before: int, epochs: int, all_epochs: int, done: float, total: float, note: str = ""
) -> None:
    """Steps of one round as epochs of the whole stage."""
    progress(before + epochs * done / total, all_epochs, note)


def _spread(epochs: int, rounds: int) -> list[int]:
    """As even as whole numbers allow, later rounds first in line for the rest.

    >>> _spread(5, 3)
    [1, 2, 2]
    """
    return [(epochs * (i + 1)) // rounds - (epochs * i) // rounds for i in range(rounds)]
