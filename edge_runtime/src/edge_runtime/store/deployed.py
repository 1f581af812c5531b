"""The running end of a store: a handle that predicts with the current version and follows every switch."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from edge_runtime.errors import EdgeError, InputError, StoreError
from edge_runtime.model import Model, load
from edge_runtime.prediction import Prediction
from edge_runtime.store.beside import BesideRun
from edge_runtime.store.install import installed_versions
from edge_runtime.store.runs import run_model
from edge_runtime.store.state import FILE_NAME, State, parse_state, read_bytes
from edge_runtime.store.trial import CrashMark, Trial, crashes

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from numpy.typing import NDArray

    from edge_runtime.monitor import Monitor
    from edge_runtime.signing import TrustedKeys
    from edge_runtime.store.state import Limits
    from edge_runtime.store.store import Store


class Answer(NamedTuple):
    """Predictions and the version that gave them; for a bundle of the task tensors dicts of outputs."""

    predictions: list[Any]
    version: str


@dataclass(frozen=True)
class _Active:
    """What runs now. Replaced as a whole, so that a call sees one version from its start to its end."""

    version: str
    model: Model
    trial: Trial | None
    beside: BesideRun | None


class Deployed:
    """Predicts as a Model does, with whatever version of the store is current. Thread-safe.

    A call that finds its version failing its trial is answered by the version before it: no call is lost to a switch.
    The old version's memory is given back when its last call has ended.
    """

    def __init__(
        self,
        store: Store,
        *,
        engine: str | None = None,
        threads: int = 1,
        trusted_keys: TrustedKeys = None,
        monitor: Monitor | None = None,
        refresh_s: float | None = 2.0,
        on_prediction: Callable[[Any, Any, str], None] | None = None,
    ) -> None:
        """As Store.open, which is the way to make one.

        engine, threads, trusted_keys, monitor: as edge_runtime.load; a shadow or canary is not monitored.
        refresh_s: at most this often a call looks whether the store has switched; None: only refresh() does.
        on_prediction: called as (example, prediction, version) after each answer. What it raises is counted in
            status() and does not disturb the answer.

        Raises:
            StoreError: the store is empty, or no version of it can be loaded.
        """
        self.store, self._monitor = store, monitor
        self._how: dict[str, Any] = {"engine": engine, "threads": threads, "trusted_keys": trusted_keys}
        self._refresh_s, self._on_prediction = refresh_s, on_prediction
        self._seen: bytes | None = None
        self._changing = threading.Lock()
        self._active: _Active | None = None
        self._problem, self._hook_errors = "", 0
        self._next_look = 0.0
        self.refresh()
        if self._active is None:
            fix = "run `edge-runtime versions` and `edge-runtime check` on its versions; update or roll back"
            raise StoreError(f"no version can be loaded: {self._problem}", str(store.folder), fix)

    def __enter__(self) -> Deployed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Deployed({str(self.store.folder)!r}, {self._active.version if self._active else 'closed'})"

    @property
    def version(self) -> str:
        """The version that answers now."""
        return self._running().version

    @property
    def model(self) -> Model:
        """The current version's model, for its manifest; hold it no longer than needed."""
        return self._running().model

    def predict(self, example: Any) -> Prediction:
        """As Model.predict."""
        prediction: Prediction = self.answer([example]).predictions[0]
        return prediction

    def outputs(self, example: dict[str, Any]) -> dict[str, NDArray[Any]]:
        """As Model.outputs."""
        found: dict[str, NDArray[Any]] = self.answer([example]).predictions[0]
        return found

    def predict_batch(self, examples: Any) -> list[Prediction]:
        """As Model.predict_batch."""
        return self.answer(examples).predictions

    async def apredict(self, example: Any) -> Prediction:
        """As predict, in the event loop's own thread pool."""
        import asyncio

        return await asyncio.get_running_loop().run_in_executor(None, self.predict, example)

    def answer(self, examples: Any) -> Answer:
        """Predictions of a batch, with the version that gave them.

        Raises:
            InputError: an example cannot be the model's input.
            EngineError: the engine failed, and no version that ran before could answer.
        """
        if self._refresh_s is not None and time.monotonic() >= self._next_look:
            self.refresh()
        active = self._running()
        beside = active.beside
        answer = None
        if beside is not None and beside.takes():
            if beside.plan.mode == "shadow":
                start = time.perf_counter()
                answer = self._current(active, examples)
                beside.compare(examples, answer.predictions, (time.perf_counter() - start) * 1e3)
            else:
                predictions = beside.answer(examples)
                answer = None if predictions is None else Answer(predictions, beside.plan.version)
        if answer is None:
            answer = self._current(active, examples)
        if self._on_prediction is not None:
            self._tell(examples, answer)
        return answer

    def refresh(self) -> bool:
        """Follow the store if it has switched: load the new version, then use it. True if something changed.

        Costs the reading of one small file. A version that cannot be loaded is rolled back if it is on trial; if not,
        what ran goes on and status() says why.
        """
        if not self._changing.acquire(blocking=False):
            return False  # another thread is at it
        try:
            self._next_look = time.monotonic() + (self._refresh_s or 0.0)
            data = read_bytes(self.store.folder)
            if data == self._seen:
                return False
            self._follow(data)
            return True
        except StoreError as error:
            if self._active is None:
                raise
            self._problem = str(error)
            return False
        finally:
            self._changing.release()

    def status(self) -> dict[str, Any]:
        """Version, trial, second version and problems, as plain data."""
        active = self._running()
        trial, beside = active.trial, active.beside
        return {
            "version": active.version,
            "engine": active.model.engine,
            "trial": trial and {"calls": trial.calls, "of": trial.limits.calls, "errors": trial.errors},
            "beside": beside and {"version": beside.plan.version, "mode": beside.plan.mode, "share": beside.plan.share},
            "problem": self._problem or (beside.comparison.problem if beside else ""),
            "hook_errors": self._hook_errors,
        }

    def close(self) -> None:
        """Give everything back. Calls under way finish; later ones raise StoreError."""
        with self._changing:
            active, self._active = self._active, None
            if active is not None:
                _end(active)

    def _running(self) -> _Active:
        active = self._active
        if active is None:
            raise StoreError("the handle is closed", str(self.store.folder), "open the store again")
        return active

    def _current(self, active: _Active, examples: Any) -> Answer:
        trial = active.trial
        if trial is None:
            return Answer(run_model(active.model, examples)[0], active.version)
        try:
            with trial.inside:
                results, latency_ms = run_model(active.model, examples)
        except InputError:
            raise
        except (EdgeError, MemoryError) as error:
            verdict = trial.failed(error)
            if verdict is None or not self._leave(active, verdict):
                raise
            return self._current(self._running(), examples)
        verdict = trial.answered(len(results), latency_ms)
        if verdict == "":
            self._accept(active)
        elif verdict is not None:
            self._leave(active, verdict)
        return Answer(results, active.version)

    def _accept(self, active: _Active) -> None:
        with self._changing:
            if self._active is active:
                self._quietly(lambda: self.store.accept(active.version))
                self._swap(_Active(active.version, active.model, None, active.beside))
                self._quietly(lambda: self._follow(read_bytes(self.store.folder)))

    def _leave(self, active: _Active, reason: str) -> bool:
        """Go back from a version that failed its trial. True if another one runs now."""
        with self._changing:
            if self._active is active:
                self._quietly(lambda: self._give_up(active.version, reason))
            now = self._active  # None: the handle was closed meanwhile
            return now is not None and now.version != active.version

    def _give_up(self, version: str, reason: str) -> None:
        """Have the store go back, and follow it; in this process alone where the store cannot be written."""
        self._quietly(lambda: self.store.give_up(version, reason))
        data = read_bytes(self.store.folder)
        state = parse_state(data, str(self.store.folder / FILE_NAME))
        if state.current != version or state.trial is None:
            self._follow(data)
        else:
            self._run_instead(state, reason)

    def _run_instead(self, state: State, reason: str) -> None:
        """What ran before, in this process alone; the store still names the version that cannot run."""
        target = state.way_back(installed_versions(self.store.folder))
        model = self._load(target, self._monitor) if target else None
        if target is not None and model is not None:
            self._swap(_Active(target, model, None, None))
            self._problem = f"{state.current} is not used: {reason}; {self._problem}".rstrip("; ")

    def _follow(self, data: bytes) -> None:
        """Make the store's state the running one, as far as it can be loaded."""
        state = parse_state(data, str(self.store.folder / FILE_NAME))
        self._seen, self._problem = data, ""
        if state.current is None:
            raise StoreError("the store is empty", str(self.store.folder), "install a version: edge-runtime update")
        if self._died(state.current, state.trial):
            return
        old = self._active
        model = (
            old.model if old is not None and old.version == state.current else self._load(state.current, self._monitor)
        )
        if model is None:
            reason = f"it cannot be loaded: {self._problem}"
            if state.trial is not None:
                self._give_up(state.current, reason)
            elif old is None:  # accepted once, damaged since: the choice is left to whoever reads status()
                self._run_instead(state, reason)
            return
        trial = None
        if state.trial is not None:
            same = old is not None and old.version == state.current and old.trial is not None
            trial = old.trial if same and old is not None else self._new_trial(state.current, state.trial)
        self._swap(_Active(state.current, model, trial, self._beside(state, old)))

    def _died(self, version: str, limits: Limits | None) -> bool:
        """Whether a version on trial killed its process too often; it is given up then."""
        died = crashes(self.store.folder / "marks", version) if limits else 0
        if limits is None or died <= limits.crashes:
            return False
        self._give_up(version, f"the process died {died} times inside a call of this version")
        return True

    def _new_trial(self, version: str, limits: Limits) -> Trial:
        try:
            return Trial(limits, CrashMark(self.store.folder / "marks", version))
        except OSError as error:
            self._problem = f"crashes of this trial go unnoticed: {error}"
            return Trial(limits)

    def _beside(self, state: State, old: _Active | None) -> BesideRun | None:
        plan = state.beside
        if plan is None:
            return None
        if old is not None and old.beside is not None and old.beside.plan == plan and old.version == state.current:
            return old.beside

        def fail(reason: str) -> None:
            self._quietly(lambda: self.store.give_up(plan.version, reason))

        died = crashes(self.store.folder / "marks", plan.version)
        model = self._load(plan.version) if died <= plan.limits.crashes else None
        if model is None:
            fail(self._problem or f"the process died {died} times inside a call of this version")
            return None
        trial = self._new_trial(plan.version, plan.limits)
        return BesideRun(plan, model, trial, self.store.folder, str(state.current), fail)

    def _swap(self, new: _Active) -> None:
        """The one assignment that switches. The old model is only let go: calls under way still hold it."""
        old, self._active = self._active, new
        if old is not None:
            _end(old, new)

    def _load(self, version: str, monitor: Monitor | None = None) -> Model | None:
        try:
            return load(self.store.path(version), monitor=monitor, **self._how)
        except (EdgeError, MemoryError) as error:
            if isinstance(error.__cause__, ImportError):  # this process lacks the engine: no fault of the version
                raise StoreError(str(error.args[0]), str(self.store.folder), str(error.args[2])) from error
            self._problem = str(error)
            return None

    def _quietly(self, change: Callable[[], None]) -> None:
        """Change or follow the store from inside a call; what cannot be done is noted and does not cost the answer."""
        try:
            change()
        except (StoreError, OSError) as error:
            self._problem = str(error)

    def _tell(self, examples: Any, answer: Answer) -> None:
        hook = self._on_prediction
        for example, prediction in zip(examples, answer.predictions):
            try:
                if hook is not None:
                    hook(example, prediction, answer.version)
            except Exception:  # a broken hook is not the caller's problem
                self._hook_errors += 1


def _end(old: _Active, new: _Active | None = None) -> None:
    """Let go of what the new one does not go on using."""
    if old.trial is not None and (new is None or new.trial is not old.trial):
        old.trial.close()
    if old.beside is not None and (new is None or new.beside is not old.beside):
        old.beside.close(wait=new is None)
