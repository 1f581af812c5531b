"""`edge-runtime predict`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime.commands._shared import Answer, add_bundle, add_engine, aligned, open_model, positive
from edge_runtime.errors import InputError
from edge_runtime.files import LARGEST_ARRAYS_BYTES, read_file, read_npz
from edge_runtime.inputs import as_array, read_lines
from edge_runtime.model import Model
from edge_runtime.prediction import Prediction
from edge_runtime.tensors import TensorsPreprocessing
from edge_runtime.text import TextPreprocessing
from edge_runtime.window import WindowPreprocessing

if TYPE_CHECKING:
    from numpy.typing import NDArray

HELP = "label images, vectors, sensor windows or texts"
_SHOWN_LABEL = 60  # characters of a text in the first column


def arguments(parser: argparse.ArgumentParser) -> None:
    """BUNDLE, FILE..., --text, --top, --engine, --threads and --trusted-key."""
    add_bundle(parser)
    files = "image, .npy (one example or a batch), .csv (readings, one a row), .txt (one text a line), .npz (tensors)"
    parser.add_argument("files", nargs="*", metavar="FILE", type=Path, help=files)
    parser.add_argument("--text", action="append", default=[], metavar="TEXT", help="a text itself; may be repeated")
    parser.add_argument("--top", type=positive, default=1, metavar="K", help="labels to show per example (default 1)")
    add_engine(parser)


def run(options: argparse.Namespace) -> Answer:
    """Every example of every file."""
    if not options.files and not options.text:
        raise InputError("nothing to label", "edge-runtime predict", "name a file, or give --text for a text model")
    with open_model(options) as model:
        if options.text and not isinstance(model.preprocessing, TextPreprocessing):
            fix = f"this model takes {model.preprocessing.describe()}"
            raise InputError("--text is for models that take texts", "edge-runtime predict", fix)
        if not model.manifest.labels:
            return _tensors(model, options.files)
        found = [(_short(text), model.predict(text)) for text in options.text]
        for file in options.files:
            try:
                found += _label(model, file)
            except InputError as error:
                if error.where != "input":
                    raise
                raise InputError(error.what, str(file), error.fix) from error  # one of several files
        return _table(model.manifest.labels, found, options.top)


def _table(labels: tuple[str, ...], found: list[tuple[str, Prediction]], top: int) -> Answer:
    answer, rows = [], [("input", "label", "score", "ms")]
    for name, prediction in found:
        best = np.argsort(-prediction.scores, kind="stable")[:top]
        entries = [{"label": labels[i], "index": int(i), "score": float(prediction.scores[i])} for i in best]
        answer.append({"input": name, "top": entries, "latency_ms": prediction.latency_ms})
        for rank, entry in enumerate(entries):
            first, last = (name, f"{prediction.latency_ms:.3f}") if rank == 0 else ("", "")
            rows.append((first, str(entry["label"]), f"{entry['score']:.4f}", last))
    return answer, aligned(rows), 0


def _label(model: Model, file: Path) -> list[tuple[str, Prediction]]:
    """Predictions of a file; of each of its examples if it holds several."""
    preprocessing = model.preprocessing
    if isinstance(preprocessing, TextPreprocessing):
        return [(_short(line), model.predict(line)) for line in read_lines(file)]
    if isinstance(preprocessing, TensorsPreprocessing):
        return _numbered(file, model.predict_batch(_read_npz(file)))
    array = as_array(file, preprocessing)
    if isinstance(preprocessing, WindowPreprocessing):
        array = _windows(array, preprocessing, file)
    ranks = preprocessing.example_ranks
    trailing_channel = len(ranks) == 2 and array.ndim == 3 and array.shape[2] == 1
    if array.ndim == min(ranks) or trailing_channel or array.ndim - 1 not in ranks:
        return [(str(file), model.predict(array))]
    return _numbered(file, model.predict_batch(array))


def _numbered(file: Path, predictions: list[Prediction]) -> list[tuple[str, Prediction]]:
    if len(predictions) == 1:
        return [(str(file), predictions[0])]
    return [(f"{file}[{i}]", p) for i, p in enumerate(predictions)]


def _windows(array: NDArray[Any], preprocessing: WindowPreprocessing, file: Path) -> NDArray[Any]:
    """A recording of several windows' length, cut into them one after the other."""
    length = preprocessing.length
    if array.ndim != 2 or array.shape[0] == length:
        return array
    if array.shape[0] % length:
        fix = f"give a multiple of {length} rows; this model takes {preprocessing.describe()}"
        raise InputError(f"{array.shape[0]} rows are no whole number of windows", str(file), fix)
    return array.reshape(-1, length, array.shape[1])


def _read_npz(file: Path) -> dict[str, NDArray[Any]]:
    if file.suffix.lower() != ".npz":
        raise InputError("no .npz file", str(file), "this model takes arrays by name: write them with numpy.savez")
    at = file.resolve()
    return read_npz(read_file(at.parent, at.name, largest=LARGEST_ARRAYS_BYTES), str(file))


def _tensors(model: Model, files: list[Path]) -> Answer:
    """Outputs by name, of a bundle without labels."""
    answer, rows = [], [("input", "output", "type", "values")]
    for file in files:
        outputs = model.outputs(_read_npz(file))
        answer.append({"input": str(file), "outputs": {name: a.tolist() for name, a in outputs.items()}})
        for name, array in outputs.items():
            values = ", ".join(f"{v:.6g}" for v in array.ravel()[:6]) + (", ..." if array.size > 6 else "")
            rows.append((str(file), name, f"{array.dtype} {list(array.shape)}", values))
    return answer, aligned(rows), 0


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_LABEL else line[: _SHOWN_LABEL - 3] + "..."
