"""A graph as a torch module: the only place where a model meets torch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from compress.errors import ModelError
from compress.model.graph import PADDING_SCORE, Graph, Node
from compress.model.model import Model
from compress.model.shapes import infer_shapes, parameter_shapes
from compress.numerics.affine import MIN_SCALE, QMAX, weight_limit

_MOMENTUM = 0.1  # of batch norm's running statistics


class GraphModule(nn.Module):
    """Interprets a graph; every parameter of the graph is a parameter or buffer here, `.` written as `__`.

    Scales are held as logarithms, so that a learning rate moves them by a share of themselves and they stay positive.
    Quantize nodes and integer weights are simulated: rounded in the forward pass, straight through in the backward
    pass, scales by LSQ (Esser et al. 2020, arXiv:1902.08153; its gradient scale 1 / sqrt(n * qmax)).
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.graph = model.graph
        self._names: dict[str, str] = {}
        self._engine: Any = None  # of an `onnx` node
        for name, array in model.weights.items():
            node, parameter = name.rsplit(".", 1)
            key = f"{node}__{parameter}"
            tensor = torch.from_numpy(np.array(array))  # a copy: the model given is not to change
            if parameter in ("scale", "weight_scale"):
                self.register_parameter(key, nn.Parameter(tensor.clamp(min=MIN_SCALE).log()))
            elif parameter in ("zero_point", "running_mean", "running_var", "tokens", "content"):
                self.register_buffer(key, tensor)
            else:
                self.register_parameter(key, nn.Parameter(tensor))
            self._names[name] = key

    def forward(self, x: Tensor, taps: Sequence[str] = ()) -> Any:
        """x: (n, *input_shape) float, or token ids (n, length up to the largest) int64.

        Returns logits (n, classes); with taps, (logits, {node: its output}).
        """
        values: dict[str, Tensor] = {}
        last_use = {i: node.name for node in self.graph for i in node.inputs}
        keep = {*taps, self.graph.output}
        for node in self.graph:
            inputs = [x] if node.op == "input" else [values[i] for i in node.inputs]
            values[node.name] = self._run(node, inputs)
            for i in node.inputs:
                if last_use[i] == node.name and i not in keep:
                    values.pop(i, None)
        logits = values[self.graph.output]
        return (logits, {t: values[t] for t in taps}) if taps else logits

    def _get(self, node: Node, parameter: str) -> Tensor:
        value: Tensor = getattr(self, f"{node.name}__{parameter}")
        return value

    def _run(self, node: Node, inputs: list[Tensor]) -> Tensor:
        x, a = inputs[0], node.attrs
        if node.op == "conv2d":
            bias = self._get(node, "bias") if a["bias"] else None
            return F.conv2d(x, self._weight(node), bias, tuple(a["stride"]), tuple(a["padding"]), 1, a["groups"])
        if node.op == "linear":
            return F.linear(x, self._weight(node), self._get(node, "bias") if a["bias"] else None)
        if node.op == "batch_norm":
            return self._batch_norm(node, x)
        if node.op == "relu":
            return F.relu(x)
        if node.op == "relu6":
            return F.relu6(x)
        if node.op == "add":
            return x + inputs[1]
        if node.op == "max_pool":
            return F.max_pool2d(x, a["kernel"], a["stride"], a["padding"])
        if node.op == "avg_pool":
            return F.avg_pool2d(x, a["kernel"], a["stride"], a["padding"], count_include_pad=False)
        if node.op == "global_avg_pool":
            return x.mean((2, 3))
        if node.op == "flatten":
            return x.flatten(1)
        if node.op == "quantize":
            return self._quantize(node, x)
        if node.op == "input":
            return x
        if node.op == "onnx":
            return self._onnx(node, x)
        return self._text(node, inputs)

    def _onnx(self, node: Node, x: Tensor) -> Tensor:
        """What ONNX Runtime says of (n, ...) examples; no gradient comes through."""
        if self._engine is None:
            from edge_runtime._onnx import import_onnxruntime

            onnxruntime = import_onnxruntime()
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 4
            content = self._get(node, "content").cpu().numpy().tobytes()
            self._engine = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        source = self._engine.get_inputs()[0]
        size = source.shape[0] if isinstance(source.shape[0], int) else len(x)
        array = x.detach().float().cpu().contiguous().numpy()
        short = -len(array) % size  # a file with a fixed batch gets its last block filled up
        filled = np.concatenate([array, np.repeat(array[-1:], short, axis=0)]) if short else array
        parts = [self._engine.run(None, {source.name: filled[i : i + size]})[0] for i in range(0, len(filled), size)]
        return torch.from_numpy(np.concatenate(parts)[: len(array)]).to(x.device)

    def _text(self, node: Node, inputs: list[Tensor]) -> Tensor:
        """Operators on token ids (n, length) and sequences (n, length, features)."""
        x, a = inputs[0], node.attrs
        if node.op == "embedding":
            return self._embedding(node, x)
        if node.op == "positions":
            return x + self._get(node, "weight")[: x.shape[1]]
        if node.op == "layer_norm":
            return F.layer_norm(x, (a["features"],), self._get(node, "weight"), self._get(node, "bias"), a["eps"])
        if node.op == "gelu":
            return F.gelu(x)
        if node.op == "tanh":
            return torch.tanh(x)
        if node.op == "attention":
            shape = (*x.shape[:2], a["heads"], a["head_features"])
            query, key, value = (i.reshape(shape).transpose(1, 2) for i in inputs[:3])
            mask = self._padding(inputs[3]).to(query.dtype)[:, None, None, :] * PADDING_SCORE
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
            return mixed.transpose(1, 2).reshape(x.shape)
        if node.op == "token_mean":
            real = (~self._padding(inputs[1])).to(x.dtype)[:, :, None]
            return (x * real).sum(1) / real.sum(1)
        return x[:, 0]  # first_token

    def _padding(self, ids: Tensor) -> Tensor:
        """(n, length), True where a text has ended."""
        ended: Tensor = ids.eq(self.graph.pad_id or 0)
        return ended

    def _embedding(self, node: Node, ids: Tensor) -> Tensor:
        """Rows of the table; of an integer one only the rows that are read are rounded."""
        rows = F.embedding(ids, self._get(node, "weight"))
        if "weight_bits" not in node.attrs:
            return rows
        limit = weight_limit(node.attrs["weight_bits"])
        flat = rows.reshape(-1, rows.shape[-1])
        scale = self._get(node, "weight_scale").exp()[ids.reshape(-1)]
        factor, zero = 1.0 / (rows.shape[-1] * limit) ** 0.5, torch.zeros_like(scale)
        with torch.autocast(rows.device.type, enabled=False):
            flat = torch._fake_quantize_learnable_per_channel_affine(flat, scale, zero, 0, -limit, limit, factor)
        return flat.reshape(rows.shape)

    def _weight(self, node: Node) -> Tensor:
        weight = self._get(node, "weight")
        if "weight_bits" not in node.attrs:
            return weight
        limit = weight_limit(node.attrs["weight_bits"])
        scale = self._get(node, "weight_scale").exp()
        factor = 1.0 / (weight[0].numel() * limit) ** 0.5
        zero = torch.zeros_like(scale)
        with torch.autocast(weight.device.type, enabled=False):
            return torch._fake_quantize_learnable_per_channel_affine(weight, scale, zero, 0, -limit, limit, factor)

    def _quantize(self, node: Node, x: Tensor) -> Tensor:
        scale = self._get(node, "scale").exp().reshape(1)
        zero_point = self._get(node, "zero_point").to(torch.float32).reshape(1)
        factor = 1.0 / (x[0].numel() * QMAX) ** 0.5
        with torch.autocast(x.device.type, enabled=False):
            return torch._fake_quantize_learnable_per_tensor_affine(x.float(), scale, zero_point, 0, QMAX, factor)

    def _batch_norm(self, node: Node, x: Tensor) -> Tensor:
        p = {k: self._get(node, k) for k in ("weight", "bias", "running_mean", "running_var")}
        if self.training and dist.is_initialized() and dist.get_world_size() > 1:
            return _synchronised_batch_norm(x, **p, eps=node.attrs["eps"])
        if self.training and x.numel() == x.shape[1]:
            what = "a batch of one example gives it a single number a channel, which has no spread"
            raise ModelError(what, f"batch norm {node.name!r}", "train with a batch_size of 2 or more")
        return F.batch_norm(
            x, p["running_mean"], p["running_var"], p["weight"], p["bias"], self.training, _MOMENTUM, node.attrs["eps"]
        )

    def to_model(self) -> Model:
        """The current weights as a Model; float32 numpy copies."""
        weights = {}
        for name, key in self._names.items():
            tensor = getattr(self, key).detach().cpu()
            if name.endswith(("scale",)):
                tensor = tensor.exp()
            weights[name] = tensor.contiguous().numpy().copy()
        return Model(self.graph, weights)


