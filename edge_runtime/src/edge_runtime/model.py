"""Load a bundle and run it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime._onnx import OnnxEngine
from edge_runtime._tflite import TFLiteEngine
from edge_runtime.errors import BundleError, EngineError, InputError
from edge_runtime.files import read_checked, read_npz
from edge_runtime.inputs import as_array
from edge_runtime.manifest import INTEGER_RANGES, Manifest, ModelFile, read_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from numpy.typing import NDArray

ENGINES: dict[str, type[OnnxEngine] | type[TFLiteEngine]] = {"onnx": OnnxEngine, "tflite": TFLiteEngine}
_MOST_THREADS = 256


@dataclass(frozen=True)
class Prediction:
    """What a model says about one example.

    index: of the highest score; label: its text; score: the highest score.
    scores: (classes,) float32, softmax of the logits, in the order of the manifest's labels.
    latency_ms: how long the call took that gave it, preprocessing included; a batch shares one call.
    """

    label: str
    index: int
    score: float
    scores: NDArray[np.float32]
    latency_ms: float


@dataclass(frozen=True)
class CheckReport:
    """Outcome of a bundle's self-test on this device.

    agreement: share of the reference examples with the expected class. largest_difference: between any two logits.
    message: one sentence for a log.
    """

    ok: bool
    largest_difference: float
    agreement: float
    message: str


def load(folder: str | os.PathLike[str], *, engine: str | None = None, threads: int = 1, verify: bool = True) -> Model:
    """Open a bundle folder.

    engine: "onnx" or "tflite"; None takes the bundle's first model whose engine is installed.
    threads: of this model alone; nothing else in the process changes.
    verify: compare the model's checksum before the engine sees it. Its size is compared in any case.

    Raises:
        BundleError: the bundle is damaged, unsafe, or of a newer format.
        EngineError: no engine for it is installed, or the engine refuses the model.
    """
    if type(threads) is not int or not 1 <= threads <= _MOST_THREADS:
        raise EngineError(f"threads is {threads!r}", "load", f"give a whole number from 1 to {_MOST_THREADS}")
    if engine is not None and engine not in ENGINES:
        raise EngineError(f"engine {engine!r} is unknown", "load", f"use one of {', '.join(ENGINES)}")
    path = Path(folder)
    manifest = read_manifest(path)
    wanted = manifest.models if engine is None else tuple(m for m in manifest.models if m.format == engine)
    if not wanted:
        has = ", ".join(m.format for m in manifest.models)
        raise EngineError(f"the bundle holds no {engine} model", str(path), f"it holds {has}: leave engine out")
    for entry in wanted:
        try:
            return Model(path, manifest, entry, threads=threads, verify=verify)
        except ImportError as error:  # of the engine; the next one may be there
            missing = error
    formats = " or ".join(f"edge-runtime[{m.format}]" for m in wanted)
    raise EngineError(f"no engine is installed: {missing}", str(path), f"pip install {formats}") from missing


class Model:
    """A loaded bundle. Holds no state between calls; safe to share between threads; works in forked children."""

    def __init__(self, folder: Path, manifest: Manifest, entry: ModelFile, *, threads: int, verify: bool) -> None:
        """As load, which is the way to make one."""
        self.manifest, self.entry, self.folder = manifest, entry, folder

        def start() -> OnnxEngine | TFLiteEngine:
            data = read_checked(folder, entry.path, manifest.files[entry.path], verify=verify)
            return ENGINES[entry.format](data, entry, threads, str(folder / entry.path))

        self._start: Callable[[], OnnxEngine | TFLiteEngine] = start
        self._engine: OnnxEngine | TFLiteEngine | None = start()
        self.engine = self._engine.name
        self._range = INTEGER_RANGES.get(entry.input.dtype)
        self._dtype = np.dtype(entry.input.dtype)

    def __repr__(self) -> str:
        state = self.engine if self._engine else "closed"
        return f"Model({self.manifest.name!r}, {len(self.manifest.labels)} labels, {self.entry.path}, {state})"

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the engine's memory back. Calls under way finish; later ones raise EngineError."""
        engine, self._engine = self._engine, None
        if engine is not None and engine.pid != os.getpid():
            _keep_forever(engine)

    def predict(self, example: Any) -> Prediction:
        """Label and scores of one raw example: an array, a list of numbers, or the path of a .npy or image file.

        Raises:
            InputError: the example cannot be this model's input.
            EngineError: the engine failed, or the model is closed.
        """
        start = time.perf_counter()
        logits = self._logits(self._one(example))
        scores = softmax(logits)[0]
        index = int(scores.argmax())
        elapsed_ms = (time.perf_counter() - start) * 1e3
        return Prediction(self.manifest.labels[index], index, float(scores[index]), scores, elapsed_ms)

    def predict_batch(self, examples: Any) -> list[Prediction]:
        """As predict, for an array (n, ...) of raw examples, or a list of what predict takes.

        Raises:
            InputError: an example cannot be this model's input; the text says which.
            EngineError: the engine failed, or the model is closed.
        """
        start = time.perf_counter()
        if isinstance(examples, (list, tuple)):
            scores = softmax(self._logits(self._many(examples)))
        else:
            scores = softmax(self.logits(examples))
        elapsed_ms = (time.perf_counter() - start) * 1e3
        labels = self.manifest.labels
        best = [(int(row.argmax()), row) for row in scores]
        return [Prediction(labels[i], i, float(row[i]), row, elapsed_ms) for i, row in best]

    async def apredict(self, example: Any) -> Prediction:
        """As predict, in the event loop's own thread pool, so that the loop goes on meanwhile."""
        import asyncio

        return await asyncio.get_running_loop().run_in_executor(None, self.predict, example)

    def logits(self, examples: NDArray[Any]) -> NDArray[np.float32]:
        """Logits (n, classes), float32, of raw examples (n, ...): what predict turns into scores."""
        raw = as_array(examples, self.manifest.preprocessing)
        return self._logits(self._ready(self.manifest.preprocessing(raw)))

    def prepare(self, example: Any) -> NDArray[Any]:
        """One raw example as the engine wants it, (1, ...): the part of predict before the engine."""
        return self._one(example)

    def run(self, prepared: NDArray[Any]) -> NDArray[Any]:
        """The engine's raw output (n, classes) for prepared inputs (n, ...): the part of predict that is the engine.

        Raises:
            EngineError: the engine failed, or the model is closed.
        """
        engine = self._engine
        if engine is None:
            raise EngineError("the model is closed", str(self.folder), "load the bundle again")
        if engine.pid != os.getpid():  # a fork copies neither the engine's threads nor the owners of its locks
            _keep_forever(engine)
            engine = self._engine = self._start()
        return engine.run(prepared)

    def reference(self) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """The bundle's raw reference examples (n, ...) and the logits (n, classes) this model gave for them.

        Raises:
            BundleError: the reference file is damaged or does not fit the manifest.
        """
        path = self.manifest.self_test.path
        where = str(self.folder / path)
        arrays = read_npz(read_checked(self.folder, path, self.manifest.files[path]), where)
        key, classes = f"logits_{self.entry.format}", len(self.manifest.labels)
        inputs, logits = arrays.get("inputs"), arrays.get(key)
        if inputs is None or logits is None or not inputs.ndim or logits.shape != (len(inputs), classes):
            what = f"want arrays `inputs` (n, ...) and `{key}` (n, {classes})"
            raise BundleError(what, where, "write the bundle again with compress")
        if logits.dtype != np.float32 or not np.isfinite(logits).all():
            raise BundleError(f"`{key}` is not finite float32", where, "write the bundle again with compress")
        return inputs, logits

    def check(self) -> CheckReport:
        """Run the bundle's self-test: does this device give what the model gave where it was made?

        Raises:
            BundleError: as reference.
            EngineError: the engine failed, or the model is closed.
        """
        test = self.manifest.self_test
        where = str(self.folder / test.path)
        inputs, expected = self.reference()
        try:
            found = self.logits(inputs)
        except InputError as error:
            raise BundleError(f"the reference inputs: {error.what}", where, "write the bundle again") from error
        difference = float(np.abs(found.astype(np.float64) - expected).max())
        agreement = float((found.argmax(axis=1) == expected.argmax(axis=1)).mean())
        ok = agreement >= test.agreement and difference <= test.largest_difference
        message = (
            f"{'passed' if ok else 'FAILED'}: {agreement:.1%} of {len(inputs)} reference examples agree "
            f"(want {test.agreement:.1%}), logits differ by at most {difference:.3g} "
            f"(allowed {test.largest_difference:.3g})"
        )
        return CheckReport(ok, difference, agreement, message)

    def _one(self, example: Any) -> NDArray[Any]:
        preprocessing = self.manifest.preprocessing
        raw = as_array(example, preprocessing)
        if raw.ndim - 1 in preprocessing.example_ranks and raw.ndim not in preprocessing.example_ranks:
            fix = f"use predict_batch for several; predict takes one of {preprocessing.describe()}"
            raise InputError(f"an array of shape {raw.shape} holds several examples", "input", fix)
        return self._ready(preprocessing(raw[np.newaxis]))

    def _many(self, examples: Iterable[Any]) -> NDArray[Any]:
        parts = []
        for i, example in enumerate(examples):
            try:
                parts.append(self._one(example))
            except InputError as error:
                raise InputError(error.what, f"{error.where} {i}", error.fix) from error
        if not parts:
            raise InputError("an empty batch", "input", "pass at least one example")
        return np.concatenate(parts)

    def _ready(self, x: NDArray[np.float32]) -> NDArray[Any]:
        """Preprocessed inputs (n, *output_shape) in the model's layout and dtype."""
        tensor = self.entry.input
        if tensor.layout == "NHWC":
            x = x.transpose(0, 2, 3, 1)
        if self._range is not None:
            x = np.rint(x / np.float32(tensor.scale))  # half to even, as ONNX QuantizeLinear prescribes
            x += np.float32(tensor.zero_point or 0)
            np.clip(x, *self._range, out=x)
        return np.ascontiguousarray(x, self._dtype)

    def _logits(self, prepared: NDArray[Any]) -> NDArray[np.float32]:
        raw, tensor = self.run(prepared), self.entry.output
        if tensor.scale is not None:
            zero_point, scale = np.float32(tensor.zero_point or 0), np.float32(tensor.scale)
            return (raw.astype(np.float32) - zero_point) * scale
        if not np.isfinite(raw).all():
            fix = "run `edge-runtime check` on this device; the model or the engine is broken"
            raise EngineError(f"{self.engine} gave NaN or infinite logits", str(self.folder / self.entry.path), fix)
        return raw


def _keep_forever(engine: OnnxEngine | TFLiteEngine) -> None:
    """Never run the destructor of an engine that a fork copied: it would wait for threads that are not here."""
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine))


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of logits (n, classes) as probabilities; float32, stable for large values."""
    with np.errstate(under="ignore"):  # the host may have asked numpy to raise
        out: NDArray[np.float32] = np.exp(logits - logits.max(axis=1, keepdims=True))
        out /= out.sum(axis=1, keepdims=True)
    return out
