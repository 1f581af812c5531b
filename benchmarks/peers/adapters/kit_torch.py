"""The float model as the torch module that a user would have."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from kit import Job

_AS_WRITTEN = {
    torch.ops.aten.conv2d.default: F.conv2d,
    torch.ops.aten.linear.default: F.linear,
    torch.ops.aten.relu.default: F.relu,
    torch.ops.aten.gelu.default: F.gelu,
    torch.ops.aten.add.Tensor: torch.add,
    torch.ops.aten.matmul.default: torch.matmul,
    torch.ops.aten.max_pool2d.default: F.max_pool2d,
    torch.ops.aten.avg_pool2d.default: F.avg_pool2d,
    torch.ops.aten.adaptive_avg_pool2d.default: F.adaptive_avg_pool2d,
}


def module(job: Job) -> torch.nn.Module:
    """The saved program with torch.nn.functional's calls in place of the operators that export made of them.

    PT2E's quantizers look for the functions of the user's source, which a saved program no longer names.
    """
    found = torch.export.load(job.torch).module()
    for node in found.graph.nodes:
        if node.op == "call_function":
            node.target = _AS_WRITTEN.get(node.target, node.target)
    return torch.fx.GraphModule(found, found.graph)  # a new one: a saved program's own module refuses eval()


def save(job: Job, model: torch.nn.Module, shapes: object, example: torch.Tensor) -> tuple[object, str]:
    """Write a program for torch.compile, or ONNX where the variant says so: (file, engine)."""
    if job.variant.endswith("onnx"):
        path = job.out / "model.onnx"
        torch.onnx.export(model, (example,), str(path), dynamo=True, verbose=False, external_data=False,
                          dynamic_shapes=shapes, input_names=[job.input])  # fmt: skip
        return path, "onnx"
    path = job.out / "model.pt2"
    torch.export.save(torch.export.export(model, (example,), dynamic_shapes=shapes), path)
    return path, "torch"
