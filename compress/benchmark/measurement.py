"""measurement.json: what `compress measure` found on each device, and why one is missing."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge_runtime.edge_bench import lines

from compress.benchmark.estimate import Watts, with_estimates
from compress.errors import CompressError, UsageError

FORMAT, VERSION = "compress.measurement", 1
EDGE_FORMAT, EDGE_VERSION = "edge-bench", 1
_KEYS = {"label", "host", "models", "pairs", "events", "void", "threads", "cores", "profile", "started", "seconds"}


@dataclass(frozen=True, slots=True)
class Measurement:
    """documents: by device, what edge_runtime.edge_protocol.measure returned. failures: device -> what, where, fix."""

    bundle: str
    other: str | None
    documents: Mapping[str, dict[str, Any]]
    failures: Mapping[str, str] = field(default_factory=dict)
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @classmethod
    def of(
        cls,
        bundle: Path,
        other: Path | None,
        documents: Mapping[str, dict[str, Any]],
        failures: Mapping[str, CompressError],
        watts: Watts | None,
    ) -> "Measurement":
        """From what the devices gave; watts: estimate energy where none was measured."""
        found = {k: with_estimates(d, watts) if watts else d for k, d in documents.items()}
        return cls(str(bundle), str(other) if other else None, found, {k: str(e) for k, e in failures.items()})

    def to_json(self) -> dict[str, Any]:
        """Plain data for measurement.json."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "started": self.started,
            "bundle": self.bundle,
            "other": self.other,
            "devices": dict(self.documents),
            "failures": dict(self.failures),
        }

    def text(self) -> str:
        """The same as text."""
        return json.dumps(self.to_json(), indent=1) + "\n"


def render(found: Measurement) -> str:
    """For a terminal: one device after the other."""
    parts = []
    for name, document in found.documents.items():
        head = f"{name}: " if len(found.documents) > 1 else ""
        parts.append("\n".join([head + lines(document)[0], *lines(document)[1:]]))
    return "\n\n".join(parts)


def read_document(path: Path) -> dict[str, Any]:
    """A device's result file, as `edge-bench --out` wrote it.

    Raises:
        UsageError: it is missing, cut short, or of another format or version.
    """
    fix = "fetch it again, or run edge-bench on the device again"
    try:
        doc = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise UsageError("there is no such file", str(path), fix) from error
    except (OSError, ValueError) as error:
        raise UsageError(f"it cannot be read, it may have been cut short: {error}", str(path), fix) from error
    if not isinstance(doc, dict) or doc.get("format") != EDGE_FORMAT:
        raise UsageError("it is no result of edge-bench", str(path), fix)
    if doc.get("version") != EDGE_VERSION:
        what = f"it is of version {doc.get('version')!r}, this compress reads {EDGE_VERSION}"
        raise UsageError(what, str(path), "use the same version of edge_runtime on the device as here")
    if missing := sorted(_KEYS - set(doc)):
        raise UsageError(f"it lacks {', '.join(missing)}", str(path), fix)
    return doc
