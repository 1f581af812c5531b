"""Where quantizers stand: one placement that serves the ONNX and the TFLite export alike. Pure graph work, no torch.

A layer is integer if it was chosen; an addition, pooling or ReLU is integer if everything it reads is. A tensor gets a
quantize node if what makes it or anything that reads it is integer, so that whole chains stay integer. A layer,
addition or pool with a ReLU of its own is quantized after the ReLU: the engines do both in one kernel, and half the
grid is not spent on values that are cut off. Max pooling, flatten and input ReLUs move values without making new ones.

In text models only the linear layers and the embedding table are integer, and a grid is what such a layer reads: its
result, the norms, GELU, softmax and shortcuts stay float. They are a few percent of the time and most of the error (a
mask and a softmax on one 8-bit grid lose both), and ONNX Runtime's integer product gives float as fast as integers.
"""

from collections.abc import Collection

from compress.errors import StageError
from compress.model.graph import LAYERS, Graph, Node

_FOLLOWS_INPUT = ("max_pool", "flatten")  # values of the input, on the input's grid
_RELUS = ("relu", "relu6")


def integer_nodes(graph: Graph, chosen: Collection[str]) -> set[str]:
    """Names of the nodes whose arithmetic is integer once the chosen layers are."""
    if graph.pad_id is not None:
        return set(chosen)
    integer: set[str] = {"input"} if chosen else set()
    for node in graph:
        if node.op in LAYERS:
            if node.name in chosen:
                integer.add(node.name)
        elif node.op != "input" and all(i in integer for i in node.inputs):
            integer.add(node.name)
    return integer


def place_quantizers(graph: Graph, chosen: Collection[str], bits: int) -> tuple[Graph, dict[str, str]]:
    """Insert quantize nodes and mark the chosen layers; returns the graph and {quantize node: tensor it reads}.

    graph: batch norm folded, not yet quantized.

    Raises:
        StageError: it is quantized already, or holds a batch norm.
    """
    if graph.quantized or any(n.op == "quantize" for n in graph):
        raise StageError("the model is quantized already", "quantize", "quantize once; drop the second quantize stage")
    if norm := next((n.name for n in graph if n.op == "batch_norm"), None):
        raise StageError(f"batch norm {norm!r} is not folded", "quantize", "fold batch norms before placing quantizers")
    integer = integer_nodes(graph, chosen)
    tensors = [n.name for n in graph if _needs_grid(graph, n, integer)]
    taken = {n.name for n in graph}
    grids: dict[str, str] = {}
    for name in tensors:
        grid = f"{name}_q"
        while grid in taken:
            grid += "q"
        taken.add(grid)
        grids[name] = grid

    nodes: list[Node] = []
    for node in graph:
        exact = graph.pad_id is not None and node.name not in integer  # of text models only layers read a grid
        inputs = node.inputs if exact else tuple(grids.get(i, i) for i in node.inputs)
        marked = _marked(node, bits, "static") if node.name in chosen else node
        nodes.append(Node(node.name, node.op, inputs, marked.attrs))
        if node.name in grids:
            nodes.append(Node(grids[node.name], "quantize", (node.name,), {"bits": 8}))
    output = graph.output if graph.pad_id is not None else grids.get(graph.output, graph.output)
    placed = Graph(tuple(nodes), output)
    return placed, {grid: tensor for tensor, grid in grids.items()}


def _needs_grid(graph: Graph, node: Node, integer: Collection[str]) -> bool:
    users = graph.users(node.name)
    if graph.pad_id is not None:
        return any(u.name in integer and u.op == "linear" for u in users)
    if node.op in _FOLLOWS_INPUT and node.inputs[0] in integer:
        return False
    if len(users) == 1 and users[0].op in _RELUS and node.op not in ("input", *_RELUS) and users[0].name in integer:
        return False
    made = node.name in integer and node.op != "input"
    return made or _read_as_integer(graph, node, integer)


def _read_as_integer(graph: Graph, node: Node, integer: Collection[str]) -> bool:
    """True if an integer kernel reads these values, be it behind nodes that only move them."""
    return any(
        _read_as_integer(graph, user, integer) if user.op in _FOLLOWS_INPUT else user.name in integer
        for user in graph.users(node.name)
    )


def mark_dynamic(graph: Graph, chosen: Collection[str], bits: int) -> Graph:
    """Chosen layers keep int8 weights and find their activations' range at run time."""
    if graph.quantized:
        raise StageError("the model is quantized already", "quantize", "quantize once; drop the second quantize stage")
    return graph.with_nodes(_marked(n, bits, "dynamic") if n.name in chosen else n for n in graph)


def _marked(node: Node, bits: int, activations: str) -> Node:
    """With integer weights. An embedding has no activations to round, and its table no use for fewer than 8 bits."""
    if node.op == "embedding":
        return node.with_attrs(weight_bits=8)
    return node.with_attrs(weight_bits=bits, activations=activations)
