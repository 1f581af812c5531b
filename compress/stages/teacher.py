"""Learning from another model: its soft labels, and what happens inside it."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compress.data.augment import is_active
from compress.data.dataset import Dataset
from compress.errors import StageError
from compress.model.model import Model
from compress.model.module import GraphModule
from compress.model.shapes import infer_shapes
from compress.recipe.schema import AugmentConfig, PruneConfig, QuantizeConfig, Training
from compress.stages.batches import Batch, split_batches
from compress.stages.processes import current_accelerator
from compress.stages.texts import fit_data, takes, with_copies

Loss = Callable[[Batch], Tensor]


class Teacher:
    """A frozen model in eval mode.

    Its logits over the training split are computed once, up front and in a fixed order, when batches show the same
    images every epoch; otherwise for each batch. (Not on first use: a resumed run would then meet other batches first,
    and other batches round differently.)

    data: as the teacher reads it. originals: so many of its training examples have labels; the rest are altered copies.
    """

    def __init__(self, model: Model, data: Dataset, config: Training, originals: int | None = None) -> None:
        device = current_accelerator().device
        self._module = GraphModule(model)
        self._module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._module.eval().requires_grad_(False)
        self._cached: Tensor | None = None
        self._originals = originals
        if not is_active(config.augment or AugmentConfig()):
            bfloat16 = config.precision == "bfloat16"
            with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                self._cached = torch.zeros(len(data.train), len(data.classes), device=device)
                for x, _, places in split_batches(data, data.train, device):
                    self._cached[places] = self._module(x).float()

    def logits(self, batch: Batch) -> Tensor:
        """(n, classes) float32."""
        if self._cached is not None:
            return self._cached[batch.index]
        with torch.no_grad():
            out: Tensor = self._module(batch.x).float()
        return out

    def targets(self, batch: Batch, logits: Tensor) -> Tensor:
        """(n, classes): the labels, of altered copies the teacher's own opinion."""
        if self._originals is None:
            return batch.targets
        known = (batch.index < self._originals)[:, None]
        return torch.where(known, batch.targets, F.softmax(logits, dim=1))

    def features(self, batch: Batch, taps: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits, and the outputs of the named nodes."""
        with torch.no_grad():
            logits, features = self._module(batch.x, taps=tuple(taps))
        return logits.float(), features


def make_teacher(model: Model, data: Dataset, config: Training, seed: int, *, where: str) -> Teacher:
    """A teacher for data as they are read from the source, and for the altered copies that `config` asks for.

    Raises:
        StageError: it does not fit the data.
    """
    more = with_copies(data, config, seed)
    own = fit_data(more, model)
    check_fits(model, own, f"{where}, the teacher")
    return Teacher(model, own, config, originals=None if more is data else len(data.train))


def hard_label_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross entropy against (n, classes) targets that sum to 1 per row."""
    return F.cross_entropy(logits.float(), targets)


def soft_label_loss(
    logits: Tensor, teacher: Tensor, targets: Tensor, *, temperature: float, hard_label_weight: float
) -> Tensor:
    """hard_label_weight * cross entropy + (1 - hard_label_weight) * T^2 * KL(teacher at T || student at T).

    T^2 keeps the soft part's gradient as large as the hard part's (Hinton et al. 2015, arXiv:1503.02531, section 2).
    """
    soft = F.kl_div(
        F.log_softmax(logits.float() / temperature, dim=1),
        F.log_softmax(teacher.float() / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return hard_label_weight * hard_label_loss(logits, targets) + (1.0 - hard_label_weight) * temperature**2 * soft


def tuning_loss(module: nn.Module, teacher: Teacher | None, config: PruneConfig | QuantizeConfig) -> Loss:
    """Loss of a batch while fine-tuning: against the teacher where there is one, else against the labels alone."""

    def loss(batch: Batch) -> Tensor:
        logits = module(batch.x)
        if teacher is None:
            return hard_label_loss(logits, batch.targets)
        wanted = teacher.logits(batch)
        return soft_label_loss(
            logits,
            wanted,
            teacher.targets(batch, wanted),
            temperature=config.temperature,
            hard_label_weight=config.hard_label_weight,
        )

    return loss


def check_fits(model: Model, data: Dataset, where: str) -> None:
    """Refuse a model whose input or output does not belong to the data.

    Raises:
        StageError: with both shapes.
    """
    if not takes(model.graph, data):
        what = f"it takes inputs of shape {model.graph.input_shape}, the data gives {data.input_shape}"
        raise StageError(what, where, "use a net built for this data")
    out = infer_shapes(model.graph)[model.graph.output]
    if out != (len(data.classes),):
        what = f"its outputs have shape {out}, the data has {len(data.classes)} classes"
        raise StageError(what, where, "use a model whose outputs match the labels, in number and order")
