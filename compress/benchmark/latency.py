"""Latency of bundles on this machine: fresh processes, interleaved with the reference, raw samples kept.

The protocol, and why each rule:

* Every artefact is timed against the reference, two at a time: a third model in the process would change the caches
  and the number would depend on what else a run exported.
* Blocks of about 20 ms alternate in random order inside one process, because the same code timed in two processes
  differs by up to 20 % while neighbouring blocks see the same machine. The ratio comes from neighbours only.
* Several fresh processes, because memory layout differs from one to the next and no number of blocks averages it out.
* Pinned to as many cores as there are threads; the engine gets exactly that many threads.
* With one thread ONNX Runtime has no pool. With more, its idle threads go on spinning after a run and would slow down
  the other model's blocks: a rest before each block lets them fall asleep.
* Start-up and memory are taken in processes of their own that hold one bundle alone.
"""

import base64
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.benchmark.host import busy_cores, choose_cores, throttle_count, throttled, usable_cores
from compress.benchmark.ratio import paired_ratio
from compress.errors import MeasureError, UsageError
from compress.result import Latency

BLOCK_MS = 20.0
POOL_BLOCK_MS, POOL_REST_S, POOL_STRETCH = 50.0, 0.1, 2  # stretch: rests take most of the time
SPREAD_LIMIT = 0.10
FEW_RUNS = 100
BUSY_LIMIT = 0.3  # cores; what a quiet desktop takes stays below

Progress = Callable[[float, float, str], None]


@dataclass(frozen=True, slots=True)
class Profile:
    """How much work a measurement is.

    processes: fresh ones for each artefact, each timing for `seconds` (reference included) and until every model had
    min_runs runs, but never longer than three times that. starts: processes for start-up and memory, each artefact.
    """

    processes: int
    seconds: float
    warmup_s: float
    min_runs: int
    starts: int


PROFILES = {
    "smoke": Profile(processes=2, seconds=0.2, warmup_s=0.05, min_runs=5, starts=1),
    "quick": Profile(processes=3, seconds=1.8, warmup_s=0.2, min_runs=20, starts=1),
    "default": Profile(processes=5, seconds=10.0, warmup_s=5.0, min_runs=100, starts=3),
}


def measure(
    bundles: Mapping[str, str | Path],
    reference: str,
    example: NDArray[np.generic],
    *,
    threads: int = 1,
    profile: str = "quick",
    device: str = "cpu",
    progress: Progress = lambda done, total, note: None,
    seed: int = 0,
) -> dict[str, Latency]:
    """Time every bundle with one raw example, each against bundles[reference].

    bundles: id -> bundle folder. Returns id -> Latency in the same order; the reference's own has no ratio and holds
    its blocks from every process. p50_ms is the median of all blocks, p90_ms the median over processes of the 90th
    percentile of single runs.

    Raises:
        UsageError: an unknown reference, profile or device.
        MeasureError: more threads than cores, or a worker that failed or hung.
    """
    chosen = _check(bundles, reference, threads, profile, device)
    return Bench({k: Path(v) for k, v in bundles.items()}, reference, example, threads, chosen, seed, progress).run()


def _check(bundles: Mapping[str, Any], reference: str, threads: int, profile: str, device: str) -> Profile:
    if device != "cpu":
        raise UsageError(f"device {device!r} cannot be measured by this version", "measure.devices", "use cpu")
    if profile not in PROFILES:
        raise UsageError(f"{profile!r} is no profile", "measure.profile", f"one of {', '.join(PROFILES)}")
    if reference not in bundles:
        raise UsageError(
            f"the reference {reference!r} is not among the bundles", "measure", f"one of {sorted(bundles)}"
        )
    check_threads(threads)
    return PROFILES[profile]


def check_threads(threads: int) -> None:
    """Whether this machine can time so many; worth asking before hours of training.

    Raises:
        MeasureError: more threads than cores.
    """
    cores = len(usable_cores())
    if not 1 <= threads <= cores:
        what = f"{threads} threads asked for, {cores} cores to run on"
        raise MeasureError(
            what, "measure.threads", f"give 1 to {cores}: threads that share a core measure the scheduler"
        )


