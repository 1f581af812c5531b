"""The protocol of a measurement: fresh processes one after the other, two models at a time in interleaved blocks.

This is the only implementation: `compress` runs it here and on devices, `edge-bench` from the command line. The rules
and their reasons stand in docs/measuring.md. The work happens in the processes (edge_worker); this one only starts
them and watches the machine. The answer is a JSON document of raw samples, machine facts and events.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from edge_runtime import __version__, edge_stats
from edge_runtime.edge_energy import Sampler, account, resting, with_and_without
from edge_runtime.edge_events import Event, between
from edge_runtime.edge_host import choose_cores, host_facts, moment
from edge_runtime.edge_job import PROFILES, Job, MeasureError, Profile, Subject, check_threads, read_job
from edge_runtime.edge_meters import MeterError, Source, open_meter, why_none
from edge_runtime.errors import EdgeError, EngineError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_runtime.edge_host import Moment

__all__ = [
    "PROFILES", "Job", "MeasureError", "Profile", "Report", "Subject", "ask_worker", "check_threads", "last_lines",
    "measure", "read_job",
]  # fmt: skip

FORMAT, VERSION = "edge-bench", 1
BLOCK_MS = 20.0
POOL_BLOCK_MS, POOL_REST_S = 50.0, 0.1  # with more than one thread: idle pool threads spin for a while after a run
ANSWER_S = 60.0  # what a process may take beyond its timing, start and self-test included
EMULATED_SLOWER = 20  # times the patience for an emulated CPU

Report = Callable[[float, float, str], None]


def measure(job: Job, report: Report = lambda done, total, note: None) -> dict[str, Any]:
    """Do it all and return the document. report(done, total, note): progress in expected seconds.

    Raises:
        MeasureError: more threads than cores; a process that died or gave no answer.
        MeterError: the wanted meter is not there.
        EdgeError: every bundle was refused, or none has its engine here.
    """
    check_threads(job.threads, job.cores)
    meter = open_meter(job.energy)
    return _Bench(job, report, meter).run()


class _Bench:
    """One measurement under way."""

    def __init__(self, job: Job, report: Report, meter: Source | None) -> None:
        self.job, self.report, self.meter = job, report, meter
        self.cores = job.cores or choose_cores(job.threads)
        self.emulated = job.emulated or "QEMU_CPU" in os.environ
        self.models: dict[str, dict[str, Any]] = {}
        self.events: list[Event] = []
        self.moments: list[Moment] = []
        self.pairs: list[dict[str, Any]] = []
        self.done = self.total = 0.0

    def run(self) -> dict[str, Any]:
        """Self-tests first: a model that gives other answers here is not worth timing before somebody knows."""
        started, begun = datetime.now(timezone.utc).isoformat(timespec="seconds"), time.monotonic()
        host = host_facts()
        self._inspect()
        if not self.emulated:  # the clock of an emulated CPU says nothing about the CPU
            groups = self._groups()
            self.total = self._expected(groups)
            self._time(groups)
            self._starts()
            self._operators()
            self._energies()
        return {
            "format": FORMAT,
            "version": VERSION,
            "edge_runtime": __version__,
            "label": "emulated" if self.emulated else "measured",
            "started": started,
            "seconds": round(time.monotonic() - begun, 2),
            "profile": asdict(self.job.profile),
            "threads": self.job.threads,
            "cores": list(self.cores),
            "seed": self.job.seed,
            "host": host,
            "moments": [asdict(m) for m in self.moments],
            "models": {k: {**m, "summary": edge_stats.summarize(m)} for k, m in self.models.items()},
            "pairs": self.pairs,
            "events": [asdict(e) for e in self.events],
            "void": any(e.void for e in self.events),
        }

    def _groups(self) -> list[list[str]]:
        """What stands in one process together: two at a time, because a third would change the caches."""
        groups = [list(pair) for pair in self.job.pairs if all(name in self.models for name in pair)]
        return groups + [[name] for name in self.models if not any(name in g for g in groups)]

    def _expected(self, groups: list[list[str]]) -> float:
        profile = self.job.profile
        timing = sum(profile.warmup_s + profile.seconds * len(g) for g in groups) * profile.processes
        energy = profile.windows * profile.window_s + 2 * profile.idle_s if self.meter else 0.0
        return timing + len(self.models) * (profile.starts + 2 * profile.throughput_s + energy)

    def _inspect(self) -> None:
        """Raises EngineError if no model can be run here; one of several is left out, and an event says why."""
        missing = None
        for subject in self.job.subjects:
            try:
                facts = self._ask("inspect", [subject], ANSWER_S)[subject.name]
            except EngineError as error:
                missing = error
                self.events.append(Event("not-measured", f"{subject.name} is not measured: {error.what}"))
                continue
            self.models[subject.name] = {
                **facts,
                **{"threads": self.job.threads, "processes": [], "starts": [], "throughput": None},
                **{"operators": None, "energy": self._no_energy()},
            }
            if not facts["check"]["ok"]:
                text = f"{subject.name} gives other answers here than where it was made: {facts['check']['message']}"
                self.events.append(Event("wrong-output", text))
        if missing and not self.models:
            raise missing

    def _time(self, groups: list[list[str]]) -> None:
        """Process by process, so that each model's processes are spread over the whole time."""
        job, profile, pool = self.job, self.job.profile, self.job.threads > 1
        block_ms, rest_s = (POOL_BLOCK_MS, POOL_REST_S) if pool else (BLOCK_MS, 0.0)
        blocks: dict[int, list[dict[str, Any]]] = {i: [] for i in range(len(groups))}
        for process in range(profile.processes):
            for number, names in enumerate(groups):
                stretch = 3 * len(names) * (1 + 1e3 * rest_s / block_ms)
                timing = {"seconds": profile.seconds, "warmup_s": profile.warmup_s, "block_ms": block_ms,
                          "rest_s": rest_s, "min_runs": profile.min_runs,
                          "max_seconds": stretch * max(profile.seconds, profile.warmup_s)}  # fmt: skip
                note = f"{names[-1]}, process {process + 1} of {profile.processes}"
                chosen = [s for name in names for s in job.subjects if s.name == name]
                limit_s = ANSWER_S + 4 * timing["max_seconds"]
                seed = job.seed + process * len(groups) + number
                found = self._ask("time", chosen, limit_s, note, seed=seed, timing=timing)
                for name in names:
                    partner = next((n for n in names if n != name), None)
                    self.models[name]["processes"].append({**found[name], "beside": partner})
                blocks[number].append(found)
                self._advance(profile.warmup_s + profile.seconds * len(names), note)
        for number, names in enumerate(groups):
            if len(names) == 2:
                self.pairs.append(_pair(names[0], names[1], blocks[number]))

    def _starts(self) -> None:
        """Start-up, memory and throughput: processes that hold one model alone."""
        profile = self.job.profile
        for subject in (s for s in self.job.subjects if s.name in self.models):
            mine = self.models[subject.name]
            for _ in range(profile.starts):
                mine["starts"].append(self._ask("start", [subject], ANSWER_S)[subject.name])
                self._advance(1.0, f"{subject.name}, start-up and memory")
            if profile.throughput_s:
                limit_s = ANSWER_S + 10 * profile.throughput_s
                more: dict[str, Any] = {"seconds": profile.throughput_s, "batch": self.job.batch}
                mine["throughput"] = self._ask("throughput", [subject], limit_s, **more)[subject.name]
                self._advance(2 * profile.throughput_s, f"{subject.name}, throughput")

    def _operators(self) -> None:
        if self.job.operators:
            for subject in (s for s in self.job.subjects if s.name in self.models):
                self.models[subject.name]["operators"] = self._ask("operators", [subject], ANSWER_S)[subject.name]

    def _no_energy(self) -> dict[str, Any]:
        """What stands in energy's place until it is measured, if it ever is."""
        if self.emulated:
            return {"label": "none", "why": "an emulated CPU's energy is the host's"}
        return {"label": "none", "why": why_none() if self.job.energy == "auto" else "not asked for"}

    def _energies(self) -> None:
        """A meter that fails costs the energy figures and nothing else; a sentence says so."""
        if self.meter is None:
            return
        profile, meter = self.job.profile, self.meter
        windows: dict[str, Any] = {"windows": profile.windows, "window_s": profile.window_s, "idle_s": profile.idle_s,
                   "warmup_s": min(profile.warmup_s, profile.window_s)}  # fmt: skip
        whole_s = profile.windows * profile.window_s + 2 * profile.idle_s
        for subject in (s for s in self.job.subjects if s.name in self.models):
            mine = self.models[subject.name]
            try:
                with Sampler(meter, self.cores, resting) as sampler:
                    check_s = min(profile.window_s, 10.0)
                    seen = self._ask("blocks", [subject], ANSWER_S + 3 * check_s, seconds=check_s)[subject.name]
                with Sampler(meter, self.cores) as sampler:
                    work = self._ask("energy", [subject], ANSWER_S + 2 * whole_s, **windows)[subject.name]
                if sampler.error:
                    raise sampler.error
                found = account(sampler.samples, meter, work)
                mine["energy"] = {**found, "disturbance": with_and_without(seen["blocks"])}
                if not found["steady_idle"]:
                    text = f"idle power before and after {subject.name} differs: its net energy is uncertain"
                    self.events.append(Event("idle-drift", text))
            except MeterError as error:
                mine["energy"] = {"label": "none", "why": f"{error.what} ({error.where})"}
                self.events.append(Event("meter", f"no energy of {subject.name}: {error.what} ({error.where})"))
            self._advance(whole_s, f"{subject.name}, energy by {meter.kind}")

    def _ask(
        self, kind: str, subjects: Sequence[Subject], limit_s: float, note: str = "", **more: Any
    ) -> dict[str, Any]:
        """One job in a fresh process, the machine watched from start to end."""
        names = " and ".join(s.name for s in subjects)
        job = {"kind": kind, "subjects": [asdict(s) for s in subjects], "threads": self.job.threads,
               "cores": list(self.cores), **more}  # fmt: skip
        before = moment(self.cores)
        answer = ask_worker(job, limit_s * (EMULATED_SLOWER if self.emulated else 1), f"measurement of {names}")
        after = moment(self.cores)
        if kind == "time":
            self.moments += [before, after]
            self.events += between(before, after, answer["process"], len(self.cores), note)
        found: dict[str, Any] = answer["models"]
        return found

    def _advance(self, work: float, note: str) -> None:
        self.done += work
        self.report(self.done, self.total, note)


