"""One thread that runs the model on whatever has gathered meanwhile: batches form by themselves under load.

While the engine computes (without Python's lock) the event loop reads and answers other requests. When it is done, all
that waits becomes the next batch, up to the size that pays on this machine. An idle server adds no wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edge_runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_runtime.serve.service import Servable
    from edge_runtime.store import Answer

_SIZES = (1, 2, 4, 8, 16, 32)
_MEASURED_S, _LEAST_RUNS = 0.05, 5
_STILL_PAYS = 1.03  # times the cost of an example in the best batch
_STUCK_S = 60.0


@dataclass(eq=False)
class _Job:
    examples: list[Any]
    future: asyncio.Future[Answer]
    since: float = field(default_factory=time.perf_counter)


class Batcher:
    """Answers jobs in order. `submit` belongs to the event loop, the rest to its own thread."""

    def __init__(
        self,
        model: Servable,
        *,
        largest: int,
        wait_s: float,
        on_batch: Callable[[int, float, str], None],
    ) -> None:
        """largest: examples a batch. on_batch: told (examples, seconds, version) after each."""
        self.largest, self.waiting = largest, 0
        self._model, self._wait_s, self._on_batch = model, wait_s, on_batch
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._busy_since: float | None = None
        self._thread = threading.Thread(target=self._work, name="edge-runtime model", daemon=True)
        self._thread.start()

    async def submit(self, examples: list[Any]) -> Answer:
        """Predictions of one request's examples.

        Raises:
            EdgeError: the examples cannot be the model's input, or the model failed.
        """
        job = _Job(examples, self._loop.create_future())
        self.waiting += len(examples)
        self._jobs.put(job)
        try:
            return await job.future
        finally:
            self.waiting -= len(examples)

    def alive(self) -> bool:
        """Whether the thread runs, and is not stuck in the engine."""
        since = self._busy_since
        return self._thread.is_alive() and (since is None or time.perf_counter() - since < _STUCK_S)

    def close(self) -> None:
        """Stop after what is queued."""
        self._jobs.put(None)
        self._thread.join(timeout=10.0)

    def _work(self) -> None:
        ended = False
        while not ended:
            first = self._jobs.get()
            if first is None:
                return
            jobs, size = [first], len(first.examples)
            while size < self.largest:
                job, ended = self._next(first.since + self._wait_s)
                if job is None:
                    break
                jobs.append(job)
                size += len(job.examples)
            self._busy_since = time.perf_counter()
            outcomes = self._run([job for job in jobs if not job.future.cancelled()])
            self._busy_since = None
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(_deliver, outcomes)

    def _next(self, until: float) -> tuple[_Job | None, bool]:
        """The next job, if one comes before `until`; and whether the end has come."""
        rest = until - time.perf_counter()
        try:
            job = self._jobs.get(timeout=rest) if rest > 0 else self._jobs.get_nowait()
        except queue.Empty:
            return None, False
        return job, job is None

    def _run(self, jobs: list[_Job]) -> list[tuple[_Job, Any]]:
        """An Answer or an exception for each job."""
        examples = [e for job in jobs for e in job.examples]
        if not examples:
            return []
        try:
            answer = self._in_slices(examples)
        except InputError as error:
            if len(jobs) == 1:
                return [(jobs[0], error)]
            return [pair for job in jobs for pair in self._run([job])]  # only the one at fault is refused
        except Exception as error:
            return [(job, error) for job in jobs]
        out, at = [], 0
        for job in jobs:
            end = at + len(job.examples)
            out.append((job, answer._replace(predictions=answer.predictions[at:end])))
            at = end
        return out

    def _in_slices(self, examples: list[Any]) -> Answer:
        """All examples, no more of them at a time than a batch may hold."""
        answer = None
        for i in range(0, len(examples), self.largest):
            part = examples[i : i + self.largest]
            start = time.perf_counter()
            found = self._model.answer(part)
            self._on_batch(len(part), time.perf_counter() - start, found.version)
            answer = found if answer is None else answer._replace(predictions=[*answer.predictions, *found.predictions])
        assert answer is not None
        return answer


def _deliver(outcomes: list[tuple[_Job, Any]]) -> None:
    for job, outcome in outcomes:
        if job.future.done():
            continue  # the request has been given up
        if isinstance(outcome, BaseException):
            job.future.set_exception(outcome)
        else:
            job.future.set_result(outcome)


def measure_batches(
    run: Callable[[int], object], latency_ms: float, clock: Callable[[], float]
) -> tuple[int, dict[int, float]]:
    """The batch size that pays, and milliseconds an example at each size that was tried.

    The largest size that costs at most 3 % more an example than the best one: where the engine gains nothing, a batch
    still saves the way there and back. Its batch takes no longer than `latency_ms`. The shortest of several runs
    counts, for what disturbs a run only makes it longer.

    run: runs the model on n examples. clock: seconds. For an engine of one thread, this process's CPU time: on a busy
    machine every run of a large batch is interrupted, and by wall time no batch larger than a time slice would pay.
    """
    found = dict[int, float]()
    for n in _SIZES:
        run(n)
        times_s: list[float] = []
        while len(times_s) < _LEAST_RUNS or sum(times_s) < _MEASURED_S:
            start = clock()
            run(n)
            times_s.append(clock() - start)
        batch_ms = min(times_s) * 1e3
        if batch_ms > latency_ms and n > 1:
            break
        found[n] = batch_ms / n
    return max(n for n, ms in found.items() if ms <= _STILL_PAYS * min(found.values())), found
