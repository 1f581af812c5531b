"""LiteRT (or its predecessor tflite-runtime) behind the small interface that Model uses, with XNNPACK as it comes."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime.errors import EngineError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_runtime.model_file import ModelFile, TensorInfo


class TFLiteEngine:
    """One interpreter, run one example at a time. An interpreter holds its tensors, so a lock lets one thread in."""

    def __init__(self, data: bytes, model: ModelFile, threads: int, where: str) -> None:
        """Load a model from memory.

        Raises:
            ImportError: neither ai-edge-litert nor tflite-runtime is installed.
            EngineError: the engine refuses the model, or the model is not what the manifest says.
        """
        interpreter, self.name = _interpreter()
        self.pid = os.getpid()
        self._where = where
        self._lock = threading.Lock()
        self._model = model
        try:
            self._interpreter = interpreter(model_content=data, num_threads=threads)
            if model.signatures:  # each has tensors of its own, allocated when it is first run
                self._runners = {s.length: self._interpreter.get_signature_runner(s.name) for s in model.signatures}
                sides = [(n, r.get_input_details(), r.get_output_details()) for n, r in self._runners.items()]
            else:
                inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        except (ValueError, RuntimeError, MemoryError) as error:
            raise self._refused(error) from error
        if model.signatures:
            for length, ids, logits in sides:
                self._hold_to(model.input, _only(ids, model.input.name, where), length)
                self._hold_to(model.output, _only(logits, model.output.name, where), length)
            return
        if len(inputs) != 1 or len(outputs) != 1:
            what = f"the model has {len(inputs)} inputs and {len(outputs)} outputs, want one of each"
            raise EngineError(what, where, "export it again")
        for found, promised in ((inputs[0], model.input), (outputs[0], model.output)):
            self._hold_to(promised, found)
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]
        try:
            self._interpreter.allocate_tensors()  # as large as the manifest said, which has bounds
        except (ValueError, RuntimeError, MemoryError) as error:
            raise self._refused(error) from error

    def _hold_to(self, promised: TensorInfo, found: dict[str, Any], length: int | None = None) -> None:
        """The file's own word on a tensor against the manifest's; length: of a signature, stands for a free one."""
        shape, dtype = tuple(int(d) for d in found["shape"]), np.dtype(found["dtype"]).name
        scale, zero_point = found["quantization"] if promised.scale is not None else (None, None)
        grid = promised.scale is None or (np.float32(promised.scale) == np.float32(scale or 0))
        want = (1, *(length if d is None else d for d in promised.shape))
        if shape != want or dtype != promised.dtype or not grid or zero_point != promised.zero_point:
            what = f"the model says {dtype} {list(shape)} with scale {scale} and zero point {zero_point}, the manifest "
            what += f"{promised.dtype} {list(want)}, {promised.scale}, {promised.zero_point}"
            raise EngineError(what, self._where, "write the bundle again with compress")

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Raw outputs (n, classes) of engine-ready inputs (n, ...)."""
        call = self._call_signature if self._model.signatures else self._call
        if len(batch) == 1:
            return call(batch)
        return np.concatenate([call(batch[i : i + 1]) for i in range(len(batch))])

    def run_all(self, feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Every output of one array for each input; of one, as the manifest allows no more for this format."""
        return [self.run(feeds[self._model.input.name])]

    def _call(self, example: NDArray[Any]) -> NDArray[Any]:
        try:
            with self._lock:
                self._interpreter.set_tensor(self._input, example)
                self._interpreter.invoke()
                out: NDArray[Any] = self._interpreter.get_tensor(self._output)
        except (ValueError, RuntimeError) as error:
            raise self._failed(error) from error
        return out

    def _call_signature(self, ids: NDArray[Any]) -> NDArray[Any]:
        """The signature of just these ids' length: Model has padded them to it."""
        try:
            with self._lock:
                found = self._runners[ids.shape[1]](**{self._model.input.name: ids})
                out: NDArray[Any] = found[self._model.output.name]
        except (KeyError, ValueError, RuntimeError) as error:
            raise self._failed(error) from error
        return out

    def _refused(self, error: Exception) -> EngineError:
        fix = "the model may need a newer engine: pip install --upgrade edge-runtime[tflite]"
        return EngineError(f"{self.name} refuses the model: {_first_line(error)}", self._where, fix)

    def _failed(self, error: Exception) -> EngineError:
        fix = "run `edge-runtime check` on this device"
        return EngineError(f"{self.name} failed: {_first_line(error)}", self._where, fix)


def _only(details: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    if set(details) != {name}:
        what = f"a signature names its tensor {', '.join(sorted(details)) or 'not at all'}, the manifest {name}"
        raise EngineError(what, where, "export it again")
    found: dict[str, Any] = details[name]
    return found


def _interpreter() -> tuple[Any, str]:
    """The interpreter class of whichever package is installed, and its name with version."""
    try:
        import ai_edge_litert
        from ai_edge_litert.interpreter import Interpreter

        return Interpreter, f"ai-edge-litert {ai_edge_litert.__version__}"
    except ImportError:
        import tflite_runtime
        from tflite_runtime.interpreter import Interpreter

        return Interpreter, f"tflite-runtime {tflite_runtime.__version__}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
