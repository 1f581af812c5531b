"""ONNX Runtime behind the small interface that Model uses. All options are the session's own, none the process's."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime.errors import EngineError
from edge_runtime.model_file import ANY_LAYOUT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_runtime.model_file import ModelFile, TensorInfo

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}
_BLOCK = 64  # examples a run: larger batches are no faster on a CPU and make the engine's memory grow
_LARGEST_BATCH = 4096  # of a file whose batch is fixed: every call is filled up to it
_TELEMETRY_OFF = "ORT_DISABLE_TELEMETRY"
_FATAL_ONLY = 4  # errors come back as exceptions; the host's stderr is not ours


def import_onnxruntime() -> Any:
    """onnxruntime, with its reports to its maker off.

    From 1.29 on it starts a reporting thread when it is first imported, unless ORT_DISABLE_TELEMETRY is set; a forked
    child that exits then waits for that thread for ever. The variable is set for the import alone, and a value the
    host has chosen stands. A host that imports onnxruntime first decides for itself.

    Raises:
        ImportError: it is not installed.
    """
    if "onnxruntime" in sys.modules or _TELEMETRY_OFF in os.environ:
        import onnxruntime

        return onnxruntime
    os.environ[_TELEMETRY_OFF] = "1"
    try:
        import onnxruntime
    finally:
        os.environ.pop(_TELEMETRY_OFF, None)  # another thread may have been at the same
    return onnxruntime


class OnnxEngine:
    """One session. Safe to share between threads: a session has no state between runs."""

    def __init__(self, data: bytes, model: ModelFile, threads: int, where: str) -> None:
        """Load a model from memory.

        Raises:
            ImportError: onnxruntime is not installed.
            EngineError: it refuses the model, or the model is not what the manifest says.
        """
        onnxruntime = import_onnxruntime()
        self.name = f"onnxruntime {onnxruntime.__version__}"
        self.pid = os.getpid()
        self._where = where
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL_ONLY
        try:
            self._session = onnxruntime.InferenceSession(
                data,
                options,
                providers=["CPUExecutionProvider"],
                enable_fallback=0,  # it would print, then try the same provider again
            )
            inputs, outputs = (
                [(t.name, t.shape, t.type) for t in tensors]
                for tensors in (self._session.get_inputs(), self._session.get_outputs())
            )
        except Exception as error:  # its exceptions have no public base class
            fix = "the model may need a newer onnxruntime: pip install --upgrade onnxruntime"
            raise EngineError(f"{self.name} refuses the model: {_first_line(error)}", where, fix) from error
        for word, found, promised in (("inputs", inputs, model.inputs), ("outputs", outputs, model.outputs)):
            if len(found) != len(promised):
                what = f"the model has {len(found)} {word}, the manifest {len(promised)}"
                raise EngineError(what, where, "export it again")
            for one, promise in zip(found, promised):
                self._hold_to(promise, *one)
        self._input, self._outputs = model.input.name, [t.name for t in model.outputs]
        batch = inputs[0][1][0] if inputs[0][1] else None
        self._fixed = isinstance(batch, int)
        self._block = batch if isinstance(batch, int) else _BLOCK
        if self._block > _LARGEST_BATCH:
            what = f"the model takes batches of {self._block:,}; at most {_LARGEST_BATCH:,} are allowed"
            raise EngineError(what, where, "export it with a free batch size")

    def _hold_to(self, promised: TensorInfo, name: str, shape: list[int | str | None], type: str) -> None:
        """The file's own word on a tensor against the manifest's. A free dimension is None there, a name here."""
        want: list[int | str | None] = [*(() if promised.layout == ANY_LAYOUT else ("batch",)), *promised.shape]
        fits = len(shape) == len(want) and all(
            d == "batch" or not isinstance(given, int) or given == d for given, d in zip(shape, want)
        )
        if not fits or (name, _DTYPES.get(type, type)) != (promised.name, promised.dtype):
            what = f"the model says {name!r} {type} {shape}, the manifest {promised.name!r} {promised.dtype} {want}"
            raise EngineError(what, self._where, "write the bundle again with compress")

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Raw outputs (n, classes) of engine-ready inputs (n, ...)."""
        n = len(batch)
        if n == self._block or (n < self._block and not self._fixed):
            return self._call(batch)
        short = -n % self._block if self._fixed else 0
        if short:  # a file with a fixed batch size gets its last block filled up
            batch = np.concatenate([batch, np.repeat(batch[-1:], short, axis=0)])
        return np.concatenate([self._call(batch[i : i + self._block]) for i in range(0, n, self._block)])[:n]

    def run_all(self, feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Every output, in the manifest's order, of one array for each input."""
        try:
            out: list[NDArray[Any]] = self._session.run(self._outputs, feeds)
        except Exception as error:
            fix = "run `edge-runtime check` on this device"
            raise EngineError(f"{self.name} failed: {_first_line(error)}", self._where, fix) from error
        return out

    def _call(self, batch: NDArray[Any]) -> NDArray[Any]:
        return self.run_all({self._input: batch})[0]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
