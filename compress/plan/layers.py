"""What each stage will do to each layer, or why it leaves it alone; and the model's size along the way."""

from collections.abc import Sequence
from math import prod
from typing import Literal

from pydantic import BaseModel, ConfigDict

from compress.model.bert import with_narrow_table
from compress.model.channels import channel_groups, choose_groups, is_depthwise, narrow_evenly
from compress.model.graph import Graph, Node, match_layers
from compress.model.shapes import count_macs, count_parameters, infer_shapes, macs_by_layer, parameter_shapes
from compress.recipe.schema import PruneConfig, QuantizeConfig, StageConfig, VocabularyConfig


class Treatment(BaseModel):
    """action: one word for the table. detail: how, or for kept the reason.

    channels: narrowed from, and to about. share: of the weights set to zero.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: str
    action: Literal["trained", "narrowed", "zeroed", "int8", "int7", "trimmed", "kept"]
    detail: str
    channels: tuple[int, int] | None = None
    share: float | None = None


class LayerPlan(BaseModel):
    """One layer as it stands before the stages. shape: of its output for one example."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    macs: int
    treatments: tuple[Treatment, ...]


class Estimate(BaseModel):
    """The model after a step. exact: False where pruning's choice is not known yet and an even cut is assumed.

    weight_bytes: of weights and biases alone, without a file's overhead.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: str
    parameters: int
    macs: int
    weight_bytes: int
    exact: bool


def step_name(index: int, stage: StageConfig) -> str:
    """Name of the step of the stage at a 0-based index: 01-distill."""
    return f"{index + 1:02d}-{stage.kind}"


def follow(graph: Graph, stages: Sequence[StageConfig]) -> tuple[tuple[LayerPlan, ...], tuple[Estimate, ...]]:
    """Every layer's way through the stages.

    Raises:
        ModelError: a layer pattern matches nothing.
    """
    treatments: dict[str, list[Treatment]] = {n.name: [] for n in graph.layers}
    estimates = [_estimate("start", graph, set(), exact=True)]
    now, integer, exact = graph, set[str](), True
    origins = {n.name: graph for n in graph.layers}  # layer -> the graph it comes from
    for index, stage in enumerate(stages):
        step = step_name(index, stage)
        if isinstance(stage, PruneConfig) and stage.what == "channels":
            done, now = _narrow(now, stage, step)
            exact = False
        elif isinstance(stage, PruneConfig):
            done = _zero(now, stage, step)
        elif isinstance(stage, VocabularyConfig):
            now = now if stage.rank is None else with_narrow_table(now, stage.rank)
            done = _trim(now, stage, step)
            exact = False
        elif isinstance(stage, QuantizeConfig):
            done = _quantize(now, stage, step)
            integer |= {name for name, t in done.items() if t.action != "kept"}
        else:
            done = {n.name: Treatment(step=step, action="trained", detail=stage.kind) for n in now.layers}
        for name, treatment in done.items():
            origins.setdefault(name, now)
            treatments.setdefault(name, []).append(treatment)
        estimates.append(_estimate(step, now, integer, exact=exact))
    layers = tuple(_planned(origin.node(name), origin, treatments[name]) for name, origin in origins.items())
    return layers, tuple(estimates)


def _planned(node: Node, graph: Graph, treatments: Sequence[Treatment]) -> LayerPlan:
    return LayerPlan(
        name=node.name,
        kind=describe(node),
        shape=infer_shapes(graph)[node.name],
        parameters=_numbers(node),
        macs=macs_by_layer(graph)[node.name],
        treatments=tuple(treatments),
    )


def describe(node: Node) -> str:
    """A layer in two words: `3x3 conv`, `3x3 depthwise`, `linear`."""
    if node.op in ("linear", "embedding"):
        return node.op
    h, w = node.attrs["kernel"]
    sort = "depthwise" if is_depthwise(node) else "conv" if node.attrs["groups"] == 1 else "grouped conv"
    return f"{h}x{w} {sort}"


def _numbers(node: Node) -> int:
    return sum(prod(shape) for name, shape in parameter_shapes(node).items() if name in ("weight", "bias"))


def _narrow(graph: Graph, stage: PruneConfig, step: str) -> tuple[dict[str, Treatment], Graph]:
    chosen, kept = choose_groups(graph, stage.layers, f"{step}.layers")
    goal = stage.keep_macs or stage.keep_parameters or 1.0
    cost = count_macs if stage.keep_macs is not None else count_parameters
    small = narrow_evenly(graph, chosen, goal, stage.round_to, cost)
    after = {g.name: g.channels for g in channel_groups(small)}
    done = {}
    for group in chosen:
        widths = (group.channels, after[group.name])
        depthwise = [t.node for t in group.followers if graph.node(t.node).op == "conv2d"]
        members = (*group.producers, *depthwise)
        for name in members:
            others = ", ".join(m for m in members if m != name)
            detail = f"together with {others}" if others else "on its own"
            done[name] = Treatment(step=step, action="narrowed", detail=detail, channels=widths)
    for name, reason in kept.items():
        done[name] = Treatment(step=step, action="kept", detail=reason)
    return done, small


def _zero(graph: Graph, stage: PruneConfig, step: str) -> dict[str, Treatment]:
    chosen = set(match_layers(graph, stage.layers, f"{step}.layers"))
    zeroed = Treatment(step=step, action="zeroed", detail="smallest weights", share=stage.sparsity)
    kept = Treatment(step=step, action="kept", detail="not chosen by `layers`")
    return {n.name: zeroed if n.name in chosen else kept for n in graph.layers}


def _trim(graph: Graph, stage: VocabularyConfig, step: str) -> dict[str, Treatment]:
    narrow = f", {stage.rank} numbers each" if stage.rank is not None else ""
    detail = f"to the tokens of the training texts, counted when it runs{narrow}"
    trimmed = Treatment(step=step, action="trimmed", detail=detail)
    kept = Treatment(step=step, action="kept", detail="it holds no tokens")
    return {n.name: trimmed if n.op == "embedding" else kept for n in graph.layers}


def _quantize(graph: Graph, stage: QuantizeConfig, step: str) -> dict[str, Treatment]:
    chosen = set(match_layers(graph, stage.layers, f"{step}.layers"))
    floats = set(match_layers(graph, stage.keep_float, f"{step}.keep_float")) if stage.keep_float else set()
    ranges = {"qat": "learnt ranges", "static": "calibrated ranges", "dynamic": "ranges found at run time"}[stage.how]
    bits: Literal["int7", "int8"] = "int7" if stage.weight_bits == 7 else "int8"
    done = {}
    for node in graph.layers:
        if node.name in floats:
            done[node.name] = Treatment(step=step, action="kept", detail="stays float: chosen by `keep_float`")
        elif node.name not in chosen:
            done[node.name] = Treatment(step=step, action="kept", detail="stays float: not chosen by `layers`")
        elif node.op == "embedding":
            done[node.name] = Treatment(step=step, action="int8", detail="int8 rows, one scale each")
        else:
            done[node.name] = Treatment(step=step, action=bits, detail=f"{bits} weights, {ranges}")
    return done


def _estimate(step: str, graph: Graph, integer: set[str], *, exact: bool) -> Estimate:
    size = 0
    for node in graph:
        shapes = parameter_shapes(node)
        for name in ("weight", "bias"):
            if name in shapes and node.op != "batch_norm":
                size += prod(shapes[name]) * (1 if name == "weight" and node.name in integer else 4)
        if node.op == "batch_norm":  # folded into one bias a channel
            size += 4 * prod(shapes["weight"])
    return Estimate(
        step=step, parameters=count_parameters(graph), macs=count_macs(graph), weight_bytes=size, exact=exact
    )
