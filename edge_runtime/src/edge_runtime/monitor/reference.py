"""Where a monitor's reference comes from: a bundle's folder, a loaded model, or Statistics themselves."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.errors import InputError
from edge_runtime.files import read_checked
from edge_runtime.manifest import read_manifest
from edge_runtime.model import Model
from edge_runtime.statistics import Statistics

if TYPE_CHECKING:
    from edge_runtime.kinds import AnyPreprocessing
    from edge_runtime.manifest import Manifest


@dataclass(frozen=True)
class Reference:
    """What a monitor knows about its model. statistics: None where the bundle brings none: nothing is compared then."""

    name: str = ""
    labels: tuple[str, ...] = ()
    statistics: Statistics | None = None
    preprocessing: AnyPreprocessing | None = None

    @property
    def classifies(self) -> bool:
        """Whether answers are classes rather than numbers."""
        return bool(self.labels or (self.statistics and self.statistics.class_counts))


def open_reference(source: str | os.PathLike[str] | Statistics | Model) -> Reference:
    """The reference that a monitor is given.

    Raises:
        BundleError: the bundle or its statistics are damaged.
        InputError: it is nothing of the kind.
    """
    if isinstance(source, Statistics):
        return Reference(statistics=source)
    if isinstance(source, Model):
        return _of_bundle(source.folder, source.manifest)
    if isinstance(source, (str, os.PathLike)):
        return _of_bundle(Path(source), read_manifest(Path(source)))
    fix = "pass the bundle's folder, a loaded model, or edge_runtime.Statistics"
    raise InputError(f"got {type(source).__name__}", "monitor", fix)


def _of_bundle(folder: Path, manifest: Manifest) -> Reference:
    path = manifest.reference_statistics
    statistics = None
    if path:
        statistics = Statistics.from_bytes(read_checked(folder, path, manifest.files[path]), str(folder / path))
    return Reference(manifest.name, manifest.labels, statistics, manifest.preprocessing)
