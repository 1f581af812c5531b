"""A classifier from an ONNX file must compute what the file computes, taken apart or as a whole."""

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from compress.errors import ModelError
from compress.export.onnx import to_onnx
from compress.model.checkpoint import load_checkpoint, save_checkpoint
from compress.model.from_onnx import read_onnx_model
from compress.model.module import GraphModule, initial_model
from compress.model.nets import NETS, build_net
from compress.model.shapes import count_parameters
from tests.unit.onnx_file import nets

X = nets.images(7)


def file_says(path, x, name=None):
    session = __import__("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {name or session.get_inputs()[0].name: x})[0]


def model_says(model, x):
    with torch.no_grad():
        return GraphModule(model).eval()(torch.from_numpy(x)).numpy()


@pytest.mark.parametrize("net", sorted(n for n in NETS if n not in ("sequence", "mlp") and "bert" not in n))
def test_our_own_nets_come_back_from_their_files(tmp_path, net):
    shape = (3, 16, 16)
    try:
        graph = build_net(net, {}, shape, 4)
    except (ModelError, KeyError):
        pytest.skip("this net takes no images")
    model = initial_model(graph, 0)
    (tmp_path / "a.onnx").write_bytes(to_onnx(model, name="net"))

    back = read_onnx_model(tmp_path / "a.onnx", shape)

    x = np.random.default_rng(0).normal(size=(5, *shape)).astype(np.float32)
    assert "onnx" not in {n.op for n in back.graph}
    assert np.allclose(model_says(back, x), file_says(tmp_path / "a.onnx", x), atol=1e-4)


@pytest.mark.parametrize("opset", [7, 11, 17])
def test_a_foreign_file_is_taken_apart(tmp_path, opset):
    path = nets.save(tmp_path / "a.onnx", nets.conv_net(opset=opset))

    model = read_onnx_model(path, (3, 12, 12))

    assert [n.op for n in model.graph] == [
        "input", "conv2d", "relu", "conv2d", "add", "relu", "global_avg_pool", "linear"]  # fmt: skip
    assert np.allclose(model_says(model, X), file_says(path, X, "x"), atol=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_torch_exports_is_taken_apart(tmp_path):
    """Batch norm, a reshape instead of a flatten, a pooling that keeps its dimensions, relu6 as Clip."""
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.BatchNorm2d(8), torch.nn.ReLU6(), torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(8, 8, 3, 1, 1, groups=8), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
        torch.nn.Linear(8, 4), torch.nn.Softmax(1),
    ).eval()  # fmt: skip
    module[1].running_mean.uniform_(-1, 1)
    path = tmp_path / "a.onnx"
    torch.onnx.export(module, (torch.from_numpy(X),), str(path), dynamo=False, input_names=["x"], opset_version=17,
                      dynamic_axes={"x": {0: "n"}})  # fmt: skip

    model = read_onnx_model(path, (3, 12, 12))
    with torch.no_grad():
        logits = module[:-1](torch.from_numpy(X)).numpy()

    assert "onnx" not in {n.op for n in model.graph}
    assert np.allclose(model_says(model, X), logits, atol=1e-4)  # without the softmax


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("padding", [0, 1])
def test_a_head_of_1x1_convolutions_is_of_linear_layers(tmp_path, padding):
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Conv2d(8, 6, 1, padding=padding),
        torch.nn.ReLU(), torch.nn.Conv2d(6, 4, 1 + 2 * padding, bias=False), torch.nn.Flatten(),
    ).eval()  # fmt: skip
    path = tmp_path / "a.onnx"
    torch.onnx.export(module, (torch.from_numpy(X),), str(path), dynamo=False, input_names=["x"], opset_version=17,
                      dynamic_axes={"x": {0: "n"}})  # fmt: skip
    model = read_onnx_model(path, (3, 12, 12))
    want = ["conv2d", "global_avg_pool", "linear", "relu", "linear"] if not padding else ["onnx"]
    assert [n.op for n in model.graph][1:] == want
    assert np.allclose(model_says(model, X), file_says(path, X), atol=1e-4)


def foreign(opset=17, batch="n", channel_last=False):
    """A net with an Elu, which we have not, and a softmax."""
    net = nets.conv_net(opset=opset, batch=batch)
    net.graph.node[1].op_type = "Elu"
    net.graph.node[-1].output[0] = "logits"
    net.graph.node.append(helper.make_node("Softmax", ["logits"], ["y"], name="soft"))
    if channel_last:
        net.graph.node[0].input[0] = "turned"
        net.graph.node.insert(0, helper.make_node("Transpose", ["x"], ["turned"], name="turn", perm=[0, 3, 1, 2]))
        net.graph.input[0].CopyFrom(nets.info("x", [batch, 12, 12, 3]))
    return net


@pytest.mark.parametrize("batch", ["n", 1, 4])
@pytest.mark.parametrize("channel_last", [False, True])
def test_what_we_cannot_say_becomes_one_node_that_gives_the_files_logits(tmp_path, batch, channel_last):
    path = nets.save(tmp_path / "a.onnx", foreign(batch=batch, channel_last=channel_last))
    rows = [X.transpose(0, 2, 3, 1)[i : i + 1] if channel_last else X[i : i + 1] for i in range(len(X))]
    size = batch if isinstance(batch, int) else 1
    want = np.concatenate([file_says(path, np.repeat(r, size, axis=0), "x")[:1] for r in rows])

    model = read_onnx_model(path, (3, 12, 12))
    logits = model_says(model, X)

    assert [n.op for n in model.graph] == ["input", "onnx"]
    assert model.graph.node("file").attrs["why"] == "operator Elu"
    assert np.allclose(np.exp(logits) / np.exp(logits).sum(1, keepdims=True), want, atol=1e-5)
    assert count_parameters(model.graph) == sum(int(np.prod(i.dims)) for i in onnx.load(path).graph.initializer)


def test_the_whole_file_survives_a_checkpoint(tmp_path):
    model = read_onnx_model(nets.save(tmp_path / "a.onnx", foreign()), (3, 12, 12))
    save_checkpoint(tmp_path / "c", model)
    back = load_checkpoint(tmp_path / "c")

    assert back.digest() == model.digest()
    assert np.array_equal(model_says(back, X), model_says(model, X))


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (nets.dense_net(), r"it takes x float32 \[\?, 20\], the data gives \[3, 12, 12\]"),
        (nets.attention_net(), "it takes ids int64"),
        (nets.branching_net(), "it takes 2 inputs"),
    ],
)
def test_files_that_cannot_teach_here(tmp_path, net, message):
    with pytest.raises(ModelError, match=message):
        read_onnx_model(nets.save(tmp_path / "a.onnx", net), (3, 12, 12))
