"""Load a bundle and run it."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from edge_runtime._onnx import OnnxEngine
from edge_runtime._quick import Quick, quick_way
from edge_runtime._selftest import CheckReport, check, read_reference
from edge_runtime._tflite import TFLiteEngine
from edge_runtime.errors import BundleError, EdgeError, EngineError, InputError
from edge_runtime.files import read_checked
from edge_runtime.inputs import as_array, as_text
from edge_runtime.manifest import INTEGER_RANGES, Manifest, ModelFile, read_manifest
from edge_runtime.prediction import FEW, Prediction, score_few, score_rows
from edge_runtime.scan import scan_model
from edge_runtime.tensors import TensorsPreprocessing
from edge_runtime.text import TextPreprocessing

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray

    from edge_runtime.kinds import ArrayPreprocessing
    from edge_runtime.manifest import TensorInfo
    from edge_runtime.monitor import Monitor
    from edge_runtime.signing import KeySource

    Prepared = Union[NDArray[Any], dict[str, NDArray[Any]]]

ENGINES: dict[str, type[OnnxEngine] | type[TFLiteEngine]] = {"onnx": OnnxEngine, "tflite": TFLiteEngine}
_MOST_THREADS = 256
_BYTE = np.dtype(np.uint8)


def load(
    folder: str | os.PathLike[str],
    *,
    engine: str | None = None,
    threads: int = 1,
    verify: bool = True,
    trusted_keys: Iterable[KeySource] | KeySource | None = None,
    monitor: Monitor | None = None,
) -> Model:
    """Open a bundle folder.

    engine: "onnx" or "tflite"; None takes the bundle's first model whose engine is installed.
    threads: of this model alone; nothing else in the process changes.
    verify: compare the model's checksum before the engine sees it. Its size is compared in any case.
    trusted_keys: Ed25519 public keys (paths of .pub files, PEM texts, or 64 hex digits): a bundle that none of them
        has signed is refused.
    monitor: is told of every predict and predict_batch.

    Raises:
        BundleError: the bundle is damaged, unsafe, or of a newer format.
        EngineError: no engine for it is installed, or the engine refuses the model.
    """
    if type(threads) is not int or not 1 <= threads <= _MOST_THREADS:
        raise EngineError(f"threads is {threads!r}", "load", f"give a whole number from 1 to {_MOST_THREADS}")
    if engine is not None and engine not in ENGINES:
        raise EngineError(f"engine {engine!r} is unknown", "load", f"use one of {', '.join(ENGINES)}")
    path = Path(folder)
    if trusted_keys is not None and not verify:
        fix = "leave verify out: a signature covers the files by their checksums alone"
        raise EngineError("trusted_keys with verify=False", "load", fix)
    manifest = read_manifest(path, trusted_keys=trusted_keys)
    wanted = manifest.models if engine is None else tuple(m for m in manifest.models if m.format == engine)
    if not wanted:
        has = ", ".join(m.format for m in manifest.models)
        raise EngineError(f"the bundle holds no {engine} model", str(path), f"it holds {has}: leave engine out")
    for entry in wanted:
        try:
            model = Model(path, manifest, entry, threads=threads, verify=verify)
            return model if monitor is None else monitor.watch(model)
        except ImportError as error:  # of the engine; the next one may be there
            missing = error
    formats = " or ".join(f"edge-runtime[{m.format}]" for m in wanted)
    raise EngineError(f"no engine is installed: {missing}", str(path), f"pip install {formats}") from missing


class Model:
    """A loaded bundle. Holds no state between calls; safe to share between threads; works in forked children."""

    def __init__(self, folder: Path, manifest: Manifest, entry: ModelFile, *, threads: int, verify: bool) -> None:
        """As load, which is the way to make one."""
        self.manifest, self.entry, self.folder, self.threads = manifest, entry, folder, threads
        self.monitor: Monitor | None = None

        def start() -> OnnxEngine | TFLiteEngine:
            data = read_checked(folder, entry.path, manifest.files[entry.path], verify=verify)
            where = str(folder / entry.path)
            if unlisted := sorted(scan_model(entry.format, data, where) - set(entry.control_flow)):
                what = f"the model holds {', '.join(unlisted)}, which the manifest does not list under control_flow"
                raise BundleError(what, where, "write the bundle again with compress")
            return ENGINES[entry.format](data, entry, threads, where)

        self._start: Callable[[], OnnxEngine | TFLiteEngine] = start
        self._engine: OnnxEngine | TFLiteEngine | None = start()
        self.engine = self._engine.name
        self.preprocessing = manifest.preprocessing
        if isinstance(self.preprocessing, TextPreprocessing):
            path = self.preprocessing.tokenizer
            content = read_checked(folder, path, manifest.files[path], verify=verify)
            self.preprocessing = self.preprocessing.with_tokenizer(content)
        self._range = INTEGER_RANGES.get(entry.input.dtype)
        self._dtype = np.dtype(entry.input.dtype)
        self._labels = manifest.labels
        self._quick: Quick | None = None
        self._quick_shapes: tuple[tuple[int, ...], ...] | None = None  # not looked for yet

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
        """Label and scores of one raw example.

        example: what the bundle takes (`model.preprocessing.describe()` says it): an array, a list of numbers, or the
            path of a .npy, image or .csv file; for texts a str, or the pathlib.Path of a text file; for tensors a
            dict of arrays.

        Raises:
            InputError: the example cannot be this model's input.
            EngineError: the engine failed, or the model is closed.
        """
        start = time.perf_counter()
        if self.monitor is None:
            index, scores = self._scored(self.run(self.prepare(example)), self.entry.output)
            elapsed_ms = (time.perf_counter() - start) * 1e3
            return Prediction(self._labels[index], index, float(scores[index]), scores, elapsed_ms)
        try:
            x = self._input(example)
            logits = self._logits(self._ready(x))
            index, scores = self._scored(logits, None)
        except EdgeError as error:
            self.monitor.refused(error)
            raise
        elapsed_ms = (time.perf_counter() - start) * 1e3
        id = self.monitor.seen(x, logits, elapsed_ms, raw=[example])[0]
        return Prediction(self._labels[index], index, float(scores[index]), scores, elapsed_ms, id)

    def predict_batch(self, examples: Any) -> list[Prediction]:
        """As predict, for an array (n, ...) of raw examples, or a list of what predict takes.

        Raises:
            InputError: an example cannot be this model's input; the text says which.
            EngineError: the engine failed, or the model is closed.
        """
        start = time.perf_counter()
        try:
            x, logits = self._batch(examples)
        except EdgeError as error:
            self._tell_refusal(error)
            raise
        found = score_rows(logits)
        elapsed_ms = (time.perf_counter() - start) * 1e3
        labels, monitor = self._labels, self.monitor
        ids = [""] * len(found) if monitor is None else monitor.seen(x, logits, elapsed_ms, raw=examples)
        return [Prediction(labels[i], i, float(s[i]), s, elapsed_ms, id) for (i, s), id in zip(found, ids)]

    async def apredict(self, example: Any) -> Prediction:
        """As predict, in the event loop's own thread pool, so that the loop goes on meanwhile."""
        import asyncio

        return await asyncio.get_running_loop().run_in_executor(None, self.predict, example)

    def logits(self, examples: Any) -> NDArray[np.float32]:
        """Logits (n, classes), float32, of what predict_batch takes: what it turns into scores."""
        return self._batch(examples)[1]

    def _batch(self, examples: Any) -> tuple[Any, NDArray[np.float32]]:
        """Preprocessed inputs (None for tensors) and logits of several examples."""
        preprocessing = self.preprocessing
        if isinstance(preprocessing, TensorsPreprocessing):
            parts = self._each([examples] if isinstance(examples, dict) else examples, preprocessing)
            return None, np.concatenate([self._logits(feeds) for feeds in parts])
        if isinstance(preprocessing, TextPreprocessing):
            lone = isinstance(examples, (str, os.PathLike))
            x: NDArray[Any] = preprocessing(self._each([examples] if lone else examples, as_text))
        elif isinstance(examples, (list, tuple)):
            x = np.concatenate(self._each(examples, self._input))
        else:
            x = preprocessing(as_array(examples, preprocessing))
        return x, self._logits(self._ready(x))

    def outputs(self, example: dict[str, Any]) -> dict[str, NDArray[Any]]:
        """Everything the model gives for a dict of arrays, by name: the way to run a bundle of the task tensors.

        Raises:
            InputError: the bundle takes no tensors, or these cannot be its input.
            EngineError: the engine failed, or the model is closed.
        """
        if not isinstance(self.preprocessing, TensorsPreprocessing):
            fix = f"use predict; this model takes {self.preprocessing.describe()}"
            raise InputError("this bundle takes no tensors by name", str(self.folder), fix)
        return self._run_all(self.preprocessing(example))

    def prepare(self, example: Any) -> Prepared:
        """One raw example as the engine wants it, (1, ...) or a dict of arrays: predict's part before the engine."""
        if self._is_quick(example):
            return self._quick(example)  # type: ignore[misc]
        return self._ready(self._input(example))

    def _is_quick(self, example: Any) -> bool:
        """Whether `_quick` takes it, which gives what `_ready(_input(example))` would."""
        if type(example) is not np.ndarray or example.dtype is not _BYTE:  # a name for every native uint8 array
            return False
        if self._quick_shapes is None:
            self._quick, self._quick_shapes = quick_way(self.preprocessing, self.entry.input, self._ready)
        return example.shape in self._quick_shapes

    def _input(self, example: Any) -> Prepared:
        """One raw example, preprocessed, (1, ...) or a dict of arrays, before the file's own layout and type."""
        preprocessing = self.preprocessing
        if isinstance(preprocessing, TextPreprocessing):
            return preprocessing([as_text(example)])
        if isinstance(preprocessing, TensorsPreprocessing):
            return preprocessing(example)
        return preprocessing(self._one(example, preprocessing))

    def run(self, prepared: Prepared) -> NDArray[Any]:
        """The engine's raw (first) output for what prepare gives, or for more such rows: predict's part in the engine.

        Raises:
            EngineError: the engine failed, or the model is closed.
        """
        if isinstance(prepared, dict):
            return self._alive().run_all(prepared)[0]
        return self._alive().run(prepared)

    def reference(self) -> tuple[Any, Any]:
        """The bundle's raw reference examples, and the logits (n, classes) this model gave for them.

        Examples are an array (n, ...), or a list of texts or of dicts of arrays. For the task tensors the second part
        is a list of dicts of outputs.

        Raises:
            BundleError: the reference file is damaged or does not fit the manifest.
        """
        return read_reference(self)

    def check(self) -> CheckReport:
        """Run the bundle's self-test: does this device give what the model gave where it was made?

        Raises:
            BundleError: as reference.
            EngineError: the engine failed, or the model is closed.
        """
        return check(self)

    def _alive(self) -> OnnxEngine | TFLiteEngine:
        engine = self._engine
        if engine is None:
            raise EngineError("the model is closed", str(self.folder), "load the bundle again")
        if engine.pid != os.getpid():  # a fork copies neither the engine's threads nor the owners of its locks
            _keep_forever(engine)
            engine = self._engine = self._start()
        return engine

    def _one(self, example: Any, preprocessing: ArrayPreprocessing) -> NDArray[Any]:
        raw = as_array(example, preprocessing)
        if raw.ndim - 1 in preprocessing.example_ranks and raw.ndim not in preprocessing.example_ranks:
            fix = f"use predict_batch for several; predict takes one of {preprocessing.describe()}"
            raise InputError(f"an array of shape {raw.shape} holds several examples", "input", fix)
        return raw[np.newaxis]

    def _each(self, examples: Iterable[Any], read: Callable[[Any], Any]) -> list[Any]:
        """What `read` makes of each example; a refusal says which one it was."""
        if not isinstance(examples, Iterable):
            fix = f"pass a list; this model takes {self.preprocessing.describe()}"
            raise InputError(f"got {type(examples).__name__}", "input", fix)
        parts = []
        for i, example in enumerate(examples):
            try:
                parts.append(read(example))
            except InputError as error:
                raise InputError(error.what, f"{error.where} {i}", error.fix) from error
        if not parts:
            raise InputError("an empty batch", "input", "pass at least one example")
        return parts

    def _ready(self, x: Prepared) -> Prepared:
        """Preprocessed inputs (n, *output_shape) in the model's layout and dtype. Named tensors are so already."""
        if isinstance(x, dict):
            return x
        tensor = self.entry.input
        if tensor.layout == "NL":
            return self._padded(x).astype(self._dtype)
        if tensor.layout == "NHWC":
            x = x.transpose(0, 2, 3, 1)
        if self._range is not None:
            x = np.rint(x / np.float32(tensor.scale))  # half to even, as ONNX QuantizeLinear prescribes
            x += np.float32(tensor.zero_point or 0)
            np.clip(x, *self._range, out=x)
        return np.ascontiguousarray(x, self._dtype)

    def _padded(self, ids: NDArray[Any]) -> NDArray[Any]:
        """Ids as long as the shortest signature that fits them, for a model that has any."""
        length = next((s.length for s in self.entry.signatures if s.length >= ids.shape[1]), ids.shape[1])
        missing = length - ids.shape[1]
        if not missing:
            return ids
        return np.pad(ids, ((0, 0), (0, missing)), constant_values=self.preprocessing.pad_id)  # type: ignore[union-attr]

    def _tell_refusal(self, error: EdgeError) -> None:
        if self.monitor is not None:
            self.monitor.refused(error)

    def _logits(self, prepared: Prepared) -> NDArray[np.float32]:
        if not self._labels:
            raise self._no_labels()
        return self._sound(self.run(prepared), self.entry.output)

    def _scored(self, raw: NDArray[Any], tensor: TensorInfo | None) -> tuple[int, NDArray[np.float32]]:
        """Index and scores of one row (1, classes), as the engine gives it.

        tensor: what the manifest says of it; None where these are logits already.

        A handful of numbers is scored in plain Python: behind a model that has emptied the CPU's caches, every array
        operation costs more than all of that.
        """
        if not self._labels:
            raise self._no_labels()
        if len(raw) != 1:
            raise InputError(f"the tensors hold {len(raw)} examples", "input", "use predict_batch for several")
        if len(self._labels) > FEW or tensor is None:
            return score_rows(raw if tensor is None else self._sound(raw, tensor))[0]
        row: list[float] = raw.tolist()[0]
        if tensor.scale is not None:
            scale, zero_point = tensor.scale, tensor.zero_point or 0
            row = [(q - zero_point) * scale for q in row]
        elif not math.isfinite(sum(row)):
            raise self._broken(tensor)
        return score_few(row)

    def _no_labels(self) -> InputError:
        what = "this bundle has no labels: what it gives is no classification"
        return InputError(what, str(self.folder), "use outputs(...), which gives every output by its name")

    def _broken(self, tensor: TensorInfo) -> EngineError:
        fix = "run `edge-runtime check` on this device; the model or the engine is broken"
        word = "logits" if self._labels else f"values in {tensor.name}"
        return EngineError(f"{self.engine} gave NaN or infinite {word}", str(self.folder / self.entry.path), fix)

    def _run_all(self, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        found = self._alive().run_all(feeds)
        return {t.name: self._sound(a, t) for t, a in zip(self.entry.outputs, found)}

    def _sound(self, raw: NDArray[Any], tensor: TensorInfo) -> NDArray[Any]:
        """The output in its own unit; NaN and infinity are refused."""
        if tensor.scale is not None:
            zero_point, scale = np.float32(tensor.zero_point or 0), np.float32(tensor.scale)
            return (raw.astype(np.float32) - zero_point) * scale
        if not np.isfinite(raw).all():
            raise self._broken(tensor)
        return raw


def _keep_forever(engine: OnnxEngine | TFLiteEngine) -> None:
    """Never run the destructor of an engine that a fork copied: it would wait for threads that are not here."""
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine))
