"""One-hot rows times a matrix are a look-up in it: what JAX exports of an embedding, said in one node that integer
kernels need not touch. Exact: an index outside the table gives a row of zeros either way.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_INTEGERS = (6, 7)  # TensorProto.INT32 and INT64: what Gather takes


def with_lookups(model: Any) -> tuple[Any, int]:
    """A copy in which MatMul(Cast(Equal(indices, 0..n-1)), table) is Gather(table and a row of zeros, indices clipped
    to -1..n), and how many there were. Shapes must be inferred; nodes that nobody reads any more are left out.
    """
    import onnx

    out = onnx.ModelProto()
    out.CopyFrom(model)
    found = [(node, match) for node in list(out.graph.node) if (match := _match(out, node)) is not None]
    for node, (indices, table) in found:
        _replace(out, node, indices, table)
    if found:
        _drop_unread(out)
    return out, len(found)


def _match(model: Any, product: Any) -> tuple[str, NDArray[Any]] | None:
    """The indices (..., 1) and the table, if a node is such a product."""
    from onnx import numpy_helper

    makers = {o: n for n in model.graph.node for o in n.output}
    constants = {i.name: i for i in model.graph.initializer}
    if product.op_type != "MatMul" or product.input[1] not in constants:
        return None
    cast = makers.get(product.input[0])
    equal = makers.get(cast.input[0]) if cast is not None and cast.op_type == "Cast" else None
    if equal is None or equal.op_type != "Equal":
        return None
    table = numpy_helper.to_array(constants[product.input[1]])
    columns = next((i for i in equal.input if i in constants), None)
    if columns is None or table.ndim != 2 or table.dtype != np.float32:
        return None
    count = np.arange(len(table))
    if not np.array_equal(_rows(numpy_helper.to_array(constants[columns])), count[np.newaxis]):
        return None
    other = equal.input[1 - list(equal.input).index(columns)]
    spread = makers.get(other)
    indices = spread.input[0] if spread is not None and spread.op_type == "Expand" else other
    sizes, wide = _sizes(model, indices), _sizes(model, product.output[0])
    if not sizes or sizes[-1] != 1 or wide is None or sizes[:-1] != wide[:-1]:
        return None
    return (indices, table) if _type(model, indices) in _INTEGERS else None


def _rows(array: NDArray[Any]) -> NDArray[Any]:
    """The different rows of the last axis."""
    return np.unique(array.reshape(-1, array.shape[-1]), axis=0) if array.ndim else array[np.newaxis, np.newaxis]


def _sizes(model: Any, name: str) -> list[Any] | None:
    """Each dimension's number, None where it is free; None where nothing is known of the tensor."""
    value = next(
        (v for v in (*model.graph.value_info, *model.graph.input, *model.graph.output) if v.name == name), None
    )
    if value is None or not value.type.tensor_type.HasField("shape"):
        return None
    return [d.dim_value or None for d in value.type.tensor_type.shape.dim]


def _replace(model: Any, product: Any, indices: str, table: NDArray[Any]) -> None:
    from onnx import helper, numpy_helper

    dtype = helper.tensor_dtype_to_np_dtype(_type(model, indices))
    stem = f"{product.name}_lookup"
    zeros = np.zeros((1, table.shape[1]), np.float32)
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.concatenate([table, zeros]), f"{stem}_table"),
            numpy_helper.from_array(np.array(-1, dtype), f"{stem}_lowest"),
            numpy_helper.from_array(np.array(len(table), dtype), f"{stem}_highest"),
            numpy_helper.from_array(np.array([-1], np.int64), f"{stem}_axis"),
        ]
    )
    nodes = [
        helper.make_node("Squeeze", [indices, f"{stem}_axis"], [f"{stem}_flat"], name=f"{stem}_flat"),
        helper.make_node("Clip", [f"{stem}_flat", f"{stem}_lowest", f"{stem}_highest"], [f"{stem}_index"],
                         name=f"{stem}_clip"),
        helper.make_node("Gather", [f"{stem}_table", f"{stem}_index"], list(product.output), name=stem),
    ]  # fmt: skip
    at = list(model.graph.node).index(product)
    model.graph.node.remove(product)
    for node in reversed(nodes):
        model.graph.node.insert(at, node)


def _type(model: Any, name: str) -> int:
    values = (*model.graph.value_info, *model.graph.input)
    return int(next(v.type.tensor_type.elem_type for v in values if v.name == name))


def _drop_unread(model: Any) -> None:
    """Nodes of the main graph, and constants, that nothing reads."""
    from compress.onnx_file.open import graphs_of

    graph = model.graph
    while True:
        read = {i for g in graphs_of(graph) for n in g.node for i in n.input} | {v.name for v in graph.output}
        dead = [n for n in graph.node if not read & set(n.output)]
        if not dead:
            break
        for node in dead:
            graph.node.remove(node)
    for constant in [i for i in graph.initializer if i.name not in read]:
        graph.initializer.remove(constant)
