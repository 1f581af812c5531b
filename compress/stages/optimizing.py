"""Optimizer, learning-rate schedule and weight averaging of the training loop."""

from collections.abc import Mapping
from math import cos, pi

import torch
from torch import Tensor, nn

from compress.recipe.schema import Training

_WARMUP = 0.3  # share of steps in which one-cycle rises
_START, _END = 25.0, 1e4  # one-cycle begins at peak / 25 and ends at peak / 25 / 1e4, as Smith and Topin's code does


def learning_rate_at(config: Training, step: int, steps: int) -> float:
    """Learning rate of a step, 0 <= step < steps.

    one-cycle: half a cosine up, half a cosine down (Smith and Topin 2017, arXiv:1708.07120). cosine: from the peak
    towards 0 (Loshchilov and Hutter 2016, arXiv:1608.03983).
    """
    peak, done = config.learning_rate, step / max(steps - 1, 1)
    if config.schedule == "constant" or steps == 1:
        return peak
    if config.schedule == "cosine":
        return peak * (1 + cos(pi * step / steps)) / 2
    if done < _WARMUP:
        return _between(peak / _START, peak, done / _WARMUP)
    return _between(peak, peak / _START / _END, (done - _WARMUP) / (1 - _WARMUP))


def _between(first: float, last: float, done: float) -> float:
    return last + (first - last) * (1 + cos(pi * done)) / 2


def make_optimizer(module: nn.Module, config: Training) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum 0.9, or AdamW; decay acts on matrices and kernels, not on biases, norms and scales."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    groups = [g for g in groups if g["params"]]
    fused = parameters[0].device.type in ("cpu", "cuda")
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=0.9, nesterov=True, fused=fused)
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=fused)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Everything the optimizer remembers, `<parameter number>.<name>`."""
    state: Mapping[int, Mapping[str, Tensor]] = optimizer.state_dict()["state"]
    return {f"{i}.{k}": v for i, entry in state.items() for k, v in entry.items() if isinstance(v, Tensor)}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of optimizer_tensors; memory layout follows the parameters, as the fused kernels want."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for name, value in tensors.items():
        number, key = name.split(".", 1)
        parameter = parameters[int(number)]
        like = (
            torch.empty_like(parameter) if value.shape == parameter.shape and value.dim() else torch.empty_like(value)
        )
        optimizer.state[parameter][key] = like.copy_(value)


class Average:
    """Exponential moving average of a module's parameters and statistics.

    The decay rises from 0.1 to its value as (1 + t) / (10 + t), so that early weights are soon forgotten.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._decay, self._steps = decay, 0
        self.tensors = {k: v.detach().clone() for k, v in module.state_dict().items()}

    def update(self, module: nn.Module) -> None:
        """Take in the weights after one more step."""
        weight = 1.0 - min(self._decay, (1 + self._steps) / (10 + self._steps))
        self._steps += 1
        now = module.state_dict()
        floats = [k for k, v in self.tensors.items() if v.is_floating_point()]
        torch._foreach_lerp_([self.tensors[k] for k in floats], [now[k] for k in floats], weight)
        for k in self.tensors.keys() - set(floats):
            self.tensors[k].copy_(now[k])

    def restore(self, tensors: Mapping[str, Tensor], steps: int) -> None:
        """Go on from a saved average after `steps` updates."""
        self._steps = steps
        for k, v in self.tensors.items():
            v.copy_(tensors[k])
