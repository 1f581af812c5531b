"""Zero single weights. A measure for the size of a compressed file: no engine here runs faster for it."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compress.model.model import Model
from compress.model.module import GraphModule

RAMP = 0.75  # share of the fine-tuning in which sparsity rises; the rest recovers


def sparsity_after(round_number: int, rounds: int, final: float) -> float:
    """Share of zeros after a round, counted from 1: fast at first, slow at the end (Zhu and Gupta 2017, equation 1)."""
    return final * (1.0 - (1.0 - round_number / rounds) ** 3)


def round_at(step: int, steps: int, rounds: int) -> int:
    """Rounds that are due once `step` of `steps` updates are done: the first at once, the last when RAMP ends."""
    if rounds == 1:
        return 1
    return min(rounds, 1 + int((rounds - 1) * step / (RAMP * steps)))


def smallest(weight: NDArray[np.float32], share: float) -> NDArray[np.bool_]:
    """True where a weight stays; the `share` of smallest magnitude is False, ties to the earlier."""
    cut = round(weight.size * share)
    stay = np.ones(weight.size, bool)
    stay[np.argsort(np.abs(weight), axis=None, kind="stable")[:cut]] = False
    return stay.reshape(weight.shape)


def apply_masks(model: Model, masks: Mapping[str, NDArray[np.bool_]]) -> Model:
    """The model with weights zeroed where their mask is False."""
    weights = {k: np.where(masks[k], v, np.float32(0)) if k in masks else v for k, v in model.weights.items()}
    return Model(model.graph, weights)


class SparseModule(nn.Module):
    """A net whose chosen layers keep their zeros. The masks are part of its state, so a resumed training has them."""

    def __init__(self, model: Model, layers: tuple[str, ...], rounds: int, final: float) -> None:
        super().__init__()
        self.net, self._layers, self._rounds, self._final = GraphModule(model), layers, rounds, final
        for layer in layers:
            self.register_buffer(f"mask__{layer}", torch.ones_like(self._weight(layer), dtype=torch.bool))
        self.register_buffer("round", torch.zeros((), dtype=torch.int64))
        self._raise_sparsity(1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes). Judging an average of weights applies the masks to it first."""
        if not self.training:
            self._zero()
        out: Tensor = self.net(x)
        return out

    def on_step(self, step: int, steps: int) -> None:
        """After an update: more zeros if a round is due, and the old ones again."""
        due = round_at(step, steps, self._rounds)
        if due > int(self.get_buffer("round")):
            self._raise_sparsity(due)
        self._zero()

    def masks(self) -> dict[str, NDArray[np.bool_]]:
        """Weight name -> where it stays."""
        return {f"{n}.weight": self.get_buffer(f"mask__{n}").cpu().numpy() for n in self._layers}

    def _weight(self, layer: str) -> Tensor:
        return self.net.get_parameter(f"{layer}__weight").detach()

    def _raise_sparsity(self, number: int) -> None:
        share = sparsity_after(number, self._rounds, self._final)
        for layer in self._layers:
            stay = smallest(self._weight(layer).cpu().contiguous().numpy(), share)
            self.get_buffer(f"mask__{layer}").copy_(torch.from_numpy(stay))
        self.get_buffer("round").fill_(number)
        self._zero()

    def _zero(self) -> None:
        for layer in self._layers:
            self._weight(layer).mul_(self.get_buffer(f"mask__{layer}"))
