"""Accuracy-driven tuning: where an int8 file strays too far, the layers that cost most go back to float."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from compress.given_onnx.analyse import Analysis
from compress.given_onnx.compare import Outputs, fidelity, run_file
from compress.given_onnx.quantize import Ranges, quantized
from compress.given_onnx.recipe import Candidate, OnnxRecipe
from compress.onnx_file.prepare import Prepared
from compress.quantize_result import Fidelity

MOST_LAYERS = 64  # with more, quantizing each alone takes longer than anybody waits
MOST_BYTES = 50_000_000
_EXAMPLES = 16
Judge = Callable[[Sequence[Fidelity], Outputs], str]  # why it may not ship; "" where it may


@dataclass(frozen=True, slots=True)
class Tuned:
    """What came of it. noise_db: each layer's SQNR when it alone is integer, worst first; empty where not needed."""

    candidate: Candidate
    data: bytes
    rows: tuple[Fidelity, ...]
    outputs: Outputs
    complaint: str
    noise_db: Mapping[str, float]


def tune(
    prepared: Prepared, analysis: Analysis, recipe: OnnxRecipe, candidate: Candidate, ranges: Ranges,
    feeds: Sequence[Mapping[str, NDArray[Any]]], reference: Outputs, judge: Judge,
) -> Tuned:  # fmt: skip
    """The candidate, or the one nearest to it that the judge lets pass: with the fewest of its worst layers in float.

    Doubling, then halving the step: log2(layers) trials. One layer at least stays integer; whether that is still
    faster is for the timing to say.
    """
    first = _trial(prepared, recipe, candidate, ranges, feeds, reference, judge, {})
    layers = [x for x in analysis.layers if not x.inside and x.op in candidate.operators]
    if not first.complaint or len(layers) > MOST_LAYERS or len(prepared.data) > MOST_BYTES:
        return first
    noise = layer_noise(prepared, recipe, candidate, ranges, feeds[:_EXAMPLES], [x.name for x in layers])
    order = list(noise)
    most = len(order) - 1
    passing, low, high = None, 0, 1
    while passing is None and low < most:
        high = min(high, most)
        trial = _trial(
            prepared, recipe, _without(candidate, order[:high], noise), ranges, feeds, reference, judge, noise
        )
        passing, low, high = (None, high, 2 * high) if trial.complaint else (trial, low, high)
    while passing is not None and high - low > 1:
        middle = (low + high) // 2
        trial = _trial(
            prepared, recipe, _without(candidate, order[:middle], noise), ranges, feeds, reference, judge, noise
        )
        passing, low, high = (passing, middle, high) if trial.complaint else (trial, low, middle)
    return passing or replace(first, noise_db=noise)


def layer_noise(
    prepared: Prepared, recipe: OnnxRecipe, candidate: Candidate, ranges: Ranges,
    feeds: Sequence[Mapping[str, NDArray[Any]]], layers: Sequence[str],
) -> dict[str, float]:  # fmt: skip
    """SQNR of the worst output, in dB, with one layer integer and all others float; worst layer first."""
    reference = run_file(prepared.data, feeds, "float file")
    out = {}
    for name in layers:
        others = dict.fromkeys((n for n in layers if n != name), "")
        alone = replace(candidate, keep_float={**candidate.keep_float, **others})
        rows = fidelity(reference, run_file(quantized(prepared, recipe, alone, ranges), feeds, name))
        out[name] = min(row.sqnr_db if row.sqnr_db is not None else 150.0 for row in rows)
    return dict(sorted(out.items(), key=lambda item: item[1]))


def _without(candidate: Candidate, layers: Sequence[str], noise: Mapping[str, float]) -> Candidate:
    reasons = {n: f"in int8 it alone would leave {noise[n]:.0f} dB at an output" for n in layers}
    return replace(candidate, keep_float={**candidate.keep_float, **reasons})


def _trial(
    prepared: Prepared, recipe: OnnxRecipe, candidate: Candidate, ranges: Ranges,
    feeds: Sequence[Mapping[str, NDArray[Any]]], reference: Outputs, judge: Judge, noise: Mapping[str, float],
) -> Tuned:  # fmt: skip
    data = quantized(prepared, recipe, candidate, ranges)
    outputs = run_file(data, feeds, f"int8 file, {candidate.name}")
    rows = fidelity(reference, outputs)
    return Tuned(candidate, data, rows, outputs, judge(rows, outputs), noise)
