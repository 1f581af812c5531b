"""What is to be measured, and how much work that is: as data that travels to a device as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.edge_host import usable_cores
from edge_runtime.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Sequence


class MeasureError(EdgeError):
    """No number can be given that deserves trust."""


@dataclass(frozen=True)
class Profile:
    """How much work a measurement is.

    processes: fresh ones a pair. Each warms up for warmup_s and 20 runs, then times every model for `seconds` and
    min_runs runs, but takes at most three times that. starts: processes for start-up and memory, each model.
    throughput_s: of one process for throughput; 0 leaves it out. windows, window_s, idle_s: of energy, with a meter.
    """

    processes: int
    seconds: float
    warmup_s: float
    min_runs: int
    starts: int
    throughput_s: float
    windows: int = 5
    window_s: float = 60.0
    idle_s: float = 30.0


PROFILES = {
    "smoke": Profile(2, 0.1, 0.05, 5, starts=1, throughput_s=0.0, windows=2, window_s=0.3, idle_s=0.3),
    "quick": Profile(3, 1.0, 0.3, 20, starts=1, throughput_s=0.5, windows=3, window_s=5.0, idle_s=3.0),
    "default": Profile(5, 10.0, 5.0, 100, starts=3, throughput_s=5.0, windows=5, window_s=60.0, idle_s=30.0),
}


@dataclass(frozen=True)
class Subject:
    """One model file of a bundle. engine: "onnx" or "tflite"; None takes the first that is installed."""

    name: str
    bundle: str
    engine: str | None = None


@dataclass(frozen=True)
class Job:
    """A measurement. pairs: (reference, this) by name, timed beside each other; a model in no pair is timed alone.

    cores: to pin to; None chooses the best `threads` ones. batch: of the throughput run. energy: which meter, as
    edge_meters.open_meter wants it. operators: time each one too.
    """

    subjects: tuple[Subject, ...]
    pairs: tuple[tuple[str, str], ...] = ()
    profile: Profile = PROFILES["default"]
    threads: int = 1
    cores: tuple[int, ...] | None = None
    batch: int = 32
    energy: str = "none"
    operators: bool = False
    emulated: bool = False
    seed: int = 0


def read_job(path: Path) -> Job:
    """A job from its JSON form, `asdict` of it; bundle paths are relative to the file's folder.

    Raises:
        MeasureError: it is no job.
    """
    try:
        doc = json.loads(path.read_text())
        subjects = tuple(Subject(s["name"], str((path.parent / s["bundle"]).resolve()), s["engine"])
                         for s in doc.pop("subjects"))  # fmt: skip
        pairs = tuple((a, b) for a, b in doc.pop("pairs"))
        cores = doc.pop("cores")
        return Job(subjects, pairs, Profile(**doc.pop("profile")), cores=cores and tuple(cores), **doc)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MeasureError(
            f"this is no job: {error}", str(path), "use the same compress here and on the device"
        ) from error


def check_threads(threads: int, cores: Sequence[int] | None = None) -> None:
    """Whether this machine can time so many; worth asking before hours of training.

    Raises:
        MeasureError: more threads than cores, or cores that this process may not use.
    """
    usable = usable_cores()
    if cores is not None and not set(cores) <= set(usable):
        what = f"cores {', '.join(map(str, sorted(set(cores) - set(usable))))} are not this process's to use"
        raise MeasureError(what, "measure.cores", f"choose from {', '.join(map(str, usable))}")
    count = len(usable if cores is None else cores)
    if not 1 <= threads <= count:
        what = f"{threads} threads asked for, {count} cores to run on"
        fix = f"give 1 to {count}: threads that share a core measure the scheduler"
        raise MeasureError(what, "measure.threads", fix)
