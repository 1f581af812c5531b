"""Remove whole channels from a model: pure numpy, exact, one function."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from compress.errors import ModelError
from compress.model.channels import channel_groups, with_channels
from compress.model.model import Model

Indices = NDArray[np.int64]


def remove_channels(model: Model, keep: Mapping[str, Indices | Sequence[int]]) -> Model:
    """A narrower model that has only the kept channels of some groups.

    keep: group name -> indices of the channels that stay, ascending. Groups that are not named stay whole. If a removed
    channel was always zero, the outputs do not change.

    Raises:
        ModelError: a name is no group, a group cannot be pruned, or indices are not ascending channels of it.
    """
    groups = {g.name: g for g in channel_groups(model.graph)}
    graph = with_channels(model.graph, {name: len(indices) for name, indices in keep.items()})
    weights = dict(model.weights)

    def take(node: str, parameters: Sequence[str], index: Indices, axis: int) -> None:
        for parameter in parameters:
            if (name := f"{node}.{parameter}") in weights:
                weights[name] = np.ascontiguousarray(weights[name].take(index, axis=axis))

    for name, indices in keep.items():
        group, index = groups[name], np.asarray(indices, np.int64)
        if (np.diff(index) <= 0).any() or index.min() < 0 or index.max() >= group.channels:
            fix = f"give each channel of 0..{group.channels - 1} that stays once, in order"
            raise ModelError(f"{list(indices)[:8]} are no ascending channels", f"group {name!r}", fix)
        for producer in group.producers:
            take(producer, ("weight", "bias", "weight_scale"), _features(group.width, index), 0)
        for tie in group.followers:
            own = ("weight", "bias", "weight_scale", "running_mean", "running_var")
            take(tie.node, own, _features(tie.repeat, index), 0)
        for tie in group.consumers:
            take(tie.node, ("weight",), _features(tie.repeat, index), 1)
    return Model(graph, weights)


def _features(repeat: int, channels: Indices) -> Indices:
    """The features that channels are or became by flattening: i -> i*repeat .. (i+1)*repeat - 1."""
    return (channels[:, None] * repeat + np.arange(repeat)).reshape(-1)
