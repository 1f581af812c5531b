"""From what a user names to what is compared: a run folder, one artefact of it, and what that file predicted."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.errors import DataError, UsageError
from compress.result import Artefact, Result, load_result


@dataclass(frozen=True, slots=True)
class Found:
    """A side as it was found on disk. folder: of the run."""

    folder: Path
    result: Result
    artefact: Artefact

    @property
    def bundle(self) -> Path:
        """The artefact's own bundle folder."""
        return self.folder / "artefacts" / self.artefact.id

    def logits(self) -> NDArray[np.float32]:
        """What it predicted on the test split, checked against what its result claims.

        Raises:
            DataError: the predictions are missing, or are not those that the result was computed from.
        """
        path = self.folder / "predictions" / f"{self.artefact.id}.npy"
        logits = _array(path)
        claimed = next((a.predictions_sha256 for a in self.artefact.accuracy if a.split == "test"), "")
        if logits.ndim != 2 or hashlib.sha256(logits.argmax(axis=1).astype("<i4").tobytes()).hexdigest() != claimed:
            what = "these predictions are not those that result.json was computed from"
            raise DataError(what, str(path), "run the recipe again; finished steps are in the cache")
        return logits.astype(np.float32, copy=False)

    def labels(self) -> NDArray[np.int64]:
        """The truth of the test split, (n,)."""
        return _array(self.folder / "predictions" / "labels.npy").astype(np.int64, copy=False)


def find(text: str) -> Found:
    """A run folder (its shipped file), `RUN:ARTEFACT`, or the folder of an artefact or bundle inside a run.

    Raises:
        UsageError: there is no such run or artefact.
    """
    name, _, identity = text.rpartition(":")
    if name and identity and not Path(text).exists():
        return _of(Path(name), identity)
    path = Path(text)
    if path.name == "result.json":
        path = path.parent
    if (path / "result.json").is_file():
        return _of(path, None)
    if path.name == "bundle" and (path.parent / "result.json").is_file():
        return _of(path.parent, None)
    if path.parent.name == "artefacts" and (path.parent.parent / "result.json").is_file():
        return _of(path.parent.parent, path.name)
    what = "there is no result.json" if path.exists() else "there is no such folder"
    raise UsageError(what, text, "give a run folder, RUN:ARTEFACT, or a folder under RUN/artefacts")


def _of(folder: Path, identity: str | None) -> Found:
    result = load_result(folder / "result.json")
    wanted = identity or result.shipped
    for artefact in result.artefacts:
        if artefact.id == wanted:
            return Found(folder, result, artefact)
    have = ", ".join(a.id for a in result.artefacts)
    raise UsageError(f"the run has no artefact {wanted!r}", str(folder), f"one of {have}")


def _array(path: Path) -> NDArray[Any]:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        what = f"the predictions cannot be read: {error}"
        raise DataError(what, str(path), "run the recipe again; finished steps are in the cache") from error
