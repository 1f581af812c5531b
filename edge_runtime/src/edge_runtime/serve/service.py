"""What a server serves: one bundle, or the current version of a store."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Protocol

from edge_runtime.store import Answer
from edge_runtime.store.install import version_of
from edge_runtime.store.runs import run_model

if TYPE_CHECKING:
    from edge_runtime.model import Model

_log = logging.getLogger("edge_runtime.serve")


class Servable(Protocol):
    """What the server needs of a model; store.Deployed is one."""

    @property
    def version(self) -> str:
        """What answers now."""

    @property
    def model(self) -> Model:
        """Its model, for the manifest."""

    def answer(self, examples: Any) -> Answer:
        """Predictions of a batch."""

    def refresh(self) -> bool:
        """Look whether another version is to run."""

    def status(self) -> dict[str, Any]:
        """For people."""

    def close(self) -> None:
        """Give everything back."""


class OneBundle:
    """A bundle that stays the same until the server stops."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.version = version_of(model.manifest, (model.folder / "manifest.json").read_bytes())

    def answer(self, examples: Any) -> Answer:
        """Predictions of a batch."""
        return Answer(run_model(self.model, examples)[0], self.version)

    def refresh(self) -> bool:
        """Nothing to look at."""
        return False

    def status(self) -> dict[str, Any]:
        """As Deployed.status."""
        return {"version": self.version, "engine": self.model.engine, "trial": None, "beside": None, "problem": "",
                "hook_errors": 0}  # fmt: skip

    def close(self) -> None:
        """Give the model's memory back."""
        self.model.close()


class Refresher:
    """Looks for a switch of the store once a second, in a thread: loading a model must not hold up the event loop."""

    def __init__(self, model: Servable, every_s: float = 1.0) -> None:
        self._model, self._every_s = model, every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="edge-runtime refresh", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                self._model.refresh()
            except Exception:  # what runs goes on; the next look may find things mended
                _log.exception("the store cannot be followed")

    def close(self) -> None:
        """Stop."""
        self._stop.set()
        self._thread.join(timeout=10.0)
