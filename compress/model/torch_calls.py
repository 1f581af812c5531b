"""The calls of an exported torch program as nodes of our graph.

Each is either one of our operators, nothing at inference (dropout), or refused by name. Windows may enter as (n,
channels, length) through Conv1d layers or as (n, channels, 1, length) through Conv2d ones.
"""

import re
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compress.errors import ModelError
from compress.model.graph import Graph, Node
from compress.model.model import Model

_FIX = "write the net with the layers above, or give it as an ONNX file (compress quantize)"
_SUPPORTED = "Conv1d, Conv2d, Linear, BatchNorm, ReLU, ReLU6, +, max, average and global pooling, flatten, dropout"
_PASS = frozenset({"dropout", "alias", "clone", "contiguous", "detach", "lift_fresh_copy", "feature_dropout"})
_TO_VECTORS = ("linear", "flatten", "global_avg_pool")
_RESHAPE = frozenset({"view", "reshape", "flatten", "squeeze", "unsqueeze", "_unsafe_view"})


def operator_of(node: Any) -> str:
    """conv2d, add, relu, ... without its overload and a trailing underscore."""
    target = node.target
    name = target._schema.name if hasattr(target, "_schema") else str(target)
    return str(name).removeprefix("aten::").rstrip("_")


class Converter:
    """Walks the exported calls; `values` says which of our nodes holds each call's result."""

    def __init__(self, program: Any, input_shape: Sequence[int], where: str) -> None:
        self.program, self.where = program, where
        self.nodes = [Node("input", "input", (), {"shape": list(input_shape)})]
        self.weights: dict[str, np.ndarray[Any, Any]] = {}
        self.values: dict[str, str] = {}
        self.flat: set[str] = set()  # of our nodes: those with a vector an example
        self.tensors: dict[str, Tensor] = {}
        self.taken = {"input"}
        if len(input_shape) == 1:
            self.flat.add("input")

    def model(self) -> Model:
        """Convert everything."""
        signature = self.program.graph_signature
        names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        state = {**dict(self.program.state_dict), **dict(self.program.constants)}
        names |= getattr(signature, "inputs_to_lifted_tensor_constants", {})
        output = ""
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                if node.name in names:
                    self.tensors[node.name] = state[names[node.name]]
                else:
                    self.values[node.name] = "input"
            elif node.op == "output":
                output = self._output(node.args[0])
            else:
                self._call(node)
        return Model(Graph(tuple(self.nodes), output), self.weights)

    def _output(self, results: Any) -> str:
        if len(results) != 1:
            raise ModelError(f"it returns {len(results)} values", self.where, "return the logits alone")
        (result,) = results
        if getattr(result, "name", "") not in self.values:
            raise ModelError("its output does not depend on its input", self.where, "return the logits")
        name = self.values[result.name]
        if len(_shape(result)) != 2:
            what = f"its output has shape {_shape(result)[1:]} an example"
            raise ModelError(what, self.where, "return one vector of logits an example")
        return name

    def _call(self, node: Any) -> None:
        op = operator_of(node)
        if op in _PASS or (op == "_to_copy" and node.args[0].name in self.values):
            self.values[node.name] = self._input(node)
        elif op in ("softmax", "log_softmax"):
            if any(user.op != "output" for user in node.users):
                raise self._refusal(node, "another operator behind it")
            self.values[node.name] = self._input(node)  # logits are what ships; both keep their order
        elif op in _RESHAPE:
            self._reshape(node)
        elif handler := _HANDLERS.get(op):
            handler(self, node)
        else:
            raise self._refusal(node, "")

    def _refusal(self, node: Any, why: str) -> ModelError:
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        path = stack[-1][0] if stack else ""
        at = f"{self.where}, {'module ' + path if path else 'forward'}"
        what = (
            f"operator {operator_of(node)}{' with ' if why else ''}{why} is not supported; the layers are {_SUPPORTED}"
        )
        return ModelError(what, at, _FIX)

    def _input(self, node: Any, index: int = 0) -> str:
        source = node.args[index]
        if not hasattr(source, "name") or source.name not in self.values:
            raise self._refusal(node, "a constant operand")
        return self.values[source.name]

    def _name(self, node: Any, owner: str) -> str:
        """A parameter's owner (`features.0`) or the call's own name, made fit and unique."""
        base = re.sub(r"\W", "_", owner) or node.name
        base = base if base[0].isalpha() else f"n{base}"
        name, count = base, 2
        while name in self.taken:
            name, count = f"{base}_{count}", count + 1
        self.taken.add(name)
        return name

    def _owner(self, node: Any, index: int) -> str:
        signature = self.program.graph_signature
        argument = node.args[index]
        return str(signature.inputs_to_parameters.get(argument.name, "")).rpartition(".")[0]

    def _tensor(self, node: Any, index: int) -> np.ndarray[Any, Any] | None:
        argument = node.args[index] if len(node.args) > index else None
        if argument is None:
            return None
        if argument.name not in self.tensors:
            raise self._refusal(node, "weights that are computed")
        return np.array(self.tensors[argument.name].detach().to(torch.float32).numpy())

    def _emit(self, node: Any, op: str, inputs: Sequence[str], owner: str = "", **attrs: Any) -> str:
        name = self._name(node, owner)
        self.nodes.append(Node(name, op, tuple(inputs), attrs))
        self.values[node.name] = name
        if op in _TO_VECTORS or inputs[0] in self.flat:
            self.flat.add(name)
        return name

    def _reshape(self, node: Any) -> None:
        """Only what makes a vector of an example, or leaves its values in their places."""
        x, before, after = self._input(node), _shape(node.args[0]), _shape(node)
        if before[0] == after[0] and len(after) == 2:
            if x in self.flat:
                self.values[node.name] = x
            else:
                self._emit(node, "flatten", [x])
        elif x in self.flat and before[0] == after[0] and prod(after[2:]) == 1:
            self.values[node.name] = x  # (n, c) seen as (n, c, 1, 1)
        elif before == after:
            self.values[node.name] = x
        elif before[:2] == after[:2] and prod(before[2:]) == 1:
            self._emit(node, "flatten", [x])  # (n, c, 1, 1) to (n, c, 1)
        else:
            raise self._refusal(node, f"{list(before)} to {list(after)}")

    # -- one method an operator ---------------------------------------------------------------------------------------

    def _conv(self, node: Any) -> None:
        weight, bias = self._tensor(node, 1), self._tensor(node, 2)
        assert weight is not None  # aten's convolutions have one
        kernel = _pair(weight.shape[2:], 1)
        stride, dilation = _pair(_argument(node, 3, [1]), 1), _pair(_argument(node, 5, [1]), 1)
        padding = _argument(node, 4, [0])
        if padding == "same":
            if any(k % 2 == 0 for k in kernel):
                raise self._refusal(node, f"padding 'same' and the even kernel {kernel}")
            padding = [k // 2 for k in kernel]
        padding = [0, 0] if padding == "valid" else _pair(padding, 0)
        if dilation != [1, 1]:
            raise self._refusal(node, f"dilation {dilation}")
        groups = _argument(node, 6, 1)
        if self._input(node) in self.flat:
            if prod(kernel) > 1 or any(padding) or groups > 1:
                raise self._refusal(node, "a window over a single pixel")
            self._fully_connected(node, weight.reshape(len(weight), -1), bias)
            return
        weight = weight if weight.ndim == 4 else weight[:, :, None]
        attrs = {"in_channels": weight.shape[1] * groups, "out_channels": len(weight), "kernel": kernel,
                 "stride": stride, "padding": padding, "groups": groups, "bias": bias is not None}  # fmt: skip
        name = self._emit(node, "conv2d", [self._input(node)], self._owner(node, 1), **attrs)
        self._keep(name, weight=weight, bias=bias)

    def _linear(self, node: Any) -> None:
        weight, bias = self._tensor(node, 1), self._tensor(node, 2)
        assert weight is not None
        if len(_shape(node.args[0])) != 2:
            raise self._refusal(node, f"an input of shape {list(_shape(node.args[0]))}; flatten it first")
        self._fully_connected(node, weight, bias)

    def _fully_connected(self, node: Any, weight: np.ndarray[Any, Any], bias: np.ndarray[Any, Any] | None) -> None:
        attrs = {"in_features": weight.shape[1], "out_features": len(weight), "bias": bias is not None}
        name = self._emit(node, "linear", [self._input(node)], self._owner(node, 1), **attrs)
        self._keep(name, weight=weight, bias=bias)

    def _batch_norm(self, node: Any) -> None:
        x, channels = self._input(node), _shape(node)[1]
        mean, var = self._tensor(node, 3), self._tensor(node, 4)
        if mean is None or var is None:
            raise self._refusal(node, "no running statistics")
        weight, bias = self._tensor(node, 1), self._tensor(node, 2)
        eps = float(_argument(node, 7, 1e-5))
        name = self._emit(node, "batch_norm", [x], self._owner(node, 1) if weight is not None else "",
                         channels=channels, eps=eps)  # fmt: skip
        ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
        self._keep(name, weight=ones if weight is None else weight, bias=zeros if bias is None else bias,
                   running_mean=mean, running_var=var)  # fmt: skip

    def _activation(self, node: Any) -> None:
        op = operator_of(node)
        low, high = {"relu": (0, None), "relu6": (0, 6), "hardtanh": (-1, 1)}.get(op, (None, None))
        low, high = _argument(node, 1, low), _argument(node, 2, high)
        if low != 0 or high not in (None, 6):
            raise self._refusal(node, f"limits {low} and {high}")
        x = self._input(node)
        self._emit(node, "relu" if high is None else "relu6", [x])

    def _add(self, node: Any) -> None:
        if len(node.args) < 2 or node.kwargs.get("alpha", 1) != 1:
            raise self._refusal(node, "a factor")
        x, y = self._input(node, 0), self._input(node, 1)
        if _shape(node.args[0]) != _shape(node.args[1]):
            raise self._refusal(node, f"shapes {list(_shape(node.args[0]))} and {list(_shape(node.args[1]))}")
        self._emit(node, "add", [x, y])

    def _pool(self, node: Any) -> None:
        op, x = operator_of(node), self._input(node)
        if x in self.flat:
            raise self._refusal(node, "a window over a single pixel")
        kernel = _pair(node.args[1], 1)
        stride = _pair(_argument(node, 2, []) or node.args[1], 1)
        padding = _pair(_argument(node, 3, [0]), 0)
        maximum = op.startswith("max")
        dilation = _argument(node, 4, [1]) if maximum else [1]
        ceil = _argument(node, 5 if maximum else 4, False)
        if _pair(dilation, 1) != [1, 1]:
            raise self._refusal(node, f"dilation {dilation}")
        if not maximum and (_argument(node, 6, None) is not None or (any(padding) and _argument(node, 5, True))):
            raise self._refusal(node, "padding that counts as values, or a divisor of its own")
        sizes = [1, 1, *_shape(node.args[0])[2:]][-2:]
        rest = [(n + 2 * p - k) % s for n, p, k, s in zip(sizes, padding, kernel, stride, strict=True)]
        if ceil and any(rest):
            raise self._refusal(node, "ceil_mode")
        self._emit(node, "max_pool" if maximum else "avg_pool", [x], kernel=kernel, stride=stride, padding=padding)

    def _adaptive(self, node: Any) -> None:
        x, size = self._input(node), list(_shape(node)[2:])
        before = list(_shape(node.args[0])[2:])
        if prod(size) == 1:
            self._global_average(node, x)
            return
        if any(b % s for b, s in zip(before, size, strict=True)):
            raise self._refusal(node, f"{before} to {size}, which are no whole windows")
        window = _pair([b // s for b, s in zip(before, size, strict=True)], 1)
        self._emit(node, "avg_pool", [x], kernel=window, stride=window, padding=[0, 0])

    def _mean(self, node: Any) -> None:
        shape = _shape(node.args[0])
        axes = sorted(d % len(shape) for d in (node.args[1] or []))
        if len(shape) < 3 or axes != list(range(2, len(shape))):
            raise self._refusal(node, f"axes {axes} of {list(shape)}")
        self._global_average(node, self._input(node))

    def _global_average(self, node: Any, x: str) -> None:
        if x in self.flat:  # a single pixel is its own average
            self.values[node.name] = x
        else:
            self._emit(node, "global_avg_pool", [x])

    def _keep(self, name: str, **parameters: np.ndarray[Any, Any] | None) -> None:
        for parameter, array in parameters.items():
            if array is not None:
                self.weights[f"{name}.{parameter}"] = array.astype(np.float32)


_HANDLERS: dict[str, Callable[[Converter, Any], None]] = {
    **dict.fromkeys(("conv1d", "conv2d"), Converter._conv),
    "linear": Converter._linear,
    "batch_norm": Converter._batch_norm,
    **dict.fromkeys(("relu", "relu6", "hardtanh", "clamp", "clamp_min"), Converter._activation),
    "add": Converter._add,
    **dict.fromkeys(("max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d"), Converter._pool),
    **dict.fromkeys(("adaptive_avg_pool1d", "adaptive_avg_pool2d"), Converter._adaptive),
    "mean": Converter._mean,
}


def _shape(node: Any) -> tuple[int, ...]:
    return tuple(int(n) for n in node.meta["val"].shape)


def _argument(node: Any, index: int, default: Any) -> Any:
    return node.args[index] if len(node.args) > index else default


def _pair(values: Any, missing: int) -> list[int]:
    """[h, w] of a pair, of one number for both, or of a 1-D layer's single one."""
    values = [values] if isinstance(values, int) else list(values)
    return [missing, int(values[0])] if len(values) == 1 else [int(v) for v in values]
