"""The one internal form of a model: a graph of a few operators, as plain data. No torch, no numpy.

Every stage reads and returns this form, every export is written from it, and a plan can be explained from it without
loading a framework. Tensors are channel first (NCHW) and carry no batch dimension in their shapes; sequences are
(length, features).

A node's output has the node's name. Its parameters are named `<node>.<parameter>`; `PARAMETERS` lists them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from compress.errors import ModelError

# Operator -> names of the parameters it may own. `weight_scale` exists only where weight_bits is set.
PARAMETERS: dict[str, tuple[str, ...]] = {
    "input": (),
    "conv2d": ("weight", "bias", "weight_scale"),
    "linear": ("weight", "bias", "weight_scale"),
    "batch_norm": ("weight", "bias", "running_mean", "running_var"),
    "relu": (),
    "relu6": (),
    "add": (),
    "max_pool": (),
    "avg_pool": (),
    "global_avg_pool": (),
    "flatten": (),
    "embedding": ("weight", "weight_scale", "tokens"),
    "positions": ("weight",),
    "layer_norm": ("weight", "bias"),
    "gelu": (),
    "tanh": (),
    "attention": (),
    "token_mean": (),
    "first_token": (),
    "quantize": ("scale", "zero_point"),
    "onnx": ("content",),
}
LAYERS = ("conv2d", "linear", "embedding")  # what owns weights worth pruning and quantizing
# Operators of text models that compute in float whatever comes in: they would lose most and take least time.
FLOATING = ("embedding", "positions", "layer_norm", "gelu", "tanh", "attention", "token_mean", "first_token")

PADDING_SCORE = -1e4  # added to a score of attention: no weight is left, and half precision can hold it

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Node:
    """One operator.

    op: a key of PARAMETERS.
    inputs: names of the nodes whose outputs it reads.
    attrs: plain values only. By operator:
        input            shape (list, no batch)
        conv2d           in_channels, out_channels, kernel [h, w], stride [h, w], padding [h, w], groups, bias (bool)
        linear           in_features, out_features, bias (bool)
        batch_norm       channels, eps
        max_pool, avg_pool   kernel, stride, padding (each [h, w]); an average counts no padding
        quantize         8-bit activation grid, 0..255: bits (8); its scale and zero_point are parameters
        conv2d, linear   also weight_bits (7 or 8) when weights are int8, and activations: "static" | "dynamic"
        onnx             a whole ONNX file as one node, run by its engine: bytes, classes, parameters, why (it could not
                         be said in the operators above); its bytes are the parameter `content`
    Of text models, whose input is token ids (length,) and whose sequences are (length, features):
        input            also dtype "int64", pad_id; shape is [the largest length], any shorter one may be given
        embedding        vocabulary, features; weight_bits with one scale a token; trimmed (bool): it owns `tokens`,
                         the ids that its rows had before the vocabulary was trimmed
        positions        length, features: adds row i of its table to position i
        layer_norm       features, eps
        gelu             exact, by the error function
        attention        reads query, key, value and the input; heads, head_features; padding is not attended to
        token_mean       reads a sequence and the input; the mean over all tokens but padding
        first_token      the features at position 0
    """

    name: str
    op: str
    inputs: tuple[str, ...] = ()
    attrs: Mapping[str, Any] = field(default_factory=dict)

    def with_attrs(self, **changes: Any) -> "Node":
        """A copy with some attributes replaced; None removes one."""
        merged = {**self.attrs, **changes}
        return replace(self, attrs={k: v for k, v in merged.items() if v is not None})


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in topological order; the first is the only input, `output` names the node whose value is the logits."""

    nodes: tuple[Node, ...]
    output: str

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for node in self.nodes:
            where = f"node {node.name!r}"
            if node.op not in PARAMETERS:
                raise ModelError(f"operator {node.op!r} is not supported", where, f"use one of {sorted(PARAMETERS)}")
            if not _NAME.fullmatch(node.name):
                raise ModelError("a node's name is letters, digits and _", where, "rename it")
            if node.name in seen:
                raise ModelError("two nodes have this name", where, "rename one")
            if missing := [i for i in node.inputs if i not in seen]:
                raise ModelError(f"it reads {missing}, which no earlier node gives", where, "order nodes topologically")
            seen.add(node.name)
        if not self.nodes or self.nodes[0].op != "input" or sum(n.op == "input" for n in self.nodes) != 1:
            raise ModelError("a graph starts with its one input", "graph", "put a single input node first")
        if self.output not in seen:
            raise ModelError(f"output {self.output!r} is no node", "graph", "name an existing node")

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def node(self, name: str) -> Node:
        """The node of that name."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise ModelError(f"no node {name!r}", "graph", f"one of {[n.name for n in self.nodes]}")

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example, without the batch."""
        return tuple(self.nodes[0].attrs["shape"])

    @property
    def pad_id(self) -> int | None:
        """The id that fills up short texts; None for a model that does not read token ids."""
        pad: int | None = self.nodes[0].attrs.get("pad_id")
        return pad

    @property
    def layers(self) -> tuple[Node, ...]:
        """The nodes that own weights worth pruning and quantizing, in order."""
        return tuple(n for n in self.nodes if n.op in LAYERS)

    @property
    def quantized(self) -> bool:
        """True if any layer's weights are integers."""
        return any("weight_bits" in n.attrs for n in self.layers)

    def users(self, name: str) -> tuple[Node, ...]:
        """The nodes that read this one."""
        return tuple(n for n in self.nodes if name in n.inputs)

    def with_nodes(self, nodes: Iterable[Node], output: str | None = None) -> "Graph":
        """The same graph with other nodes."""
        return Graph(tuple(nodes), output or self.output)

    def to_json(self) -> dict[str, Any]:
        """Plain data, the inverse of from_json."""
        nodes = [{"name": n.name, "op": n.op, "inputs": list(n.inputs), "attrs": dict(n.attrs)} for n in self.nodes]
        return {"nodes": nodes, "output": self.output}

    @staticmethod
    def from_json(doc: Mapping[str, Any]) -> "Graph":
        """Rebuild a graph from to_json's data.

        Raises:
            ModelError: a field is missing or the graph is malformed.
        """
        try:
            nodes = [Node(n["name"], n["op"], tuple(n["inputs"]), dict(n["attrs"])) for n in doc["nodes"]]
            return Graph(tuple(nodes), doc["output"])
        except (KeyError, TypeError) as error:
            raise ModelError(f"not a graph: {error!r}", "model.json", "the file is damaged; make it again") from error


def match_layers(graph: Graph, patterns: "str | Iterable[str]", where: str) -> tuple[str, ...]:
    """Names of the layers that `all`, exact names or `re:` patterns choose, in graph order.

    Raises:
        ModelError: a pattern chooses nothing or is no regular expression.
    """
    names = [n.name for n in graph.layers]
    chosen: set[str] = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        if pattern == "all":
            hits = set(names)
        elif pattern.startswith("re:"):
            try:
                hits = {n for n in names if re.search(pattern[3:], n)}
            except re.error as error:
                raise ModelError(f"{pattern!r} is no regular expression: {error}", where, "correct it") from error
        else:
            hits = {n for n in names if n == pattern}
        if not hits:
            raise ModelError(f"pattern {pattern!r} matches no layer", where, f"the layers are {', '.join(names)}")
        chosen |= hits
    return tuple(n for n in names if n in chosen)