def _pair(reference: str, this: str, processes: list[dict[str, Any]]) -> dict[str, Any]:
    before = [p[reference]["blocks_ms"] for p in processes]
    after = [p[this]["blocks_ms"] for p in processes]
    ratio, interval = edge_stats.paired_ratio(before, after)
    return {
        "reference": reference,
        "this": this,
        "reference_blocks_ms": before,
        "blocks_ms": after,
        "ratio": ratio,
        "ci95": interval,
        "verdict": edge_stats.verdict(ratio, interval),
    }


def ask_worker(job: dict[str, Any], limit_s: float, where: str) -> dict[str, Any]:
    """Run one job in a fresh process; its models' answers by name, and what it says of itself.

    Raises:
        EdgeError: the bundle was refused; edge_runtime's own words.
        MeasureError: the process died or gave no answer in time.
    """
    env = {**os.environ, "OMP_NUM_THREADS": str(job["threads"])}
    try:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-c", _START, str(Path(edge_stats.__file__).resolve().parents[1])],
            input=json.dumps(job), capture_output=True, text=True, timeout=limit_s, env=env, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        what = f"the process gave no answer in {limit_s:.0f} s{last_lines(error.stderr)}"
        raise MeasureError(what, where, "stop other work on this machine, or measure a smaller model") from error
    if done.returncode:
        how = f"died of signal {-done.returncode}" if done.returncode < 0 else f"ended with code {done.returncode}"
        what = f"the process {how}{last_lines(done.stderr)}"
        raise MeasureError(what, where, "`edge-runtime check BUNDLE` says whether the engine is well")
    answer: dict[str, Any] = json.loads(done.stdout)
    if refused := answer.get("error"):
        kind = EngineError if refused["engine"] else EdgeError
        raise kind(refused["what"], refused["where"], refused["fix"])
    return answer


# Not `-m`: that would put the user's folder, and a random.py in it, before the standard library.
_START = (
    "import sys; root = sys.argv[1]; sys.path[:1] = []; sys.path[:0] = [] if root in sys.path else [root]; "
    "from edge_runtime.edge_worker import main; main()"
)


def last_lines(stderr: str | bytes | None, count: int = 5) -> str:
    """The end of what a process said before it failed, for an error message; empty if it said nothing."""
    text = stderr.decode(errors="replace") if isinstance(stderr, bytes) else stderr or ""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()][-count:]
    return "\n    ".join(["; it said last:", *lines]) if lines else ""
