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
    def energy(self) -> Energy | None:
        """What a meter measured; None where none did. Estimates are never ranked."""
        found = self.latency.energy if self.latency else None
        return found if found and found.label == "measured" and found.total_mj is not None else None

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
    for fact in ("cpu", "cores", "machine"):
        if a.host.get(fact) != b.host.get(fact):
            return f"another machine ({fact} {a.host.get(fact)} against {b.host.get(fact)})"
    x, y = a.latency, b.latency
    if x is None or y is None:
        return f"{(a if x is None else b).name} was not measured"
    for fact in ("device", "threads", "batch", "label"):
        if getattr(x, fact) != getattr(y, fact):
            return f"another {fact} ({getattr(x, fact)} against {getattr(y, fact)})"
    return ""


def energy_unlike(a: Side, b: Side) -> str:
    """Why the energies of two sides cannot stand side by side, in words; empty where they can."""
    if a.energy is None or b.energy is None:
        return f"{(a if a.energy is None else b).name} has none measured"
    for fact in ("meter", "scope"):
        if getattr(a.energy, fact) != getattr(b.energy, fact):
            return f"another {fact} ({getattr(a.energy, fact)} against {getattr(b.energy, fact)})"
    return unlike(a, b)


def no_energy(sides: Iterable[Side]) -> str:
    """A sentence where no side has measured energy, with the reason that was given; else nothing."""
    found = list(sides)
    if any(s.energy for s in found):
        return ""
    told = [s.latency.energy.reason for s in found if s.latency and s.latency.energy and s.latency.energy.reason]
    return f"Energy: none measured{f' ({told[0]})' if told else ''}."


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
