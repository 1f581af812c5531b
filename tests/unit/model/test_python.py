"""Models from a user's function: torch modules with safetensors weights, our own graphs, named nets."""

import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from compress.errors import FactoryError, ModelError
from compress.factory import allowing_code
from compress.model import python
from compress.model.module import GraphModule
from compress.model.python import model_from_python

MODULE = """
import torch
from torch import nn
from compress.model.nets import build_net

def build(width=4):
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(),
                         nn.Linear(36 * width, 3))

def graph():
    return build_net("mlp", {"hidden": [5]}, (1, 8, 8), 3)

def named():
    return "mlp", {"hidden": [6]}

def number():
    return 3
"""


@pytest.fixture
def make(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "nets_of_mine", None)
    del sys.modules["nets_of_mine"]
    (tmp_path / "nets_of_mine.py").write_text(MODULE)
    python._built.cache_clear()

    def call(function, weights=None, seed=0, **args):
        with allowing_code():
            return model_from_python(f"nets_of_mine:{function}", args, weights, shape=(1, 8, 8), classes=3, seed=seed)

    yield call
    sys.modules.pop("nets_of_mine", None)


def test_weights_of_a_safetensors_file_are_the_model_s(make, tmp_path):
    make("build", width=5)
    module = sys.modules["nets_of_mine"].build(5)
    save_file(module.state_dict(), tmp_path / "w.safetensors")
    model = make("build", "w.safetensors", width=5)

    x = torch.randn(6, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(GraphModule(model).eval()(x), module.eval()(x), rtol=1e-4, atol=1e-5)


def test_fresh_weights_follow_the_seed(make):
    digests = []
    for seed in (0, 0, 1):
        python._built.cache_clear()
        digests.append(make("build", seed=seed).digest())
    assert digests[0] == digests[1] != digests[2]


def test_graphs_and_named_nets_are_taken_too(make):
    assert [n.attrs["out_features"] for n in make("graph").graph.layers] == [5, 3]
    assert [n.attrs["out_features"] for n in make("named").graph.layers] == [6, 3]
    with pytest.raises(FactoryError, match="it returned int"):
        make("number")
    with pytest.raises(ModelError, match="weights go with a function that returns a torch module"):
        make("graph", "w.safetensors")


def test_a_pickle_is_refused_with_the_command_that_converts_it(make, tmp_path):
    make("build")
    torch.save(sys.modules["nets_of_mine"].build().state_dict(), tmp_path / "w.pt")
    with pytest.raises(ModelError, match="it is a pickle, which can run code") as caught:
        make("build", "w.pt")
    command = caught.value.fix.split("convert it once: ")[1]

    import subprocess

    subprocess.run(command.replace("python", sys.executable, 1), shell=True, check=True, cwd=tmp_path)
    assert make("build", "w.safetensors").graph.layers


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("4.bias"), r"4\.bias is missing"),
        (lambda s: s.update(extra=torch.zeros(1)), "extra is not the module's"),
        (lambda s: s.update({"4.bias": torch.zeros(9)}), r"4\.bias has shape \(9,\), the module's \(3,\)"),
    ],
)
def test_weights_of_another_net_are_named(make, tmp_path, change, message):
    make("build")
    state = sys.modules["nets_of_mine"].build().state_dict()
    change(state)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=message):
        make("build", "w.safetensors")


def test_absent_and_damaged_weights_are_named(make, tmp_path):
    with pytest.raises(ModelError, match=r"weights absent\.safetensors: there is no such file"):
        make("build", "absent.safetensors")
    (tmp_path / "w.safetensors").write_bytes(np.arange(20).tobytes())
    with pytest.raises(ModelError, match="it cannot be read"):
        make("build", "w.safetensors")
