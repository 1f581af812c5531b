"""From logits to evidence: accuracy of every file, paired with the teacher's, and the parity ledger. No torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.comparison import Paired
from compress.evaluate.ledger import TOLERANCES, hop
from compress.evaluate.metrics import accuracy
from compress.evaluate.paired import compare
from compress.result import Accuracy, Hop
from compress.run.exports import ArtefactPlan

SPLITS = ("validation", "test")
VERSION = 1  # of the comparisons: raise it when the same logits give other rows
Logits = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Rows for result.json."""

    accuracy: Mapping[str, tuple[Accuracy, ...]]
    paired: Mapping[str, Paired]
    ledger: tuple[Hop, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data, the inverse of from_json."""
        return {
            "accuracy": {k: [a.model_dump(mode="json") for a in v] for k, v in self.accuracy.items()},
            "paired": {k: v.model_dump(mode="json") for k, v in self.paired.items()},
            "ledger": [h.model_dump(mode="json") for h in self.ledger],
        }

    @staticmethod
    def from_json(doc: Mapping[str, Any]) -> "Evidence":
        """Rebuild from to_json's data."""
        return Evidence(
            {k: tuple(Accuracy.model_validate(a) for a in v) for k, v in doc["accuracy"].items()},
            {k: Paired.model_validate(v) for k, v in doc["paired"].items()},
            tuple(Hop.model_validate(h) for h in doc["ledger"]),
        )


def gather(
    steps: Sequence[str],
    artefacts: Sequence[tuple[ArtefactPlan, str]],
    simulated: Mapping[str, Mapping[str, Logits]],
    exported: Mapping[str, Mapping[str, Logits]],
    labels: Mapping[str, NDArray[np.int64]],
    classes: Sequence[str],
    seed: int,
) -> Evidence:
    """All rows of a run.

    steps: in order, the teacher first. artefacts: with their precision, the teacher's first.
    simulated: what each model said in torch, by step; for a float twin by artefact id. exported: what each file said.
    """
    teacher = artefacts[0][0].id
    y = labels["test"]
    accuracies = {
        a.id: tuple(accuracy(exported[a.id][s], labels[s], classes, s) for s in SPLITS)  # type: ignore[arg-type]
        for a, _ in artefacts
    }
    paired = {a.id: compare(exported[teacher]["test"], exported[a.id]["test"], y, seed) for a, _ in artefacts[1:]}
    ledger: list[Hop] = []
    for before, after in pairwise(steps):
        source, target = simulated[before]["test"], simulated[after]["test"]
        ledger.append(hop(f"{before} to {after}", "training", before, after, source, target, y, {}))
    for plan, precision in artefacts:
        reference = plan.id if plan.id in simulated else plan.step
        source, target = simulated[reference]["test"], exported[plan.id]["test"]
        ledger.append(
            hop(f"{plan.step} to {plan.id}", "conversion", plan.step, plan.id, source, target, y, TOLERANCES[precision])
        )
    order = {step: i for i, step in enumerate(steps)}
    ledger.sort(key=lambda h: (order.get(h.target, order.get(h.source, 0)), h.kind == "conversion"))
    return Evidence(accuracies, paired, tuple(ledger))
