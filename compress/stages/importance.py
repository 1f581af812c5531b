"""How much each channel matters, and which ones to keep for a wanted cost."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.data.dataset import Dataset
from compress.errors import StageError
from compress.model.channels import ChannelGroup, with_channels
from compress.model.graph import Graph
from compress.model.model import Model
from compress.model.rewrite import fold_batch_norm

Scores = Mapping[str, NDArray[np.float64]]


def magnitude(model: Model, groups: Iterable[ChannelGroup]) -> Scores:
    """Per channel the L2 norm of all weights that would go with it (Li et al. 2016, arXiv:1608.08710, for groups).

    Batch norm is folded first: without that a row's norm says nothing, since batch norm undoes any scaling of it.
    """
    weights = fold_batch_norm(model).weights
    scores = {}
    for group in groups:
        total = np.zeros(group.channels)
        for producer in group.producers:
            total += _squares(weights[f"{producer}.weight"], 0).reshape(-1, group.width).sum(1)
        for tie in group.followers:
            if (name := f"{tie.node}.weight") in weights:  # not so of an attention, or a batch norm that was folded
                total += _squares(weights[name], 0).reshape(-1, tie.repeat).sum(1)
        for tie in group.consumers:
            total += _squares(weights[f"{tie.node}.weight"], 1).reshape(-1, tie.repeat).sum(1)
        scores[group.name] = np.sqrt(total)
    return scores


def _squares(weight: NDArray[np.float32], axis: int) -> NDArray[np.float64]:
    other = tuple(i for i in range(weight.ndim) if i != axis)
    out: NDArray[np.float64] = (weight.astype(np.float64) ** 2).sum(other)
    return out


def taylor(model: Model, groups: Iterable[ChannelGroup], data: Dataset) -> Scores:
    """Per channel the root mean square over calibration examples of the loss change that removing it would cause.

    To first order that is the sum of activation times gradient over the channel, which equals the sum of weight times
    gradient over its filter and bias (Molchanov et al. 2019, arXiv:1906.10771, equation 8), batch norm folded. Channels
    that several layers make together (by addition) add up before squaring.
    """
    import torch
    import torch.nn.functional as F

    from compress.model.module import GraphModule
    from compress.stages.batches import split_batches
    from compress.stages.texts import is_text

    groups = tuple(groups)
    module = GraphModule(fold_batch_norm(model)).eval().requires_grad_(False)
    totals = {g.name: np.zeros(g.channels) for g in groups}
    # A head that is removed gives nothing, so what counts of it is the attention's output, not its queries and keys.
    heads = {g.name: tuple(t.node for t in g.followers) for g in groups if g.width > 1}
    made = {g.name: heads.get(g.name, g.producers) for g in groups}
    taps = tuple(p for g in groups for p in made[g.name])
    module.requires_grad_(is_text(data))  # gradients reach the taps from the input, or where that is ids from a table
    for x, y, _ in split_batches(data, data.calibration, torch.device("cpu"), size=64):
        logits, outputs = module(x if is_text(data) else x.requires_grad_(), taps=taps)
        loss = F.cross_entropy(logits, y, reduction="sum")
        gradients = dict(zip(taps, torch.autograd.grad(loss, [outputs[t] for t in taps]), strict=True))
        for g in groups:
            parts = [_by_channel(outputs[p].detach() * gradients[p], g.channels) for p in made[g.name]]
            totals[g.name] += torch.stack(parts).sum(0).pow(2).sum(0).double().numpy()
    return {name: np.sqrt(total / len(data.calibration)) for name, total in totals.items()}


def _by_channel(x: Any, channels: int) -> Any:
    """(n, c, ...) or a sequence (n, length, features) summed to (n, channels)."""
    per_feature = x.sum(1) if x.dim() == 3 else x
    return per_feature.reshape(len(x), channels, -1).sum(2)


def select_channels(
    graph: Graph,
    groups: Iterable[ChannelGroup],
    scores: Scores,
    *,
    cost: Callable[[Graph], int],
    limit: float,
    round_to: int,
) -> dict[str, NDArray[np.int64]]:
    """Channels to keep per group, so that the narrowed graph costs at most `limit`.

    One threshold for all groups, on scores divided by their group's mean, found by bisection, then as many channels
    back as the limit allows. A group keeps a multiple of round_to features (rounded up) or all of them.

    Raises:
        StageError: even with round_to channels in every group the cost is above the limit.
    """
    groups = tuple(groups)
    relative = {g.name: scores[g.name] / max(scores[g.name].mean(), np.finfo(np.float64).tiny) for g in groups}

    def counts(threshold: float) -> dict[str, int]:
        out = {}
        for g in groups:
            above = max(int((relative[g.name] >= threshold).sum()), 1)
            multiple = g.multiple(round_to)
            out[g.name] = min(-(-above // multiple) * multiple, g.channels)
        return out

    thresholds = np.unique(np.concatenate([[0.0, np.inf], *relative.values()]))
    low, high = 0, len(thresholds) - 1  # thresholds[high] is cheap enough, or nothing is
    least = cost(with_channels(graph, counts(np.inf)))
    if least > limit:
        what = (
            f"the cost cannot fall below {least / cost(graph):.1%} of what it is now, wanted {limit / cost(graph):.1%}"
        )
        raise StageError(what, "prune", "keep more, choose more layers, or lower round_to")
    while low < high:
        middle = (low + high) // 2
        if cost(with_channels(graph, counts(thresholds[middle]))) <= limit:
            high = middle
        else:
            low = middle + 1
    order = {name: np.argsort(-score, kind="stable") for name, score in relative.items()}
    multiples = {g.name: g.multiple(round_to) for g in groups}
    chosen = _give_back(graph, counts(thresholds[high]), order, relative, cost=cost, limit=limit, multiples=multiples)
    return {name: np.sort(order[name][:count]).astype(np.int64) for name, count in chosen.items()}


def _give_back(
    graph: Graph,
    counts: Mapping[str, int],
    order: Mapping[str, NDArray[np.int64]],
    relative: Scores,
    *,
    cost: Callable[[Graph], int],
    limit: float,
    multiples: Mapping[str, int],
) -> dict[str, int]:
    """Widen groups again while the limit allows, the most important removed channels first.

    One threshold can overshoot by a lot, because narrowing one group by round_to channels is a large step.
    """
    counts = dict(counts)
    while True:
        narrowed = [name for name, count in counts.items() if count < len(order[name])]
        for name in sorted(narrowed, key=lambda n: -relative[n][order[n][counts[n]]]):
            wider = {**counts, name: min(counts[name] + multiples[name], len(order[name]))}
            if cost(with_channels(graph, wider)) <= limit:
                counts = wider
                break
        else:
            return counts
