"""BERT-type text encoders as graphs: post-norm transformer layers over token, position and segment embeddings.

Devlin et al. 2019, arXiv:1810.04805; MiniLM (Wang et al. 2020, arXiv:2002.10957) and DistilBERT (Sanh et al. 2019,
arXiv:1910.01108) have the same layers. One text at a time, never pairs: the segment embedding is a constant and is part
of the positions' table.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from compress.errors import ModelError
from compress.model.graph import Graph, Node

TABLE, WIDENED = "embedding", "embedding_wide"  # nodes: the table of tokens, and what widens a narrow one
_LAYER = re.compile(r"layer(\d+)(?=_)")
Pooling = Literal["mean", "first"]
Head = Literal["linear", "tanh-linear", "relu-linear"]


@dataclass(frozen=True, slots=True)
class BertShape:
    """Sizes of an encoder with a classifier.

    ffn: features between the two linear layers of a layer's feed-forward part. max_length: tokens of the longest text.
    head: what stands between pooling and logits: nothing, or a linear layer of the same width with tanh or ReLU.
    """

    vocabulary: int = 30522
    layers: int = 2
    width: int = 384
    heads: int = 12
    ffn: int = 1536
    max_length: int = 64
    pad_id: int = 0
    eps: float = 1e-12
    pooling: Pooling = "mean"
    head: Head = "linear"


def bert_graph(shape: BertShape, classes: int) -> Graph:
    """The encoder's graph.

    Raises:
        ValueError: width is no multiple of heads.
    """
    if shape.width % shape.heads:
        raise ValueError(f"width {shape.width} is no multiple of heads {shape.heads}")
    b, width = _Builder(shape), shape.width
    x = b.add("embedding", "embedding", "input", vocabulary=shape.vocabulary, features=width)
    x = b.add("positions", "positions", x, length=shape.max_length, features=width)
    x = b.norm("embedding_norm", x)
    for i in range(1, shape.layers + 1):
        x = b.layer(f"layer{i}", x)
    pooled = b.add("pooled", "token_mean", x, "input") if shape.pooling == "mean" else b.add("pooled", "first_token", x)
    if shape.head != "linear":
        pooled = b.linear("pooler", pooled, width, width)
        pooled = b.add("pooler_active", "tanh" if shape.head == "tanh-linear" else "relu", pooled)
    output = b.linear("classifier", pooled, width, classes)
    return Graph(tuple(b.nodes), output)


class _Builder:
    """Appends nodes; each method returns the name of the node whose output it made."""

    def __init__(self, shape: BertShape) -> None:
        self.shape = shape
        ids = {"shape": [shape.max_length], "dtype": "int64", "pad_id": shape.pad_id}
        self.nodes = [Node("input", "input", (), ids)]

    def add(self, name: str, op: str, *inputs: str, **attrs: Any) -> str:
        self.nodes.append(Node(name, op, inputs, attrs))
        return name

    def linear(self, name: str, x: str, into: int, out: int) -> str:
        return self.add(name, "linear", x, in_features=into, out_features=out, bias=True)

    def norm(self, name: str, x: str) -> str:
        return self.add(name, "layer_norm", x, features=self.shape.width, eps=self.shape.eps)

    def layer(self, name: str, x: str) -> str:
        """Self-attention and feed-forward part, each with a shortcut and a norm behind the addition."""
        s, width = self.shape, self.shape.width
        query, key, value = (self.linear(f"{name}_{n}", x, width, width) for n in ("query", "key", "value"))
        attrs = {"heads": s.heads, "head_features": width // s.heads}
        y = self.add(f"{name}_attention", "attention", query, key, value, "input", **attrs)
        y = self.linear(f"{name}_attention_out", y, width, width)
        x = self.norm(f"{name}_attention_norm", self.add(f"{name}_attention_add", "add", x, y))
        y = self.linear(f"{name}_ffn_in", x, width, s.ffn)
        y = self.add(f"{name}_ffn_gelu", "gelu", y)
        y = self.linear(f"{name}_ffn_out", y, s.ffn, width)
        return self.norm(f"{name}_norm", self.add(f"{name}_add", "add", x, y))


def with_narrow_table(graph: Graph, rank: int) -> Graph:
    """The encoder with `rank` features a token in its table, and a linear layer that widens them to the old number.

    Factorised embedding (Lan et al. 2019, arXiv:1909.11942, section 3.1); positions and norm stay as wide as they were.

    Raises:
        ModelError: the graph has no table, it is factorised already, or rank is no smaller than the features it has.
    """
    table = next((n for n in graph if n.name == TABLE and n.op == "embedding"), None)
    wide = 0 if table is None else table.attrs["features"]
    if any(n.name == WIDENED for n in graph) or rank >= wide:
        what = f"a table of {wide} features a token cannot be factorised to {rank}" if wide else "there is no table"
        raise ModelError(what, "vocabulary.rank", "give a smaller rank, once, to a text model")
    nodes = []
    for node in graph:
        if node is table:
            nodes.append(node.with_attrs(features=rank))
            attrs = {"in_features": rank, "out_features": wide, "bias": False}
            nodes.append(Node(WIDENED, "linear", (TABLE,), attrs))
        else:
            inputs = tuple(WIDENED if i == TABLE else i for i in node.inputs)
            nodes.append(Node(node.name, node.op, inputs, node.attrs))
    return graph.with_nodes(nodes, WIDENED if graph.output == TABLE else None)


def layer_count(graph: Graph) -> int:
    """How many transformer layers a graph of bert_graph's form has."""
    return max((int(m[1]) for n in graph if (m := _LAYER.match(n.name))), default=0)


def keep_layers(graph: Graph, layers: Sequence[int]) -> tuple[Graph, dict[str, str]]:
    """The encoder with some of its layers, numbered anew, and {new node: old node} for whoever copies weights.

    layers: ascending, from 1.

    Raises:
        ModelError: the graph has no such layers.
    """
    have = layer_count(graph)
    if list(layers) != sorted(set(layers)) or not layers or layers[0] < 1 or layers[-1] > have:
        what = f"layers {list(layers)} are not some of 1 to {have}, ascending"
        fix = "name layers of the teacher" if have else "from_teacher takes text encoders; name a net instead"
        raise ModelError(what, "from_teacher.layers", fix)
    new = {old: i for i, old in enumerate(layers, start=1)}
    nodes, names = [], dict[str, str]()
    stand_in: dict[str, str] = {}  # a layer's last norm -> what stands where it stood
    last = "embedding_norm"
    for node in graph:
        match = _LAYER.match(node.name)
        number = int(match[1]) if match else 0
        if match and number not in new:
            stand_in[f"layer{number}_norm"] = last
            continue
        name = node.name if match is None else f"layer{new[number]}{node.name[match.end() :]}"
        stand_in[node.name] = name
        nodes.append(Node(name, node.op, tuple(stand_in[i] for i in node.inputs), node.attrs))
        names[name] = node.name
        if match and node.name == f"layer{number}_norm":
            last = name
    return Graph(tuple(nodes), stand_in[graph.output]), names
