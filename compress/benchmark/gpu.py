"""Bundles and checkpoints on a GPU, by the protocol of the CPU: fresh processes, interleaved blocks, the same rows.

A bundle's ONNX file runs by ONNX Runtime's CUDA provider where that is installed. A checkpoint runs in PyTorch: eager
and compiled, float32 and float16. Written for NVIDIA GPUs; `nvidia-smi` tells clocks, temperature and slow-downs.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge_runtime import edge_stats
from edge_runtime.edge_energy import Sampler, account
from edge_runtime.edge_host import host_facts
from edge_runtime.edge_meters import MeterError, open_meter
from edge_runtime.edge_protocol import BLOCK_MS, FORMAT, VERSION, Job, Subject, last_lines

from compress.benchmark.latency import Document
from compress.errors import MeasureError, UsageError

VARIANTS = ("eager float32", "eager float16", "compiled float32", "compiled float16")
STARTING_S = 300.0  # compiling included
_FACTS = ("name", "driver_version", "clocks.sm", "clocks.mem", "clocks.max.sm", "temperature.gpu", "power.limit",
          "utilization.gpu", "clocks_throttle_reasons.active")  # fmt: skip
_IDLE_OR_APP = 0x3  # of the reasons: idle, and clocks that somebody set; all others slow the GPU down

Note = Callable[[float, str], None]


def measure_gpu(job: Job, note: Note, device: str = "cuda") -> Document:
    """As edge_protocol.measure. device: "cpu" runs the same code without a GPU, which says nothing about one.

    Raises:
        UsageError: nothing here can be timed on a GPU.
        MeasureError: there is no GPU, or a process failed.
    """
    facts = gpu_facts() if device == "cuda" else {}
    subjects = _subjects(job.subjects)
    started, profile = datetime.now(UTC), job.profile
    events = [{"kind": "busy", "text": "other work is on the GPU", "void": False}] if _busy(facts) else []
    models: dict[str, Any] = {
        s.name: {"bundle": s.bundle, "file": Path(s.bundle).name, "format": s.engine, "precision": s.name.split()[-1],
                 "size_bytes": 0, "threads": job.threads, "processes": [], "starts": [], "throughput": None,
                 "operators": None, "energy": {"label": "none", "why": "not asked for"},
                 "check": {"ok": True, "message": "not run: the self-test is the CPU engines'"}} for s in subjects
    }  # fmt: skip
    first, pairs = subjects[0], []
    groups: list[tuple[Subject, ...]] = [(first, s) for s in subjects[1:]] or [(first,)]
    timing = {"seconds": profile.seconds, "warmup_s": profile.warmup_s, "block_ms": BLOCK_MS, "rest_s": 0.0,
              "min_runs": profile.min_runs, "max_seconds": 6 * max(profile.seconds, profile.warmup_s)}  # fmt: skip
    for number, group in enumerate(groups):
        found = []
        for process in range(profile.processes):
            done = (number * profile.processes + process) / (len(groups) * profile.processes)
            note(done, f"{group[-1].name}, process {process + 1} of {profile.processes}")
            more = {"timing": timing, "seed": job.seed + process, "device": device}
            found.append(_ask("time", group, 4 * timing["max_seconds"], more))
        for s in group:
            models[s.name]["processes"] += [f[s.name] for f in found]
            models[s.name]["engine"] = found[0][s.name]["engine"]
        if len(group) == 2:
            before, after = ([f[s.name]["blocks_ms"] for f in found] for s in group)
            ratio, interval = edge_stats.paired_ratio(before, after)
            pairs.append({"reference": first.name, "this": group[1].name, "reference_blocks_ms": before,
                          "blocks_ms": after, "ratio": ratio, "ci95": interval,
                          "verdict": edge_stats.verdict(ratio, interval)})  # fmt: skip
    if job.energy != "none" and device == "cuda":
        for s in subjects:
            models[s.name]["energy"] = _energy(s, job)
    after_facts = gpu_facts() if device == "cuda" else {}
    if slowed := _slowed(after_facts):
        events.append({"kind": "slowed", "text": f"the GPU was slowed down: {slowed}", "void": False})
    host = {**host_facts(), "gpu": facts, "gpu_after": after_facts}
    return {
        **{"format": FORMAT, "version": VERSION, "label": "measured", "started": started.isoformat(timespec="seconds")},
        **{"seconds": round((datetime.now(UTC) - started).total_seconds(), 2), "profile": asdict(profile)},
        **{"threads": job.threads, "cores": [], "seed": job.seed, "host": host, "pairs": pairs, "events": events},
        "models": {k: {**m, "summary": edge_stats.summarize(m)} for k, m in models.items()},
        "void": False,
    }


def gpu_facts() -> dict[str, str]:
    """Name, driver, clocks, temperature, load and slow-downs of the first GPU.

    Raises:
        MeasureError: there is none.
    """
    tool = shutil.which("nvidia-smi")
    fix = "measure on another device; a GPU needs NVIDIA's driver, whose nvidia-smi names it"
    if tool is None:
        raise MeasureError("there is no NVIDIA GPU here", "device gpu", fix)
    done = subprocess.run(  # noqa: S603
        [tool, f"--query-gpu={','.join(_FACTS)}", "--format=csv,noheader", "--id=0"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    if done.returncode:
        raise MeasureError(f"nvidia-smi finds no GPU{last_lines(done.stderr or done.stdout)}", "device gpu", fix)
    return parse_facts(done.stdout)


def parse_facts(line: str) -> dict[str, str]:
    """nvidia-smi's CSV line by the names asked for.

    >>> parse_facts("H100, 550.1, 1980 MHz, 2619 MHz, 1980 MHz, 41, 700.00 W, 0 %, 0x0000000000000001")["clocks.sm"]
    '1980 MHz'
    """
    return dict(zip(_FACTS, (cell.strip() for cell in line.strip().split(",")), strict=False))


def _busy(facts: dict[str, str]) -> bool:
    return float(facts.get("utilization.gpu", "0").split()[0] or 0) > 5 if facts else False


def _slowed(facts: dict[str, str]) -> str:
    """The reasons for lower clocks, as nvidia-smi's bit mask, less those that are none."""
    text = facts.get("clocks_throttle_reasons.active", "0x0")
    bits = int(text, 16) & ~_IDLE_OR_APP if text.startswith("0x") else 0
    return f"reasons {bits:#x} of nvidia-smi's clocks_throttle_reasons" if bits else ""


