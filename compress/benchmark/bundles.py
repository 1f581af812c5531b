"""Bundles measured as they are, without a run around them: what `compress measure` does on each device."""

from dataclasses import dataclass
from pathlib import Path

from edge_runtime import edge_protocol
from edge_runtime.edge_bench import BusyError, held, subjects_of
from edge_runtime.edge_protocol import PROFILES, Job
from edge_runtime.errors import EdgeError, InputError

from compress.benchmark.latency import Document, Progress
from compress.errors import CompressError, MeasureError, UsageError


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be measured, the same on every device."""

    bundle: Path
    other: Path | None = None
    engine: str | None = None
    profile: str = "default"
    threads: int = 1
    batch: int = 32
    seed: int = 0


class HeldError(MeasureError):
    """The device is being measured by somebody else."""

    exit_code = 3


def measure_here(wish: Wish, progress: Progress) -> Document:
    """Measure on this machine.

    Raises:
        UsageError: the bundles do not fit the wish.
        HeldError: somebody else measures here.
        MeasureError: a bundle was refused, or a process failed.
    """
    try:
        other = str(wish.other) if wish.other else None
        subjects, pairs = subjects_of(str(wish.bundle), other, wish.engine)
        job = Job(subjects, pairs, PROFILES[wish.profile], wish.threads, batch=wish.batch, seed=wish.seed)
        with held(f"compress measure {wish.bundle}"):
            return edge_protocol.measure(job, progress)
    except EdgeError as error:
        raise in_our_words(error) from error


def in_our_words(error: EdgeError) -> CompressError:
    """edge_runtime's error as ours: the same text, and the exit code that its kind deserves."""
    kind = HeldError if isinstance(error, BusyError) else UsageError if isinstance(error, InputError) else MeasureError
    return kind(error.what, error.where, error.fix)