class Bench:
    """One measurement under way; `run` does all of it."""

    def __init__(
        self,
        bundles: Mapping[str, Path],
        reference: str,
        example: NDArray[np.generic],
        threads: int,
        profile: Profile,
        seed: int,
        progress: Progress,
    ) -> None:
        self.bundles, self.reference, self.example = bundles, reference, encode(example)
        self.threads, self.profile, self.seed, self.progress = threads, profile, seed, progress
        self.cores = choose_cores(threads)
        self.done = 0.0

    def run(self) -> dict[str, Latency]:
        """Time all pairs, process by process so that each artefact's processes are spread over the whole time."""
        profile, others = self.profile, [k for k in self.bundles if k != self.reference]
        pairs = [[self.reference, k] for k in others] or [[self.reference]]
        self.total = (
            profile.processes * len(pairs) * (profile.seconds + profile.warmup_s) + len(self.bundles) * profile.starts
        )
        before = machine_state()
        timed: dict[str, list[list[dict[str, Any]]]] = {"+".join(p): [] for p in pairs}
        for process in range(profile.processes):
            for number, pair in enumerate(pairs):
                note = f"{pair[-1]}, process {process + 1} of {profile.processes}"
                found = self._time(pair, self.seed + process * len(pairs) + number, note)
                timed["+".join(pair)].append([found[name] for name in pair])
        starts = {k: [self._start(k) for _ in range(profile.starts)] for k in self.bundles}
        disturbed = disturbances(before, machine_state(), len(self.cores), self.threads)
        out = {}
        for name in self.bundles:
            if name == self.reference:  # from every process, in the order of pairs
                mine, beside = [two[0] for rows in timed.values() for two in rows], None
            else:
                rows = timed[f"{self.reference}+{name}"]
                mine, beside = [two[1] for two in rows], [two[0]["blocks_ms"] for two in rows]
            out[name] = summary(mine, beside, starts[name], self.threads, disturbed, self.seed)
        return out

    def _time(self, names: list[str], seed: int, note: str) -> dict[str, Any]:
        profile, pool = self.profile, self.threads > 1
        seconds = profile.seconds * (POOL_STRETCH if pool else 1)
        timing = {
            "seconds": seconds,
            "warmup_s": profile.warmup_s,
            "block_ms": POOL_BLOCK_MS if pool else BLOCK_MS,
            "rest_s": POOL_REST_S if pool else 0.0,
            "min_runs": profile.min_runs,
            "max_seconds": 3 * seconds,
        }
        limit_s = 60 + 2 * (3 * seconds + profile.warmup_s)
        found = self._ask("time", names, limit_s, seed=seed, timing=timing)
        self._advance(profile.seconds + profile.warmup_s, note)
        return found

    def _start(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._ask("start", [name], 60.0)[name]
        self._advance(1.0, f"{name}, start-up and memory")
        return found

    def _ask(self, kind: str, names: Sequence[str], limit_s: float, **more: Any) -> dict[str, Any]:
        folders = [[name, str(self.bundles[name])] for name in names]
        job = {"kind": kind, "bundles": folders, "example": self.example, "threads": self.threads, "cores": self.cores}
        return ask_worker({**job, **more}, limit_s)

    def _advance(self, work: float, note: str) -> None:
        self.done += work
        self.progress(self.done, self.total, note)


def ask_worker(job: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
    """Run one job in a fresh process and return its answer by bundle id.

    Raises:
        MeasureError: the bundle was refused (with edge_runtime's own words), or the process died or hung.
    """
    where = f"benchmark of {' and '.join(name for name, _ in job['bundles'])}"
    roots = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    threads = str(job["threads"])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, roots)), "OMP_NUM_THREADS": threads}
    command = [
        sys.executable,
        "-P",
        "-m",
        "compress.benchmark.worker",
    ]  # -P: a random.py in the user's folder stays out
    try:
        done = subprocess.run(  # noqa: S603
            command, input=json.dumps(job), capture_output=True, text=True, timeout=limit_s, env=env, check=False
        )
    except subprocess.TimeoutExpired as error:
        what = f"the benchmark process gave no answer in {limit_s:.0f} s{last_lines(error.stderr)}"
        raise MeasureError(what, where, "stop other work on this machine, or measure a smaller model") from error
    if done.returncode:
        how = f"died of signal {-done.returncode}" if done.returncode < 0 else f"ended with code {done.returncode}"
        what = f"the benchmark process {how}{last_lines(done.stderr)}"
        raise MeasureError(what, where, "`compress doctor` says whether the engines are well")
    answer = json.loads(done.stdout)
    if refused := answer.get("error"):
        raise MeasureError(f"{refused['what']} ({refused['where']})", where, refused["fix"])
    models: dict[str, Any] = answer["models"]
    return models