def _subjects(given: Sequence[Subject]) -> tuple[Subject, ...]:
    """A bundle's ONNX file as it is, a checkpoint in its variants."""
    out: list[Subject] = []
    for s in given:
        if s.engine == "torch":
            out += [Subject(variant, s.bundle, variant) for variant in VARIANTS]
        elif s.engine == "onnx":
            out.append(s)
    if not out:
        raise UsageError("nothing of it runs on a GPU", "device gpu", "give a bundle with ONNX, or a checkpoint folder")
    return tuple(out)


def _energy(subject: Subject, job: Job) -> dict[str, Any]:
    """By NVML, which counts the whole GPU."""
    p = job.profile
    more = {"windows": p.windows, "window_s": p.window_s, "idle_s": p.idle_s, "warmup_s": p.warmup_s, "device": "cuda"}
    try:
        source = open_meter("NVML")
        assert source is not None  # asked for by name: it is there, or open_meter raised
        with Sampler(source, ()) as sampler:
            work = _ask("energy", (subject,), 2 * (p.windows * p.window_s + 2 * p.idle_s), more)[subject.name]
        if sampler.error:
            raise sampler.error
        return {**account(sampler.samples, source, work), "disturbance": None}
    except MeterError as error:
        return {"label": "none", "why": f"{error.what} ({error.where})"}


def _ask(kind: str, subjects: Sequence[Subject], limit_s: float, more: dict[str, Any]) -> dict[str, Any]:
    where = f"GPU measurement of {' and '.join(s.name for s in subjects)}"
    job = {"kind": kind, "subjects": [asdict(s) for s in subjects], **more}
    command = [sys.executable, "-P", "-m", "compress.benchmark.gpu_worker"]
    try:
        done = subprocess.run(  # noqa: S603
            command, input=json.dumps(job), capture_output=True, text=True, timeout=STARTING_S + limit_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        what = f"the process gave no answer in {STARTING_S + limit_s:.0f} s{last_lines(error.stderr)}"
        raise MeasureError(what, where, "measure a smaller model, or see whether the GPU is free") from error
    if done.returncode:
        what = f"the process ended with code {done.returncode}{last_lines(done.stderr)}"
        raise MeasureError(what, where, "`compress doctor` says whether torch and onnxruntime see the GPU")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer
