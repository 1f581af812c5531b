"""A second version next to the current one: as canary it answers a share of the calls, as shadow nobody hears it."""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime.errors import EdgeError, InputError
from edge_runtime.store.comparison import Comparison
from edge_runtime.store.runs import agree, run_model, summary

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge_runtime.model import Model
    from edge_runtime.store.state import Beside
    from edge_runtime.store.trial import Trial

_WAITING = 8  # calls that a shadow may lag behind; more are skipped, so that memory and load stay bounded
_IDLE_S = 2.0


class BesideRun:
    """One handle's run of the second version.

    fail: called once with the reason when the version leaves its limits.
    """

    def __init__(
        self, plan: Beside, model: Model, trial: Trial, folder: Path, current: str, fail: Callable[[str], None]
    ) -> None:
        self.plan, self.model, self.trial = plan, model, trial
        self.comparison = Comparison(folder, current, plan.version, plan.mode)
        self.stopped = False
        self._fail, self._calls = fail, itertools.count()
        self._queue: queue.Queue[Any] = queue.Queue(_WAITING)
        self._thread: threading.Thread | None = None
        if plan.mode == "shadow":
            self._thread = threading.Thread(target=self._shadow, name=f"shadow {plan.version}", daemon=True)
            self._thread.start()

    def takes(self) -> bool:
        """Whether this call is one of its share: evenly spread, exact, and the same every time."""
        n = next(self._calls)  # atomic
        return not self.stopped and int((n + 1) * self.plan.share) > int(n * self.plan.share)

    def answer(self, examples: Any) -> list[Any] | None:
        """As canary: predictions, or None if the current version has to answer in its place.

        Raises:
            InputError: the example is at fault, not the version.
        """
        try:
            with self.trial.inside:
                results, latency_ms = run_model(self.model, examples)
        except InputError:
            raise
        except (EdgeError, MemoryError) as error:
            self.comparison.add(errors=1)
            self._judge(self.trial.failed(error))
            return None
        self.comparison.add(examples=len(results), beside_ms=latency_ms)
        self._judge(self.trial.answered(len(results), latency_ms))
        return results

    def compare(self, examples: Any, predictions: list[Any], current_ms: float) -> None:
        """As shadow: answer later, in a thread of its own. Never waits; skips the call if the thread is behind."""
        kept = [e.copy() if isinstance(e, np.ndarray) else e for e in examples]  # a camera reuses its buffer
        try:
            self._queue.put_nowait((kept, predictions, current_ms))
        except queue.Full:
            self.comparison.add(skipped=len(examples))

    def close(self, *, wait: bool = True) -> None:
        """Stop; write the counts. What still waits in the queue is left out. wait: for a shadow's last comparison."""
        self.stopped = True
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)  # wakes the thread
        if wait and self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=10.0)
        self.trial.close()
        self.comparison.flush()

    def _shadow(self) -> None:
        while not self.stopped:
            try:
                item = self._queue.get(timeout=_IDLE_S)
            except queue.Empty:
                self.comparison.flush()
                continue
            if item is not None:
                self._compare_now(*item)
        self.comparison.flush()

    def _compare_now(self, examples: Any, predictions: list[Any], current_ms: float) -> None:
        try:
            with self.trial.inside:
                found, latency_ms = run_model(self.model, examples)
        except (EdgeError, MemoryError) as error:
            self.comparison.add(errors=1)
            self._judge(self.trial.failed(error))
            return
        for theirs, ours in zip(predictions, found):
            if not agree(theirs, ours):
                self.comparison.disagreement(summary(theirs), summary(ours))
        self.comparison.add(examples=len(found), current_ms=current_ms, beside_ms=latency_ms)
        self._judge(self.trial.answered(len(found), latency_ms))

    def _judge(self, verdict: str | None) -> None:
        if verdict and not self.stopped:
            self.stopped = True
            self._fail(verdict)
