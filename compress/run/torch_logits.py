"""What a model says in torch, before any export: the reference that exported files are held to."""

import numpy as np
import torch
from numpy.typing import NDArray

from compress.data.dataset import Dataset, Split
from compress.errors import ModelError
from compress.model.model import Model
from compress.model.module import GraphModule
from compress.run.evidence import SPLITS

_BATCH = 500


def torch_logits(model: Model, data: Dataset) -> dict[str, NDArray[np.float32]]:
    """Logits (n, classes) of the validation and the test split, float32, quantizers simulated."""
    module = GraphModule(model).eval()
    return {name: _answers(module, data, getattr(data, name)) for name in SPLITS}


def check_given_teacher(model: Model, data: Dataset, where: str) -> None:
    """Raise ModelError if a teacher that nobody trains here knows nothing of the data: the wrong labels or weights."""
    answers, y = _answers(GraphModule(model).eval(), data, data.validation), data.validation.y
    if bad := int((~np.isfinite(answers)).any(axis=1).sum()):
        what = f"its answers to {bad} of {len(y)} validation examples are not finite"
        raise ModelError(what, where, "give a checkpoint whose weights are sound")
    right = int((answers.argmax(axis=1) == y).sum())
    if right * len(data.classes) <= len(y):
        what = f"it is right on {right} of {len(y)} validation examples, no better than guessing"
        fix = f"give a teacher that was trained on this data, with its {len(data.classes)} labels in the same order"
        raise ModelError(what, where, fix)


def _answers(module: GraphModule, data: Dataset, split: Split) -> NDArray[np.float32]:
    inputs = torch.from_numpy(data.inputs(split))
    with torch.no_grad():
        parts = [module(part) for part in torch.split(inputs, _BATCH)]
    out: NDArray[np.float32] = torch.cat(parts).numpy()
    return out
