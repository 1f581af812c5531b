"""Judges files made of a given one: by labels, by the float file's answers, or by how far values stray."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.blame.judge import Judge, divergence
from compress.evaluate.calibration import log_softmax
from compress.given_onnx.bundle import write_tensors_bundle
from compress.given_onnx.compare import Outputs, run_file
from compress.given_onnx.examples import Feed
from compress.given_onnx.judge import class_scores
from compress.onnx_file.signature import Signature

CLOSE = 0.01  # of an output's energy: an example whose error is no more is right, where outputs are values
_LEAST = 1e-12  # a probability


class GivenJudge(Judge):
    """Variants of a given file on the same examples, against labels or against the float file's outputs."""

    kind = "onnx"
    spread = "Try `--calibration percentile`, or `--how dynamic`; a given file cannot be trained."

    def __init__(
        self, feeds: Sequence[Feed], labels: NDArray[np.int64] | None, reference: Outputs, classes: bool,
        signature: Signature, scratch: Path,
    ) -> None:  # fmt: skip
        self.feeds, self.labels, self.reference, self.signature = feeds, labels, reference, signature
        self.scratch, self.count = scratch, len(feeds)
        self.classes = classes or all(map(_distributions, reference.values()))
        self.measure = "kl" if self.classes else "noise"
        self.right = "label" if labels is not None else "answer" if self.classes else "signal"

    def bundle(self, name: str, data: bytes) -> Path:
        """A file of these bytes as a bundle of named arrays."""
        write_tensors_bundle(self.scratch / name, "blame", data, "int8", self.signature, self.feeds[:2])
        return self.scratch / name

    def answers(self, bundle: Path) -> Outputs:
        """Every output for every example."""
        return run_file((bundle / "model.onnx").read_bytes(), self.feeds, bundle.name)

    def rights(self, answers: Outputs) -> NDArray[np.bool_]:
        """By label, by the float file's answer, or by the size of the error."""
        if self.labels is not None:
            scores = class_scores(answers)
            assert scores is not None  # labels are taken for plain classifiers only
            return np.asarray(scores.argmax(axis=1) == self.labels)
        pairs = ([(a[i], answers[name][i]) for name, a in self.reference.items()] for i in range(self.count))
        if self.classes:
            return np.array([all((a.argmax(-1) == b.argmax(-1)).all() for a, b in one) for one in pairs])
        return np.array([all(_noise([a], [b]) <= CLOSE for a, b in one) for one in pairs])

    def divergence(self, reference: Outputs, other: Outputs) -> float:
        """Of the output that strays most."""
        if not self.classes:
            return max(_noise(arrays, other[name]) for name, arrays in reference.items())
        return max(divergence(*(_log_rows(found[name]) for found in (reference, other))) for name in reference)

    def feed(self, bundle: Path) -> Feed:
        """The first example."""
        return self.feeds[0]


def _distributions(arrays: Sequence[NDArray[Any]]) -> bool:
    """Whether the last axis holds probabilities, of one thing or of a sequence."""
    return all(
        a.dtype.kind == "f"
        and a.ndim >= 2
        and a.shape[-1] > 1
        and (a >= 0).all()
        and np.allclose(a.sum(-1), 1, atol=1e-3)
        for a in arrays
    )


def _log_rows(arrays: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """Log-probabilities (rows, classes) of scores or of probabilities."""
    rows = np.concatenate([a.reshape(-1, a.shape[-1]) for a in arrays]).astype(np.float64)
    return log_softmax(np.log(np.maximum(rows, _LEAST)) if _distributions([rows]) else rows)


def _noise(reference: Sequence[NDArray[Any]], other: Sequence[NDArray[Any]]) -> float:
    """Energy of the error over the signal's."""
    error = sum(float(((a.astype(np.float64) - b) ** 2).sum()) for a, b in zip(reference, other, strict=True))
    signal = sum(float((a.astype(np.float64) ** 2).sum()) for a in reference)
    return error / max(signal, 1e-30)
