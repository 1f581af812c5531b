"""Runs variants of one file on the same validation examples: what a file says of them, and how far that strays."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from compress.data.dataset import Dataset
from compress.evaluate.calibration import log_softmax
from compress.evaluate.paired import SIGNIFICANT, mcnemar
from compress.model.model import Model

Logits = NDArray[np.float32]
MOST_EXAMPLES = 1000


class Judge(ABC):
    """What blame needs to know of files. Answers are whatever a subclass makes of a file's outputs."""

    kind: Literal["onnx", "tflite"]
    measure: Literal["kl", "noise"]  # see compress.blamed.Blame
    right: Literal["label", "answer", "signal"]
    spread: str  # what to do where no layer stands out
    count: int

    @abstractmethod
    def bundle(self, name: str, data: bytes) -> Path:
        """A file of these bytes as a bundle of that name."""

    @abstractmethod
    def answers(self, bundle: Path) -> Any:
        """What the file says about the examples."""

    @abstractmethod
    def rights(self, answers: Any) -> NDArray[np.bool_]:
        """By example, whether it is right, (count,)."""

    @abstractmethod
    def divergence(self, reference: Any, other: Any) -> float:
        """How far answers are from the reference's, 0 or more."""

    @abstractmethod
    def feed(self, bundle: Path) -> Mapping[str, Any]:
        """The inputs of one example, as the engine takes them."""

    def top1(self, answers: Any) -> float:
        """Share of the examples that are right."""
        return float(self.rights(answers).mean())

    def lost(self, reference: Any, said: Any) -> float:
        """How much accuracy is gone, a share; 0 where McNemar's exact test cannot tell it from chance."""
        before, after = self.rights(reference), self.rights(said)
        down, up = int((before & ~after).sum()), int((after & ~before).sum())
        return (down - up) / self.count if down > up and mcnemar(down, up) < SIGNIFICANT else 0.0


class RunJudge(Judge):
    """Variants of one model in one format, on the first validation examples. scratch: a folder for their bundles."""

    measure, right = "kl", "label"
    spread = "Use `how: qat`, or more epochs of it."

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

    def answers(self, bundle: Path) -> Logits:
        """Logits (count, classes), through edge_runtime."""
        from compress.evaluate.predict import logits_of

        return logits_of(bundle, self.x)

    def rights(self, answers: Logits) -> NDArray[np.bool_]:
        """Those whose label comes first."""
        return np.asarray(answers.argmax(axis=1) == self.y)

    def divergence(self, reference: Logits, other: Logits) -> float:
        """Mean KL, nats."""
        return divergence(log_softmax(reference), log_softmax(other))

    def feed(self, bundle: Path) -> Mapping[str, Any]:
        """The first example, preprocessed."""
        import edge_runtime

        with edge_runtime.load(bundle) as opened:
            return {opened.entry.input.name: opened.prepare(self.x[0])}


def divergence(p: NDArray[np.floating], q: NDArray[np.floating]) -> float:
    """Mean KL(p || q) of rows of log-probabilities, in nats: a change of confidence counts before any answer flips.

    Source: Kullback and Leibler 1951, Ann. Math. Stat. 22(1), 79-86.
    """
    return max(0.0, float((np.exp(p) * (p - q)).sum(axis=1).mean()))
