"""From logits to evidence: accuracy of every file, paired with the teacher's, and the parity ledger. No torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.evaluate.ledger import hop
from compress.evaluate.metrics import accuracy
from compress.evaluate.paired import compare
from compress.result import Accuracy, Hop, Paired
from compress.run.exports import ArtefactPlan

SPLITS = ("validation", "test")
VERSION = 1  # of the comparisons: raise it when the same logits give other rows
Logits = NDArray[np.float32]

# How far an exported file may stray from the model it was written from, by the file's arithmetic. Differences are in
# standard deviations of the reference logits.
_TOLERANCES: dict[str, dict[str, float]] = {
    # Float kernels add up in another order; 1e-3 leaves 100 times what was ever seen.
    "float32": {"agreement": 1.0, "largest_difference": 1e-3},
    # Half precision keeps 11 bits of each weight: errors of 5e-4 a layer add up over some tens of layers.
    "float16": {"agreement": 0.995, "largest_difference": 0.05},
    # Engines round the products' sums by other rules than the simulation: a step on each layer's grid, here and there.
    "int8": {"agreement": 0.995, "accuracy_points": 0.5},
    # Ranges are found anew for each example, which the simulation does not model.
    "dynamic-int8": {"agreement": 0.98, "accuracy_points": 1.0},
}


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


def tolerance(precision: str, count: int) -> dict[str, float]:
    """The conversion tolerance for `count` examples: agreement always lets one example fall on a tie's other side."""
    out = dict(_TOLERANCES[precision])
    out["agreement"] = min(out["agreement"], 1.0 - 1.0 / max(count, 1))
    return out


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
    for before, after in zip(steps, steps[1:], strict=False):
        source, target = simulated[before]["test"], simulated[after]["test"]
        ledger.append(hop(f"{before} to {after}", "training", before, after, source, target, y, {}))
    for plan, precision in artefacts:
        reference = plan.id if plan.id in simulated else plan.step
        source, target = simulated[reference]["test"], exported[plan.id]["test"]
        allowed = tolerance(precision, len(y))
        ledger.append(hop(f"{plan.step} to {plan.id}", "conversion", plan.step, plan.id, source, target, y, allowed))
    order = {step: i for i, step in enumerate(steps)}
    ledger.sort(key=lambda h: (order.get(h.target, order.get(h.source, 0)), h.kind == "conversion"))
    return Evidence(accuracies, paired, tuple(ledger))
