"""Which output channels of a graph can only be removed together, and who reads them. Plain data: no torch, no numpy.

Channels are tied by every operator that maps channel i to channel i: batch norm, activations, pooling, quantize,
depthwise convolutions, and additions, which tie both operands. Removing channel i of a group means: row i of each
producer's and follower's parameters, and column i (or the columns it became by flattening) of each consumer's weight.

In text models a channel of an attention is a whole head: the features of one head in queries, keys and values. The
features between layers (embedding, shortcuts, norms) stay: a norm mixes all of them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from compress.errors import ModelError
from compress.model.graph import LAYERS, Graph, Node, match_layers
from compress.model.shapes import Shape, count_macs, features_of, infer_shapes

_SEQUENCES = ("embedding", "positions", "layer_norm", "attention", "token_mean", "first_token")


@dataclass(frozen=True, slots=True)
class Tie:
    """A node that reads or follows a group; channel i is its features i*repeat .. (i+1)*repeat - 1 (flattening)."""

    node: str
    repeat: int = 1


@dataclass(frozen=True, slots=True)
class ChannelGroup:
    """Output channels that exist together.

    name: the first layer whose output they are; a layer is in exactly one group.
    channels: how many there are.
    producers: convolutions and linear layers that make them; axis 0 of their weight, bias and weight_scale.
    followers: depthwise convolutions and batch norms along the way; axis 0 of every parameter that has one.
    consumers: convolutions and linear layers that read them; axis 1 of their weight.
    reason: why they cannot be pruned; empty if they can.
    width: features of a producer's output that make one channel: those of a head, else 1.
    """

    name: str
    channels: int
    producers: tuple[str, ...]
    followers: tuple[Tie, ...]
    consumers: tuple[Tie, ...]
    reason: str = ""
    width: int = 1

    def multiple(self, round_to: int) -> int:
        """The number of channels that is a multiple of round_to features: whole heads have many."""
        return -(-round_to // self.width)

    @property
    def prunable(self) -> bool:
        """True if whole channels can be removed without changing what the net takes and gives."""
        return not self.reason


def is_depthwise(node: Node) -> bool:
    """True for a convolution that keeps channels apart, one filter each."""
    return node.op == "conv2d" and 1 < node.attrs["groups"] == node.attrs["in_channels"] == node.attrs["out_channels"]


def channel_groups(graph: Graph) -> tuple[ChannelGroup, ...]:
    """All groups that a layer belongs to, ordered by their first layer.

    Raises:
        ShapeError: the graph's shapes do not fit together.
    """
    shapes = infer_shapes(graph)
    ties = _tied(graph, shapes)
    members: dict[str, list[Node]] = {}
    readers: dict[str, list[Tie]] = {}
    for node in graph:
        members.setdefault(ties.sets.find(node.name), []).append(node)
        if node.op in LAYERS and not is_depthwise(node):
            readers.setdefault(ties.sets.find(node.inputs[0]), []).append(Tie(node.name, ties.repeat[node.inputs[0]]))
    why_not: dict[str, str] = {}
    for name, why in ties.reasons:
        why_not.setdefault(ties.sets.find(name), why)

    groups = []
    for root, nodes in members.items():
        layers = [n for n in nodes if n.op in LAYERS]
        if not layers:
            continue
        name = layers[0].name
        width = next((ties.widths[n.name] for n in nodes if n.name in ties.widths), 1)
        channels = features_of(shapes[name]) // width
        reason = why_not.get(root, "it has a single channel" if channels == 1 else "")
        followers = tuple(
            Tie(n.name, ties.repeat[n.name]) for n in nodes if n.op in ("batch_norm", "attention") or is_depthwise(n)
        )
        producers = tuple(n.name for n in layers if not is_depthwise(n))
        consumers = tuple(Tie(t.node, t.repeat * width) for t in readers.get(root, ()))
        groups.append(ChannelGroup(name, channels, producers, followers, consumers, reason, width))
    order = {n.name: i for i, n in enumerate(graph)}
    return tuple(sorted(groups, key=lambda g: order[g.name]))


@dataclass(frozen=True, slots=True)
class _Ties:
    """sets: of nodes that share channels. repeat: features of a node's output per channel. widths: features of a head,
    by attention node. reasons: (node, why its group cannot be pruned)."""

    sets: "_Sets"
    repeat: Mapping[str, int]
    widths: Mapping[str, int]
    reasons: Sequence[tuple[str, str]]


def _tied(graph: Graph, shapes: Mapping[str, Shape]) -> _Ties:
    """Which nodes share channels, and what forbids to take some away."""
    sets = _Sets()
    widths: dict[str, int] = {}
    repeat: dict[str, int] = {}
    reasons: list[tuple[str, str]] = []
    for node in graph:
        sets.add(node.name)
        repeat[node.name] = 1
        if node.op == "input":
            reasons.append((node.name, "its channels are those of the net's input"))
        elif node.op in _SEQUENCES:
            if node.op == "attention":
                for source in node.inputs[:3]:
                    sets.unite(node.name, source)
                widths[node.name] = node.attrs["head_features"]
            elif node.op != "embedding":
                sets.unite(node.name, node.inputs[0])
            if node.op in ("embedding", "layer_norm", "positions"):
                reasons.append((node.name, "its features run through all layers, and a norm mixes them"))
        elif node.op in LAYERS and not is_depthwise(node):
            if node.attrs.get("groups", 1) > 1:
                why = f"{node.name} is a grouped convolution, whose channels belong to blocks"
                reasons += [(node.name, why), (node.inputs[0], why)]
        else:
            first = node.inputs[0]
            repeat[node.name] = repeat[first]
            if node.op == "flatten" and len(shapes[first]) == 3:
                repeat[node.name] *= shapes[first][1] * shapes[first][2]
            for source in node.inputs:
                sets.unite(node.name, source)
                if repeat[source] != repeat[first]:
                    reasons.append((node.name, f"{node.name} adds a flattened tensor to one that is not"))
    reasons.append((graph.output, "its channels are the classes, the net's output"))
    return _Ties(sets, repeat, widths, reasons)


def choose_groups(
    graph: Graph, patterns: str | Iterable[str], where: str
) -> tuple[tuple[ChannelGroup, ...], dict[str, str]]:
    """The groups a prune stage may narrow, and why it leaves every other layer alone: (groups, layer -> reason).

    A group is chosen if it can be pruned and the patterns choose all its producers; depthwise layers then follow.

    Raises:
        ModelError: a pattern matches no layer.
    """
    named = set(match_layers(graph, patterns, where))
    layers = {n.name for n in graph.layers}
    chosen: list[ChannelGroup] = []
    kept: dict[str, str] = {}
    for group in channel_groups(graph):
        missing = [n for n in group.producers if n not in named]
        if group.prunable and not missing:
            chosen.append(group)
            continue
        followers = [t.node for t in group.followers if t.node in layers]
        for name in (*group.producers, *followers):
            if name not in named:
                kept[name] = "not chosen by `layers`"
            elif group.reason:
                kept[name] = group.reason
            elif name in followers:
                kept[name] = f"depthwise: its channels are those of {missing[0]}, which `layers` does not choose"
            else:
                kept[name] = f"its channels are tied to {missing[0]}, which `layers` does not choose"
    return tuple(chosen), kept


def with_channels(graph: Graph, keep: Mapping[str, int]) -> Graph:
    """The graph with some groups narrowed: group name -> channels left. Weights are the caller's business.

    Raises:
        ModelError: a name is no group, a group cannot be pruned, or the number is not in 1 .. channels.
    """
    groups = {g.name: g for g in channel_groups(graph)}
    changes: dict[str, dict[str, int]] = {}
    for name, left in keep.items():
        if name not in groups:
            raise ModelError(f"no channel group {name!r}", "graph", f"one of {', '.join(groups)}")
        group = groups[name]
        if left == group.channels:
            continue
        if group.reason:
            raise ModelError(f"its channels cannot be removed: {group.reason}", f"group {name!r}", "leave it out")
        if not 1 <= left < group.channels:
            raise ModelError(f"{left} channels of {group.channels}", f"group {name!r}", "keep at least 1, at most all")
        for producer in group.producers:
            key = "out_channels" if graph.node(producer).op == "conv2d" else "out_features"
            changes.setdefault(producer, {})[key] = left * group.width
        for tie in group.followers:
            width = left * tie.repeat
            if graph.node(tie.node).op == "batch_norm":
                new = {"channels": width}
            elif graph.node(tie.node).op == "attention":
                new = {"heads": left}
            else:
                new = {"in_channels": width, "out_channels": width, "groups": width}
            changes.setdefault(tie.node, {}).update(new)
        for tie in group.consumers:
            key = "in_channels" if graph.node(tie.node).op == "conv2d" else "in_features"
            changes.setdefault(tie.node, {})[key] = left * tie.repeat
    return graph.with_nodes(n.with_attrs(**changes[n.name]) if n.name in changes else n for n in graph)


def narrow_evenly(
    graph: Graph,
    groups: Iterable[ChannelGroup],
    goal: float,
    round_to: int,
    cost: Callable[[Graph], int] = count_macs,
) -> Graph:
    """Narrow the given groups about evenly until the cost is at most `goal` of what it was, or they are minimal.

    An estimate for plans: a prune stage removes the least important channels, which need not be spread evenly.
    """
    limit, groups = goal * cost(graph), tuple(groups)
    wide = {g.name: g.channels for g in groups}
    for share in range(99, -1, -1):
        narrow = {g.name: _rounded(g.channels * share / 100, g.multiple(round_to), g.channels) for g in groups}
        if narrow != wide and cost(with_channels(graph, narrow)) <= limit:
            break
        wide = narrow
    for name in reversed(wide):  # the last step one group at a time, or rounding would overshoot
        if cost(with_channels(graph, wide)) <= limit:
            break
        wide[name] = narrow[name]
    return with_channels(graph, wide)


def _rounded(wanted: float, multiple: int, most: int) -> int:
    """`wanted` to the nearest multiple, at least one multiple, at most `most`."""
    return min(most, max(multiple, round(wanted / multiple) * multiple))


class _Sets:
    """Union-find over node names."""

    def __init__(self) -> None:
        self.parent: dict[str, str] = {}

    def add(self, name: str) -> None:
        self.parent[name] = name

    def find(self, name: str) -> str:
        while self.parent[name] != name:
            self.parent[name] = self.parent[self.parent[name]]
            name = self.parent[name]
        return name

    def unite(self, a: str, b: str) -> None:
        self.parent[self.find(b)] = self.find(a)
