"""compare.json: two or more exported files against the first of them, as `compress compare` found them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from compress.comparison import Comparison, Part
from compress.documents import read_document
from compress.result import Artefact, Energy, Latency

FORMAT, VERSION = "compress.compare", 1


class Side(Part):
    """One file under comparison. name: what tables call it, unique. run: name of its recipe; seed, versions, host: of
    the run that made it. training_seconds: of the steps that led to it.
    """

    name: str
    run: str
    seed: int
    versions: dict[str, str]
    host: dict[str, Any]
    training_seconds: float
    artefact: Artefact

    @property
    def latency(self) -> Latency | None:
        """Its first measurement."""
        return self.artefact.latency[0] if self.artefact.latency else None

    @property
    def metered(self) -> Latency | None:
        """Its first measurement with a meter, on whatever device that was."""
        return next((found for found in self.artefact.latency if found.metered), None)

    @property
    def energy(self) -> Energy | None:
        """What a meter measured; None where none did."""
        return self.metered.metered if self.metered else None

    @property
    def top1(self) -> float | None:
        """Accuracy on the test split."""
        return next((a.top1 for a in self.artefact.accuracy if a.split == "test"), None)


class Versus(Part):
    """Sides, the reference first; one comparison for every other side. notes: what was not compared, and why."""

    format: Literal["compress.compare"] = "compress.compare"
    version: Literal[1] = 1
    data: str
    fingerprint: str
    sides: tuple[Side, ...]
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...] = ()


def unlike(a: Side, b: Side) -> str:
    """Why the latencies of two sides cannot stand side by side, in words; empty where they can."""
    if a.latency is None or b.latency is None:
        return f"{(a if a.latency is None else b).name} was not measured"
    return _another(a, b, a.latency, b.latency, ("device", "threads", "batch", "label"))


def energy_unlike(a: Side, b: Side) -> str:
    """Why the energies of two sides cannot stand side by side, in words; empty where they can."""
    if a.energy is None or b.energy is None:
        return f"{(a if a.energy is None else b).name} has none measured"
    return _another(a, b, a.energy, b.energy, ("meter", "scope")) or _another(
        a, b, a.metered, b.metered, ("device", "threads", "batch")
    )


def _another(a: Side, b: Side, x: object, y: object, facts: Iterable[str]) -> str:
    """The first fact of the machines, then of x and y, that differs, in words."""
    for fact in ("cpu", "cores", "machine"):
        if a.host.get(fact) != b.host.get(fact):
            return f"another machine ({fact} {a.host.get(fact)} against {b.host.get(fact)})"
    for fact in facts:
        if getattr(x, fact) != getattr(y, fact):
            return f"another {fact} ({getattr(x, fact)} against {getattr(y, fact)})"
    return ""


def save_versus(path: Path, versus: Versus) -> None:
    """Write compare.json."""
    path.write_text(json.dumps(versus.model_dump(mode="json"), indent=1) + "\n")


def load_versus(path: Path) -> Versus:
    """Read compare.json back.

    Raises:
        UsageError: it is missing, damaged, or of another version.
    """
    fix = "run compress compare again"
    return read_document(path, Versus, format=FORMAT, version=VERSION, called="comparison", fix=fix)
