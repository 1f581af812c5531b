"""What a model says in torch, before any export: the reference that exported files are held to."""

import numpy as np
import torch
from numpy.typing import NDArray

from compress.data.dataset import Dataset, Split
from compress.errors import ModelError
from compress.model.model import Model
from compress.model.module import GraphModule
from compress.run.evidence import SPLITS
from compress.stages.batches import split_batches
from compress.stages.texts import fit_data

_BATCH = 500


def torch_logits(model: Model, data: Dataset) -> dict[str, NDArray[np.float32]]:
    """Logits (n, classes) of the validation and the test split, float32, quantizers simulated."""
    module, own = GraphModule(model).eval(), fit_data(data, model)
    return {name: _answers(module, own, getattr(data, name)) for name in SPLITS}


def check_given_teacher(model: Model, data: Dataset, where: str) -> None:
    """Raise ModelError if a teacher that nobody trains here knows nothing of the data: the wrong labels or weights."""
    module, own = GraphModule(model).eval(), fit_data(data, model)
    answers, y = _answers(module, own, data.validation), data.validation.y
    if bad := int((~np.isfinite(answers)).any(axis=1).sum()):
        what = f"its answers to {bad} of {len(y)} validation examples are not finite"
        raise ModelError(what, where, "give a checkpoint whose weights are sound")
    right = int((answers.argmax(axis=1) == y).sum())
    if right * len(data.classes) <= len(y):
        what = f"it is right on {right} of {len(y)} validation examples, no better than guessing"
        fix = f"give a teacher that was trained on this data, with its {len(data.classes)} labels in the same order; "
        fix += "one from elsewhere may want its own numbers: data.normalize"
        raise ModelError(what, where, fix)


def _answers(module: GraphModule, data: Dataset, split: Split) -> NDArray[np.float32]:
    out = torch.zeros(len(split), len(data.classes))
    with torch.no_grad():
        for x, _, places in split_batches(data, split, torch.device("cpu"), size=_BATCH):
            out[places] = module(x)
    found: NDArray[np.float32] = out.numpy()
    return found
