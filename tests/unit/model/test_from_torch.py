"""Torch modules become our graph: the same function, or a refusal that names the operator and the module it is in."""

import pytest
import torch
from torch import nn

from compress.errors import ModelError
from compress.model.from_torch import from_torch
from compress.model.module import GraphModule
from compress.model.shapes import count_parameters


def trained(module):
    """Batch norms that have seen data, so that folding them wrongly would show."""
    generator = torch.Generator().manual_seed(1)
    for m in module.modules():
        if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)):
            m.running_mean.normal_(generator=generator)
            m.running_var.uniform_(0.5, 2.0, generator=generator)
    return module


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.branch = nn.Conv2d(8, 8, 3, padding="same", groups=4)
        self.skip = nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2), nn.Dropout(0.5))
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x)
        x = nn.functional.relu6(self.branch(x)) + x
        return self.head(self.skip(x).mean((-2, -1)))


class Windows(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(3, 8, 5, stride=2, padding=2)
        self.norm = nn.BatchNorm1d(8, affine=False)
        self.pool = nn.AdaptiveAvgPool1d(1)
        self.head = nn.Linear(8, 5, bias=False)

    def forward(self, x):
        x = nn.functional.max_pool1d(torch.clamp(self.norm(self.conv(x)), 0, 6), 2)
        return torch.log_softmax(self.head(self.pool(x).squeeze(-1)), dim=1)


def flat_head():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU6(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 6),
                         nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(), nn.Linear(6, 5))  # fmt: skip


class PointwiseHead(nn.Module):
    """A classifier of 1x1 convolutions behind the pooling; one squeeze an axis."""

    def __init__(self):
        super().__init__()
        self.conv, self.wide, self.out = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 8, 1), nn.Conv2d(8, 5, 1, bias=False)

    def forward(self, x):
        x = nn.functional.adaptive_avg_pool2d(self.conv(x).mean((2, 3), keepdim=True), 1)
        return self.out(nn.functional.relu(self.wide(x))).squeeze(-1).squeeze(-1)


@pytest.mark.parametrize(
    ("module", "shape", "given"),
    [
        (PointwiseHead(), (3, 9, 9), (7, 3, 9, 9)),
        (nn.Sequential(nn.Conv2d(3, 5, 6), nn.Flatten(2), nn.Flatten()), (3, 6, 6), (7, 3, 6, 6)),
        (Residual(), (3, 16, 16), (7, 3, 16, 16)),
        (Windows(), (3, 1, 32), (7, 3, 32)),
        (flat_head(), (3, 10, 10), (7, 3, 10, 10)),
        (nn.Sequential(nn.Linear(9, 6), nn.ReLU(), nn.Linear(6, 5)), (9,), (7, 9)),
    ],
    ids=["pointwise head", "one pixel", "residual", "windows", "flat", "vector"],
)
def test_it_is_the_same_function(module, shape, given):
    module = trained(module)
    model = from_torch(module, shape, "here")
    x = torch.randn(given, generator=torch.Generator().manual_seed(2))

    with torch.no_grad():
        ours, theirs = GraphModule(model).eval()(x.reshape(7, *shape)), module(x)
    torch.testing.assert_close(ours.log_softmax(1), theirs.log_softmax(1), rtol=1e-4, atol=1e-5)
    affine = sum(p.numel() for p in module.parameters()) + (16 if isinstance(module, Windows) else 0)
    assert count_parameters(model.graph) == affine


def test_layers_keep_the_names_they_have_in_the_module():
    names = [n.name for n in from_torch(Residual(), (3, 8, 8), "here").graph.layers]
    assert names == ["stem_0", "branch", "head"]


class Calls(nn.Module):
    """A module around one function."""

    def __init__(self, call):
        super().__init__()
        self.conv, self.head, self.call = nn.Conv2d(1, 4, 3), nn.Linear(4, 2), call

    def forward(self, x):
        return self.call(self, x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: m.head(nn.functional.silu(m.conv(x)).mean((2, 3))), "operator silu is not supported; the layers"),
        (lambda m, x: m.head((m.conv(x) * 2).mean((2, 3))), "operator mul is not supported"),
        (lambda m, x: m.head((m.conv(x) + 1.0).mean((2, 3))), "operator add with a constant operand is not supported"),
        (lambda m, x: m.head(m.conv(x).mean((1, 2))[:, :4]), r"operator mean with axes \[1, 2\]"),
        (lambda m, x: m.head(nn.functional.conv2d(x, m.conv.weight, dilation=2).mean((2, 3))), r"dilation \[2, 2\]"),
        (lambda m, x: m.head(nn.functional.avg_pool2d(m.conv(x), 3, 1, 1).mean((2, 3))), "padding that counts as val"),
        (lambda m, x: m.head(nn.functional.max_pool2d(m.conv(x), 4, 4, ceil_mode=True).mean((2, 3))), "ceil_mode"),
        (lambda m, x: m.head(nn.functional.hardtanh(m.conv(x)).mean((2, 3))), "hardtanh with limits -1.0 and 1.0"),
        (lambda m, x: m.head(nn.functional.max_pool2d(m.conv(x).mean((2, 3), True), 1).flatten(1)), "a single pixel"),
        (lambda m, x: m.conv(x), r"its output has shape \(4, 6, 6\) an example"),
        (lambda m, x: (m.head(m.conv(x).mean((2, 3))), x), "it returns 2 values"),
        (lambda m, x: m.head.weight, "its output does not depend on its input"),
        (lambda m, x: m.head(x), r"called with an input of shape \(4, 1, 8, 8\) it raised RuntimeError: mat1 and mat2"),
        (lambda m, x: m.head(m.conv(x).mean((2, 3))) if x.sum() > 0 else x, "torch.export cannot follow it"),
    ],
)  # fmt: skip
def test_what_is_not_ours_is_named(call, message):
    with pytest.raises(ModelError, match=message) as caught:
        from_torch(Calls(call), (1, 8, 8), "here")
    assert caught.value.where.startswith("here")
    assert caught.value.fix


def test_the_refusal_says_which_module():
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Sequential(nn.Hardswish()), nn.Flatten())
    with pytest.raises(ModelError) as caught:
        from_torch(module, (1, 8, 8), "python m:f")
    assert caught.value.where == "python m:f, module 1.0"


class TwoFaced(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(x) if torch.compiler.is_exporting() else self.head(x) + 1.0


def test_a_conversion_that_gives_another_function_is_noticed():
    with pytest.raises(ModelError, match="the converted net differs from the module by 1 on random inputs"):
        from_torch(TwoFaced(), (4,), "here")
