"""Accuracy, size, kernels and latency of a file, whoever made it: all by the same code, on the same machine.

Latency: two processes, the float ONNX file in one and this file in the other, both pinned to the same core, take turns
of about 20 ms in random order, so that a slow moment of the machine hits both. Fresh processes every time; the ratio
and its interval are edge_stats.paired_ratio's, as everywhere else in compress. Processes of their own, not two models
in one, because some tools' results run only in the tool's own environment.
"""

import contextlib
import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from edge_runtime.edge_host import choose_cores, load_1min
from edge_runtime.edge_stats import paired_ratio

from benchmarks.peers.envs import clean_environment
from compress.evaluate.metrics import accuracy
from compress.evaluate.paired import compare
from compress.export.counts import count_onnx, count_tflite

WORKER = Path(__file__).parent / "worker.py"
BLOCK_NS, WARMUP_BLOCKS, MIN_BLOCKS = 20e6, 5, 5


class WorkerError(Exception):
    """The process died; its last words."""


@dataclass(frozen=True)
class Subject:
    """A file, the engine that runs it, the Python whose environment has that engine.

    inputs: a folder with test.npz and example.npz; a model with a vocabulary of its own has one of its own.
    """

    file: Path
    engine: str
    python: Path
    inputs: Path


class Worker:
    """A running worker.py."""

    def __init__(self, subject: Subject, core: int | None) -> None:
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        place = "any" if core is None else core
        command = [subject.python, WORKER, subject.engine, subject.file, subject.inputs / "example.npz", place]
        self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.log, text=True, env=clean_environment())  # fmt: skip
        self.facts: dict[str, Any] = {}

    def ready(self) -> "Worker":
        self.facts = self._answer()
        return self

    def ask(self, **order: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.log.seek(0)
            raise WorkerError(last_words(self.log.read().decode(errors="replace")))
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        self.process.kill()
        self.process.wait()
        self.log.close()


def last_words(text: str) -> str:
    """The line that says what went wrong: the last one of a traceback, without its colours."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if line.split(":")[0].split(".")[-1].endswith(("Error", "Exception", "Exit"))]
    last = (named or lines or ["it said nothing"])[-1]
    if last.endswith(":") and last in lines[1:]:  # a bare assertion: what it asserted stands before it
        last += " " + lines[lines.index(last, 1) - 1]
    return last[:400]


@contextlib.contextmanager
def running(subject: Subject, core: int | None) -> Iterator[Worker]:
    """Started, ready, and ended."""
    worker = Worker(subject, core)
    try:
        yield worker.ready()
    finally:
        worker.close()


def predict(subject: Subject) -> tuple[Any, str]:
    """Logits of the test split, one example a run, and the engine's name."""
    with tempfile.TemporaryDirectory() as folder, running(subject, None) as worker:
        out = Path(folder) / "logits.npy"
        worker.ask(do="predict", x=str(subject.inputs / "test.npz"), out=str(out))
        return np.load(out), worker.facts["engine"]


def take_turns(pair: list[Worker], seconds: float, rng: random.Random) -> list[list[float]]:
    """Milliseconds of the blocks of two running files; block i of both is of one round."""
    runs, blocks = [3, 3], [[], []]  # type: list[int], list[list[float]]
    for number in range(-WARMUP_BLOCKS, max(MIN_BLOCKS, round(seconds * 1e9 / BLOCK_NS))):
        for i in rng.sample((0, 1), 2):
            median = pair[i].ask(do="block", runs=runs[i])["median_ns"]
            if number < 0:
                runs[i] = max(2, round(BLOCK_NS / median))
            else:
                blocks[i].append(round(median / 1e6, 5))
    return blocks


def time_all(
    reference: Subject, subjects: Mapping[str, Subject], *, processes: int, seconds: float
) -> tuple[dict[str, dict[str, Any]], list[float | None]]:
    """Of each subject its latency beside the reference, or its error; and the machine's load as it went on.

    A round starts a process of the reference and then, one after the other, one of each subject beside it.
    """
    raw: dict[str, list[list[list[float]]]] = {key: [] for key in subjects}
    errors: dict[str, str] = {}
    load, (core,) = [load_1min()], choose_cores(1)
    for seed in range(processes):
        rng = random.Random(seed)  # noqa: S311 - an order, not a secret
        with running(reference, core) as base:
            for key, subject in subjects.items():
                try:
                    with running(subject, core) as this:
                        raw[key].append(take_turns([base, this], seconds, rng))
                except WorkerError as error:
                    errors[key] = str(error)
        load.append(load_1min())
        print(f"timed: round {seed + 1} of {processes}", file=sys.stderr)
    return {k: {"error": errors[k]} if k in errors else {"latency": latency(raw[k])} for k in subjects}, load


def latency(raw: list[list[list[float]]]) -> dict[str, Any]:
    """Ratio with interval, both medians and every block, from what take_turns gave process by process."""
    ratio, interval = paired_ratio([r[0] for r in raw], [r[1] for r in raw])
    return {
        "p50_ms": statistics.median(b for r in raw for b in r[1]),
        "reference_p50_ms": statistics.median(b for r in raw for b in r[0]),
        "ratio": round(ratio, 4),
        "ratio_ci95": [round(r, 4) for r in interval] if interval else None,
        "blocks_ms": {"reference": [r[0] for r in raw], "this": [r[1] for r in raw]},
    }


def kernels(subject: Subject) -> dict[str, int] | None:
    """Layers by the type of their arithmetic; None where only torch.compile knows."""
    if subject.engine == "torch":
        return None
    data = subject.file.read_bytes()
    return (count_onnx(data) if subject.engine == "onnx" else count_tflite(data)).kernels


def quality(logits: Any, float_logits: Any, y: Any, classes: tuple[str, ...]) -> dict[str, Any]:
    """Accuracy on the test split, and the paired comparison with the float file."""
    found = accuracy(logits, y, classes, "test")
    paired = compare(float_logits, logits, y, reference="the float file")
    keep = {"count", "correct", "top1", "ci95", "predictions_sha256"}
    return {"accuracy": found.model_dump(mode="json", include=keep), "paired": paired.model_dump(mode="json")}
