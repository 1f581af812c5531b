"""Tiny ONNX files of the kinds that people bring, made with onnx.helper, and examples for them."""

import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def constant(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def weights(name, *shape, gain=1.0):
    """A constant, always the same for its name; He-scaled, so that activations keep their size from layer to layer."""
    fan_in = int(np.prod(shape[1:])) if len(shape) > 2 else shape[0]
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return constant(name, (rng.normal(size=shape) * gain * np.sqrt(2 / fan_in)).astype(np.float32))


def bias(name, size):
    return constant(name, np.random.default_rng(zlib.crc32(name.encode())).normal(size=size).astype(np.float32))


def info(name, shape, kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def model(nodes, inputs, outputs, constants=(), opset=17, ir=8, domains=()):
    graph = helper.make_graph(list(nodes), "net", list(inputs), list(outputs), list(constants))
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, ir_version=ir, opset_imports=imports)


def save(path: Path, net) -> Path:
    onnx.save(net, path)
    return path


def conv_net(opset=17, classes=5, channels=16, batch="n"):
    """Two convolutions, a shortcut, pooling and a linear layer; x (n, 3, 12, 12)."""
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], name="stem", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu1"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], name="body", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c2", "r1"], ["a"], name="shortcut"),
        helper.make_node("Relu", ["a"], ["r2"], name="relu2"),
        helper.make_node("GlobalAveragePool", ["r2"], ["g"], name="pool"),
        helper.make_node("Flatten", ["g"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["y"], name="head", transB=1),
    ]
    constants = [
        weights("w1", channels, 3, 3, 3), bias("b1", channels),
        weights("w2", channels, channels, 3, 3), bias("b2", channels),
        weights("w3", classes, channels), bias("b3", classes),
    ]  # fmt: skip
    inputs, outputs = [info("x", [batch, 3, 12, 12])], [info("y", [batch, classes])]
    if opset < 9:  # before IR 4 weights had to be listed among the inputs
        inputs += [info(c.name, c.dims) for c in constants]
    return model(nodes, inputs, outputs, constants, opset, 3 if opset < 9 else 8)


def images(count=64, seed=0):
    """Blobs of different sizes and colours: inputs with some structure."""
    rng = np.random.default_rng(seed)
    grid = np.linspace(-1, 1, 12)
    centre, size, colour = (
        rng.uniform(-0.5, 0.5, (count, 2)),
        rng.uniform(0.2, 0.8, count),
        rng.uniform(-1, 1, (count, 3)),
    )
    far = (grid[None, :, None] - centre[:, :1, None]) ** 2 + (grid[None, None, :] - centre[:, 1:, None]) ** 2
    blob = np.exp(-far / size[:, None, None] ** 2)
    return (blob[:, None] * colour[:, :, None, None]).astype(np.float32)


def dense_net(opset=17):
    """Three linear layers; x (n, 20)."""
    sizes = (20, 64, 64, 4)
    nodes, constants, x = [], [], "x"
    for i, (a, b) in enumerate(pairwise(sizes)):
        constants += [weights(f"w{i}", a, b), bias(f"b{i}", b)]
        nodes.append(helper.make_node("Gemm", [x, f"w{i}", f"b{i}"], [f"g{i}"], name=f"fc{i}"))
        nodes.append(helper.make_node("Relu", [f"g{i}"], [f"h{i}"], name=f"act{i}"))
        x = f"h{i}"
    nodes[-1].output[0] = "y"
    return model(nodes, [info("x", ["n", 20])], [info("y", ["n", 4])], constants, opset)


def attention_net(width=32, words=100):
    """An embedding, one head of self-attention and a feed-forward layer over ids (n, length)."""
    names = ("q", "k", "v", "o", "up", "down")
    shapes = dict.fromkeys(names[:4], (width, width)) | {"up": (width, 2 * width), "down": (2 * width, width)}
    constants = [weights("table", words, width, gain=(words / 2) ** 0.5)]
    constants += [weights(f"w_{n}", *s, gain=0.7) for n, s in shapes.items()]
    constants += [constant("root", np.float32(width**0.5)), weights("w_head", width, 3)]
    nodes = [helper.make_node("Gather", ["table", "ids"], ["e"], name="embed")]
    nodes += [helper.make_node("MatMul", ["e", f"w_{n}"], [n], name=f"proj_{n}") for n in "qkv"]
    nodes += [
        helper.make_node("Transpose", ["k"], ["kt"], name="turn", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "kt"], ["s"], name="scores"),
        helper.make_node("Div", ["s", "root"], ["t"], name="scale"),
        helper.make_node("Softmax", ["t"], ["p"], name="softmax", axis=-1),
        helper.make_node("MatMul", ["p", "v"], ["c"], name="context"),
        helper.make_node("MatMul", ["c", "w_o"], ["o"], name="proj_o"),
        helper.make_node("Add", ["o", "e"], ["r"], name="residual"),
        helper.make_node("MatMul", ["r", "w_up"], ["u"], name="up"),
        helper.make_node("Relu", ["u"], ["ur"], name="act"),
        helper.make_node("MatMul", ["ur", "w_down"], ["d"], name="down"),
        helper.make_node("ReduceMean", ["d"], ["m"], name="mean", axes=[1], keepdims=0),
        helper.make_node("MatMul", ["m", "w_head"], ["y"], name="head"),
    ]
    return model(nodes, [info("ids", ["n", "length"], INT64)], [info("y", ["n", 3])], constants)


def lstm_net(width=24, features=12):
    """One LSTM over (time, n, features) and a linear layer on its last state."""
    constants = [
        weights("W", 1, 4 * width, features, gain=0.5), weights("R", 1, 4 * width, width, gain=0.5),
        constant("B", np.zeros((1, 8 * width), np.float32)), constant("axes", np.array([0], np.int64)),
        weights("w", width, 3),
    ]  # fmt: skip
    nodes = [
        helper.make_node("LSTM", ["x", "W", "R", "B"], ["", "h", ""], name="lstm", hidden_size=width),
        helper.make_node("Squeeze", ["h", "axes"], ["s"], name="last"),
        helper.make_node("MatMul", ["s", "w"], ["y"], name="head"),
    ]
    return model(nodes, [info("x", [6, "n", features])], [info("y", ["n", 3])], constants)


def branching_net(hidden=True):
    """Convolutions inside both branches of an If that looks at an input; hidden=False puts two before it."""
    branch = []
    for name in ("then", "else"):
        w = weights(f"w_{name}", 8, 3, 3, 3)
        node = helper.make_node("Conv", ["c0" if not hidden else "x", w.name], [f"{name}_out"], name=f"conv_{name}",
                                pads=[1, 1, 1, 1])  # fmt: skip
        branch.append(helper.make_graph([node], name, [], [info(f"{name}_out", None)], [w]))
    nodes = [helper.make_node("Equal", ["rate", "eight"], ["flag"], name="which")]
    constants = [constant("eight", np.array(8, np.int64))]
    if not hidden:
        constants += [weights("w0", 8, 3, 3, 3), weights("w1", 3, 8, 3, 3)]
        nodes.append(helper.make_node("Conv", ["x", "w0"], ["d"], name="stem", pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Conv", ["d", "w1"], ["c0"], name="second", pads=[1, 1, 1, 1]))
    nodes.append(helper.make_node("If", ["flag"], ["b"], name="branch", then_branch=branch[0], else_branch=branch[1]))
    nodes.append(helper.make_node("Relu", ["b"], ["y"], name="relu"))
    return model(nodes, [info("x", ["n", 3, 12, 12]), info("rate", [], INT64)], [info("y", ["n", 8, 12, 12])],
                 constants)  # fmt: skip