def last_lines(stderr: str | bytes | None, count: int = 5) -> str:
    """The end of what a process said before it failed, for an error message; empty if it said nothing."""
    text = stderr.decode(errors="replace") if isinstance(stderr, bytes) else stderr or ""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()][-count:]
    return "\n    ".join(["; it said last:", *lines]) if lines else ""


def encode(example: NDArray[np.generic]) -> dict[str, Any]:
    """An array as JSON data; `worker.decode` is the inverse."""
    data = base64.b64encode(np.ascontiguousarray(example).tobytes()).decode()
    return {"dtype": example.dtype.str, "shape": list(example.shape), "data": data}


@dataclass(frozen=True, slots=True)
class MachineState:
    """What may have spoilt a timing. None where this machine does not tell."""

    busy_cores: float | None
    throttle_count: int | None
    throttled: list[str] | None


def machine_state() -> MachineState:
    """The state at this moment."""
    return MachineState(busy_cores(), throttle_count(), throttled())


def disturbances(before: MachineState, after: MachineState, pinned: int, threads: int) -> list[str]:
    """Sentences on what happened to the machine between two states, both taken while none of our workers ran."""
    out = []
    cores = len(usable_cores())
    for state, moment in ((before, "before the measurement began"), (after, "at its end")):
        if state.busy_cores is not None and state.busy_cores > BUSY_LIMIT:
            out.append(f"other work took {state.busy_cores:.1f} of {cores} cores {moment}; stop it")
    if before.throttle_count is not None and (after.throttle_count or 0) > before.throttle_count:
        out.append("the CPU was slowed down for heat during the measurement")
    if held := sorted({*(before.throttled or ()), *(after.throttled or ())}):
        out.append(f"the board reports {', '.join(held)}: the timings are void")
    if pinned < threads or not hasattr(os, "sched_setaffinity"):
        out.append("the processes could not be pinned to cores")
    return out


def summary(
    processes: Sequence[Mapping[str, Any]],
    beside: Sequence[Sequence[float]] | None,
    starts: Sequence[Mapping[str, Any]],
    threads: int,
    disturbed: Sequence[str],
    seed: int,
) -> Latency:
    """One artefact's Latency from its workers' answers. beside: the reference's blocks of the same processes."""
    blocks = [tuple(p["blocks_ms"]) for p in processes]
    ratio, interval = paired_ratio(beside, blocks, seed) if beside is not None else (None, None)
    memory = [s["peak_memory_bytes"] for s in starts if s["peak_memory_bytes"] is not None]
    return Latency(
        device="cpu",
        engine=processes[0]["engine"],
        threads=threads,
        batch=1,
        label="measured",
        processes_ms=tuple(blocks),
        reference_ms=tuple(tuple(b) for b in beside or ()),
        p50_ms=statistics.median(b for process in blocks for b in process),
        p90_ms=statistics.median(p["p90_ms"] for p in processes),
        ratio=ratio,
        ratio_ci95=interval,
        load_ms=statistics.median(s["load_ms"] for s in starts),
        first_ms=statistics.median(s["first_ms"] for s in starts),
        peak_memory_bytes=max(memory) if memory else None,
        warnings=(*spread_warnings(blocks, [p["runs"] for p in processes]), *disturbed),
    )


def spread_warnings(blocks: Sequence[Sequence[float]], runs: Sequence[int]) -> list[str]:
    """What the samples themselves say against the number."""
    out = []
    medians = [statistics.median(b) for b in blocks]
    spread = (max(medians) - min(medians)) / statistics.median(medians)
    if spread > SPREAD_LIMIT:
        want = f"{100 * SPREAD_LIMIT:.0f} % or less"
        out.append(f"process medians differ by {100 * spread:.0f} %, want {want}: trust the ratio only")
    if min(runs) < FEW_RUNS:
        out.append(f"only {min(runs)} runs in a process, want {FEW_RUNS} or more")
    return out
