"""The int8 file against the float file on the same examples: how far apart, output by output."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.errors import DataError, ExportError
from compress.quantize_result import Fidelity

Feeds = Sequence[Mapping[str, NDArray[Any]]]
Outputs = dict[str, list[NDArray[Any]]]


def run_file(data: bytes, feeds: Feeds, where: str) -> Outputs:
    """Every output for every example, one example at a time, on one thread.

    Raises:
        DataError: the file does not run on an example.
    """
    from edge_runtime._onnx import import_onnxruntime

    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:  # its exceptions have no public base class
        what = f"ONNX Runtime refuses it: {str(error).splitlines()[0][:300]}"
        raise ExportError(what, where, "try another --how, or leave layers in float with --keep-float") from error
    names = [o.name for o in session.get_outputs()]
    out: Outputs = {name: [] for name in names}
    for number, feed in enumerate(feeds):
        try:
            found = session.run(names, dict(feed))
        except Exception as error:
            what = f"it fails on example {number}: {str(error).splitlines()[0][:300]}"
            raise DataError(what, where, "give inputs that the float model takes") from error
        for name, array in zip(names, found, strict=True):
            out[name].append(array)
    return out


def fidelity(reference: Outputs, found: Outputs) -> tuple[Fidelity, ...]:
    """One row an output.

    Raises:
        DataError: an output of the float file is not finite.
        ExportError: an output of the int8 file is not finite, or of another shape.
    """
    rows = []
    for name, arrays in reference.items():
        pairs = list(zip(arrays, found[name], strict=True))
        if any(a.shape != b.shape for a, b in pairs):
            a, b = next((a, b) for a, b in pairs if a.shape != b.shape)
            what = f"its shape is {b.shape}, the float file's {a.shape}"
            raise ExportError(what, f"output {name!r}", "report this file: the quantizer broke it")
        rows.append(_row(name, pairs))
    return tuple(rows)


def _row(name: str, pairs: list[tuple[NDArray[Any], NDArray[Any]]]) -> Fidelity:
    before = np.concatenate([a.ravel() for a, _ in pairs])
    after = np.concatenate([b.ravel() for _, b in pairs])
    if before.dtype.kind != "f":
        return Fidelity(output=name, values=before.size, agreement=float((before == after).mean()))
    before, after = before.astype(np.float64), after.astype(np.float64)
    if not np.isfinite(before).all():
        what = "the float file gives NaN or infinite values for these examples"
        raise DataError(what, f"output {name!r}", "give inputs as the model expects them, scaled as in training")
    if not np.isfinite(after).all():
        raise ExportError("it is no longer finite", f"output {name!r}", "leave the last layers in float")
    norm = float(np.linalg.norm(before) * np.linalg.norm(after))
    agreement = None
    if all(a.ndim == 2 and a.shape[1] > 1 for a, _ in pairs):
        agreement = float(np.mean(np.concatenate([a.argmax(1) == b.argmax(1) for a, b in pairs])))
    cosine, ratio = (
        _vectors(pairs) if all(a.ndim == 2 and len(a) == 1 and a.size > 1 for a, _ in pairs) else (None,) * 2
    )
    return Fidelity(
        output=name,
        values=before.size,
        agreement=agreement,
        cosine=float(before @ after) / norm if norm else (1.0 if np.array_equal(before, after) else 0.0),
        sqnr_db=sqnr_db(before, after),
        vector_cosine=cosine,
        length_ratio=ratio,
        largest_difference=float(np.abs(before - after).max()),
        spread=float(before.std()),
    )


def _vectors(pairs: list[tuple[NDArray[Any], NDArray[Any]]]) -> tuple[float, float]:
    """One vector an example: the mean cosine similarity, and the mean length over the float file's."""
    cosines, lengths = [], []
    for a, b in pairs:
        one, other = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
        size, found = float(np.linalg.norm(one)), float(np.linalg.norm(other))
        cosines.append(float(one @ other) / (size * found) if size and found else float(size == found))
        lengths.append((size, found))
    first, second = (float(np.sum(column)) for column in zip(*lengths, strict=True))
    return float(np.mean(cosines)), second / first if first else float(second == 0)


def sqnr_db(reference: NDArray[np.float64], found: NDArray[np.float64]) -> float:
    """Signal to quantization noise: 10 log10(sum r^2 / sum (r - f)^2), held to -20..150 dB.

    >>> round(sqnr_db(np.array([1.0, 1.0]), np.array([1.1, 0.9])), 1)
    20.0
    """
    noise, signal = float(np.square(reference - found).sum()), float(np.square(reference).sum())
    if noise <= signal * 1e-15:
        return 150.0
    return max(-20.0, 10 * math.log10(signal / noise)) if signal else -20.0
