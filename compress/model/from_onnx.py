"""A classifier from an ONNX file as a Model: in our own operators where it can be said in them, else as one node.

A graph of convolutions, poolings, additions and linear layers becomes a Model like any other: it can be trained on,
pruned and quantized. Anything else becomes a single `onnx` node that holds the file and is run by ONNX Runtime: it can
be learnt from, exported as it is and measured, and nothing more. A softmax at the end is cut off: what teaches is
logits.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from compress.errors import CompressError, ModelError, ShapeError
from compress.model.graph import Graph, Node
from compress.model.model import Model
from compress.model.onnx_operators import Importer, Unmapped, attributes_of
from compress.model.shapes import Shape


def read_onnx_model(path: Path, input_shape: Shape) -> Model:
    """The classifier in a file, for examples of this shape (c, h, w) or (features,).

    Raises:
        ModelError: the file cannot be used, takes something else, or is no plain classifier.
    """
    return _read(str(path), file_digest(path), tuple(input_shape))


def file_digest(path: Path) -> str:
    """sha256 of the file, or of the one that a folder holds, with what it keeps in other files.

    Raises:
        ModelError: it cannot be used.
    """
    from compress.onnx_file.open import open_onnx

    return open_onnx(path).sha256


@lru_cache(maxsize=4)
def _read(path: str, _digest: str, input_shape: Shape) -> Model:
    from compress.onnx_file.open import open_onnx
    from compress.onnx_file.prepare import prepare

    prepared = prepare(open_onnx(Path(path)))
    model, signature = prepared.model, prepared.signature
    if len(signature.inputs) != 1 or len(signature.outputs) != 1 or len(signature.outputs[0].shape) != 2:
        what = f"it takes {len(signature.inputs)} inputs and gives {', '.join(map(str, signature.outputs))}"
        raise ModelError(what, path, "a teacher is a plain classifier: one input, one output (batch, classes)")
    _shape_input(model, signature.inputs[0], input_shape, path)
    _cut_softmax(model)
    try:
        return Importer(model, input_shape).model()
    except (Unmapped, ShapeError, ModelError) as error:
        why = error.what if isinstance(error, CompressError) else str(error)
        return _opaque(model, input_shape, why, path)


def _shape_input(model: Any, tensor: Any, input_shape: Shape, path: str) -> None:
    """Channel first: a file that wants channel last loses the Transpose it begins with, or gets one in front."""
    if tensor.dtype != "float32":
        raise ModelError(f"it takes {tensor}", path, "a teacher takes float32 examples as the data gives them")
    rest = tensor.shape[1:]
    last = (*input_shape[1:], input_shape[0]) if len(input_shape) == 3 else None

    def fits(shape: Shape | None) -> bool:
        return shape is not None and len(rest) == len(shape) and all(
            a is None or a == b for a, b in zip(rest, shape, strict=True))  # fmt: skip

    if not fits(input_shape) and not fits(last):
        what = f"it takes {tensor}, the data gives {list(input_shape)}"
        raise ModelError(what, path, "use the data it was trained on")
    value = model.graph.input[0]
    if not fits(input_shape):
        _turn_input(model, value)
    dims = value.type.tensor_type.shape.dim
    for dim, size in zip(list(dims)[1:], input_shape, strict=True):
        dim.Clear()
        dim.dim_value = size


def _turn_input(model: Any, value: Any) -> None:
    from onnx import helper

    old, value.name = value.name, f"{value.name}_channel_first"
    readers = [n for n in model.graph.node if old in n.input]
    if all(n.op_type == "Transpose" and attributes_of(n).get("perm") == [0, 3, 1, 2] for n in readers):
        turned = {n.output[0] for n in readers}
        for node in readers:
            model.graph.node.remove(node)
        for node in model.graph.node:
            node.input[:] = [value.name if i in turned else i for i in node.input]
        return
    turn = helper.make_node("Transpose", [value.name], [old], name="to_channel_last", perm=[0, 2, 3, 1])
    model.graph.node.insert(0, turn)


def _cut_softmax(model: Any) -> None:
    output = model.graph.output[0]
    last = next(n for n in model.graph.node if output.name in n.output)
    if last.op_type in ("Softmax", "LogSoftmax"):
        raw = last.input[0]
        model.graph.node.remove(last)
        output.name = raw


def _opaque(model: Any, input_shape: Shape, why: str, path: str) -> Model:
    """One node that holds the file. Shape inference must know how many classes there are."""
    import onnx
    from onnx import numpy_helper

    del model.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    dims = inferred.graph.output[0].type.tensor_type.shape.dim
    if len(dims) != 2 or not dims[1].dim_value:
        raise ModelError("it does not say how many classes it gives", path, "export it with a fixed number of classes")
    model.graph.output[0].CopyFrom(inferred.graph.output[0])
    data = np.frombuffer(model.SerializeToString(), np.uint8)
    numbers = sum(int(np.prod(i.dims)) for i in model.graph.initializer
                  if numpy_helper.to_array(i).dtype.kind == "f")  # fmt: skip
    nodes = (
        Node("input", "input", (), {"shape": list(input_shape)}),
        Node("file", "onnx", ("input",), {"bytes": len(data), "classes": int(dims[1].dim_value),
                                          "parameters": numbers, "why": why}),
    )  # fmt: skip
    return Model(Graph(nodes, "file"), {"file.content": data})
