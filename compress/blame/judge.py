"""Runs variants of one model in one format on the same validation examples, and times them."""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from compress.data.dataset import Dataset
from compress.evaluate.calibration import log_softmax
from compress.evaluate.paired import SIGNIFICANT, mcnemar
from compress.model.model import Model

Logits = NDArray[np.float32]
MOST_EXAMPLES = 1000


class Judge:
    """Variants of one model in one format, on the first validation examples. scratch: a folder for their bundles."""

    def __init__(
        self, kind: Literal["onnx", "tflite"], data: Dataset, task: str, scratch: Path, examples: int = MOST_EXAMPLES
    ) -> None:
        self.kind, self.data, self.task, self.scratch = kind, data, task, scratch
        self.x, self.y = data.validation.x[:examples], data.validation.y[:examples]
        self.inputs = data.preprocessing(self.x)
        self.count = len(self.y)

    def content(self, model: Model) -> bytes:
        """The model exported."""
        from compress.export.onnx import to_onnx
        from compress.export.tflite import to_tflite

        return (to_onnx if self.kind == "onnx" else to_tflite)(model, name="blame")

    def bundle(self, name: str, data: bytes) -> Path:
        """A file of these bytes as a bundle in the scratch folder."""
        from compress.export.bundle import write_bundle

        folder = self.scratch / name
        write_bundle(folder, name="blame", task=self.task, labels=self.data.classes,
                     preprocessing=self.data.preprocessing, files={self.kind: data}, precision="int8",
                     reference_inputs=self.x[:2])  # fmt: skip
        return folder

    def logits(self, bundle: Path) -> Logits:
        """What a file says about the examples, through edge_runtime."""
        from compress.evaluate.predict import logits_of

        return logits_of(bundle, self.x)

    def top1(self, logits: Logits) -> float:
        """Validation accuracy."""
        return float((logits.argmax(axis=1) == self.y).mean())

    def lost(self, reference: Logits, said: Logits) -> float:
        """How much accuracy is gone, a share; 0 where McNemar's exact test cannot tell it from chance."""
        before, after = reference.argmax(axis=1) == self.y, said.argmax(axis=1) == self.y
        down, up = int((before & ~after).sum()), int((after & ~before).sum())
        return (down - up) / self.count if down > up and mcnemar(down, up) < SIGNIFICANT else 0.0


def divergence(reference: Logits, other: Logits) -> float:
    """Mean KL(reference || other) of the answers, in nats: a change of confidence counts before any answer flips.

    Source: Kullback and Leibler 1951, Ann. Math. Stat. 22(1), 79-86.
    """
    p, q = log_softmax(reference), log_softmax(other)
    return max(0.0, float((np.exp(p) * (p - q)).sum(axis=1).mean()))