def _synchronised_batch_norm(
    x: Tensor, weight: Tensor, bias: Tensor, running_mean: Tensor, running_var: Tensor, eps: float
) -> Tensor:
    """Batch norm over the examples of all processes: two learn what one would (torch's own is for CUDA only)."""
    from torch.distributed.nn.functional import all_reduce

    axes = [0, *range(2, x.dim())]
    wide = x.float()
    count = wide.numel() / wide.shape[1]
    sums = torch.cat([wide.sum(axes), (wide * wide).sum(axes), wide.new_tensor([count])])
    total: Tensor = all_reduce(sums)  # type: ignore[no-untyped-call]
    n = total[-1].detach()
    mean, square = (total[:-1] / n).chunk(2)
    var = (square - mean * mean).clamp(min=0.0)
    with torch.no_grad():
        running_mean.lerp_(mean.detach(), _MOMENTUM)
        running_var.lerp_(var.detach() * n / (n - 1).clamp(min=1), _MOMENTUM)
    shape = [1, -1, *[1] * (x.dim() - 2)]
    y = (wide - mean.view(shape)) * (var.view(shape) + eps).rsqrt() * weight.view(shape) + bias.view(shape)
    out: Tensor = y.to(x.dtype)
    return out


def initial_model(graph: Graph, seed: int) -> Model:
    """Fresh weights: He normal for layers (He et al. 2015, arXiv:1502.01852), zeros for biases, identity for norms."""
    generator = np.random.default_rng(seed)
    infer_shapes(graph)  # refuses a graph whose sizes do not fit before any weight is drawn
    weights: dict[str, Any] = {}
    for node in graph:
        for parameter, shape in parameter_shapes(node).items():
            name = f"{node.name}.{parameter}"
            if parameter == "weight" and node.op in ("embedding", "positions"):
                weights[name] = generator.normal(0.0, 0.02, shape).astype(np.float32)  # as BERT begins
            elif parameter == "weight" and node.op in ("conv2d", "linear"):
                fan_in = int(np.prod(shape[1:]))
                gain = 2.0 if node.op == "conv2d" else 1.0
                weights[name] = generator.normal(0.0, (gain / fan_in) ** 0.5, shape).astype(np.float32)
            elif parameter in ("weight", "running_var"):
                weights[name] = np.ones(shape, np.float32)
            else:
                weights[name] = np.zeros(shape, np.float32)
    return Model(graph, weights)
