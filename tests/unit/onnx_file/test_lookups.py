"""Products with one-hot rows as look-ups: the same answers, inside and outside the table; what is none stays."""

import numpy as np
import onnx
import pytest
from edge_runtime._onnx import import_onnxruntime
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import TensorProto, helper

from compress.onnx_file.lookups import with_lookups
from tests.unit.onnx_file import nets

WORDS, WIDTH = 7, 4


def one_hot_net(columns=None, length=3, kind=TensorProto.INT32, expanded=True, axis=-1):
    """ids (n, length) -> one-hot -> table -> y (n, length, 4), as jax2tf writes it."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    count = np.arange(WORDS, dtype=dtype) if columns is None else np.asarray(columns, dtype)
    nodes = [
        helper.make_node("Unsqueeze", ["ids", "last"], ["tall"], name="tall"),
        helper.make_node("Expand", ["tall", "ones"], ["wide"], name="wide"),
        helper.make_node("Equal", ["wide" if expanded else "tall", "count"], ["same"], name="same"),
        helper.make_node("Cast", ["same"], ["rows"], name="rows", to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["rows", "table"], ["y"], name="embed"),
    ]
    constants = [nets.constant("last", np.array([axis])), nets.constant("ones", np.ones(3, np.int64)),
                 nets.constant("count", count.reshape(1, 1, -1)), nets.weights("table", WORDS, WIDTH)]  # fmt: skip
    net = nets.model(nodes if expanded else [nodes[0], *nodes[2:]], [nets.info("ids", ["n", length], kind)],
                     [nets.info("y", ["n", length, WIDTH])], constants)  # fmt: skip
    onnx.checker.check_model(net)
    return onnx.shape_inference.infer_shapes(net, data_prop=True)


def run(net, ids):
    return import_onnxruntime().InferenceSession(net.SerializeToString()).run(None, {"ids": ids})[0]


@given(arrays(np.int32, (2, 3), elements=st.integers(-(2**31), 2**31 - 1) | st.integers(-2, WORDS + 1)))
def test_it_is_the_same_function_for_every_index(ids):
    net = one_hot_net()
    lean, count = with_lookups(net)

    assert count == 1
    assert np.array_equal(run(lean, ids), run(net, ids))


def test_what_was_for_the_product_alone_is_gone():
    lean, _ = with_lookups(one_hot_net())

    onnx.checker.check_model(lean)
    assert [n.op_type for n in lean.graph.node] == ["Unsqueeze", "Squeeze", "Clip", "Gather"]
    assert {i.name for i in lean.graph.initializer}.isdisjoint({"count", "table", "ones"})


@pytest.mark.parametrize(
    "net",
    [
        one_hot_net(columns=[0, 1, 2, 3, 4, 6, 5]),
        one_hot_net(columns=range(1, WORDS + 1)),
        one_hot_net(kind=TensorProto.FLOAT),
        one_hot_net(length=WORDS, axis=1, expanded=False),
    ],
    ids=["columns out of order", "columns from one", "floats", "rows across"],
)
def test_what_only_looks_like_it_stays(net):
    lean, count = with_lookups(net)

    assert count == 0
    assert lean == net


def test_a_mask_that_somebody_else_reads_stays_too():
    net = one_hot_net()
    net.graph.output.append(nets.info("same", ["n", 3, WORDS], TensorProto.BOOL))
    lean, count = with_lookups(net)

    assert count == 1
    assert [n.op_type for n in lean.graph.node] == ["Unsqueeze", "Expand", "Equal", "Squeeze", "Clip", "Gather"]
