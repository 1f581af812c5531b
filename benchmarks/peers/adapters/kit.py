"""What every adapter needs: its job, the examples, and a way to say what it made.

Adapters run in their tool's own environment, so nothing of compress is imported here; numpy is in all of them.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Job:
    """One call of one tool. All examples are single: shape (1, ...), token ids without padding beyond their bucket.

    variant: which of the tool's routes. onnx, tflite, torch: the same float model, torch as a torch.export program.
    calibration, validation: .npz; test data an adapter never sees.
    """

    variant: str
    out: Path
    onnx: Path
    tflite: Path
    torch: Path
    calibration: Path
    validation: Path
    input: str
    text: bool


def read_job() -> Job:
    """The job whose JSON file is the first argument."""
    doc = json.loads(Path(sys.argv[1]).read_text())
    paths = ("out", "onnx", "tflite", "torch", "calibration", "validation")
    return Job(**{k: Path(v) if k in paths else v for k, v in doc.items()})


def examples(path: Path) -> list[np.ndarray]:
    """Model inputs of a split, one example each."""
    with np.load(path) as data:
        x, lengths = data["x"], data.get("lengths")
    return [x[i : i + 1] if lengths is None else x[i : i + 1, : lengths[i]] for i in range(len(x))]


def labels(path: Path) -> np.ndarray:
    with np.load(path) as data:
        return data["y"]


def done(job: Job, file: Path, engine: str, packages: tuple[str, ...], began: float, **facts: Any) -> None:
    """Write what was made. engine: onnx, tflite, or torch for what only torch.compile runs."""
    doc = {"file": str(file), "engine": engine, "seconds": round(time.monotonic() - began, 1),
           "packages": {p: metadata.version(p) for p in packages}, **facts}  # fmt: skip
    (job.out / "facts.json").write_text(json.dumps(doc, indent=1) + "\n")
