"""What a model says in torch, before any export: the reference that exported files are held to."""

import numpy as np
import torch
from numpy.typing import NDArray

from compress.data.dataset import Dataset, Split
from compress.model.model import Model
from compress.model.module import GraphModule
from compress.run.evidence import SPLITS

_BATCH = 500


def torch_logits(model: Model, data: Dataset) -> dict[str, NDArray[np.float32]]:
    """Logits (n, classes) of the validation and the test split, float32, quantizers simulated."""
    module = GraphModule(model).eval()

    def run(split: Split) -> NDArray[np.float32]:
        inputs = torch.from_numpy(data.inputs(split))
        with torch.no_grad():
            parts = [module(part) for part in torch.split(inputs, _BATCH)]
        out: NDArray[np.float32] = torch.cat(parts).numpy()
        return out

    return {name: run(getattr(data, name)) for name in SPLITS}
