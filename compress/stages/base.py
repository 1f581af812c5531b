"""What a stage is, and the one place that calls it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from compress.data.dataset import Dataset
from compress.errors import StageError
from compress.model.model import Model


class Progress(Protocol):
    """Told how far a long piece of work has come; `total` counts the same unit as `done`."""

    def __call__(self, done: float, total: float, note: str = "") -> None:
        """Now `done` of `total`; note: a few words on what is under way."""


def silent(done: float, total: float, note: str = "") -> None:
    """A Progress that shows nothing."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a stage may use besides model and config. No clock, no environment, no global.

    data: the splits; a stage trains on `train`, selects on `validation`, calibrates on `calibration`, and never
        opens `test` (the runner hands it a Dataset whose test split is empty).
    teacher: the model to learn from, or None.
    workdir: where a stage may keep what it needs to resume; removed once it has finished.
    """

    seed: int
    data: Dataset
    teacher: Model | None = None
    workdir: Path | None = None
    progress: Progress = silent


@dataclass(frozen=True, slots=True)
class StageResult:
    """model: the new model. kept: layer -> reason it was left alone. metrics: plain numbers and lists, for the record.

    changed: whether the stage claims to have done something; the runner checks the claim.
    """

    model: Model
    changed: bool
    kept: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)


Stage = Callable[[Model, Any, Context], StageResult]


def run_stage(stage: Stage, model: Model, config: Any, context: Context, *, where: str) -> StageResult:
    """Call a stage and hold it to its contract.

    Raises:
        StageError: it changed its input, misreported `changed`, changed nothing, gave another output shape, named a
            layer in `kept` that does not exist, or made a non-finite value.
    """
    before = model.digest()
    result = stage(model, config, context)
    if model.digest() != before:
        raise StageError("it modified its input", where, "stage author: copy before writing")
    if result.changed != (result.model.digest() != before):
        raise StageError(f"it reports changed={result.changed}, which is not so", where, "stage author: set changed")
    if not result.changed:
        reasons = "; ".join(f"{k}: {v}" for k, v in list(result.kept.items())[:5]) or "no reason was given"
        raise StageError(f"it changed nothing ({reasons})", where, "leave the stage out, or choose other layers")
    if strangers := sorted(set(result.kept) - {n.name for n in (*model.graph, *result.model.graph)}):
        raise StageError(f"it explains layers that do not exist: {strangers}", where, "stage author: use node names")
    if bad := sorted(k for k, a in result.model.weights.items() if not np.isfinite(a).all()):
        fix = "lower the learning rate or check the input model"
        raise StageError(f"non-finite values in {', '.join(bad[:5])}", where, fix)
    return result
