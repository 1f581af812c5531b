"""Open and check what `compress quantize` was given, and make the recipe: all that is known before int8."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from compress.errors import ModelError
from compress.given_onnx.analyse import Analysis, analyse
from compress.given_onnx.analyse import profile as operator_times
from compress.given_onnx.compare import fidelity, run_file
from compress.given_onnx.examples import Examples, Parts, read_examples, split
from compress.given_onnx.judge import Asked, Judge, Limits, choose_judge
from compress.given_onnx.recipe import Calibration, How, OnnxRecipe, make_recipe
from compress.onnx_file.lookups import with_lookups
from compress.onnx_file.open import Given, open_onnx
from compress.onnx_file.prepare import Prepared, prepare
from compress.plan.target import load_target
from compress.quantize_result import Fidelity

_SAME = 1e-3  # of the spread: folding constants and raising the opset must not move an output by more
_SAME_EXAMPLES = 32


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says. fixed: input -> value built into the graph."""

    data: Path
    labels: Path | None = None
    target: str = "x86-vnni"
    how: How = "auto"
    calibration: Calibration = "minmax"
    keep_float: tuple[str, ...] = ()
    fixed: Mapping[str, str] | None = None
    limits: Limits = field(default_factory=Limits)
    judge: Asked = "auto"
    allow_slower: bool = False
    profile: str = "quick"
    threads: int = 1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Opened:
    """Everything that is known before anything is quantized: what --dry-run shows."""

    given: Given
    prepared: Prepared
    lean: Prepared  # the same function with less to compute, which int8 files are made of
    examples: Examples
    parts: Parts
    analysis: Analysis
    recipe: OnnxRecipe
    judge: Judge


def open_all(path: Path, options: Options) -> Opened:
    """Open and check the file and the examples, and make the recipe.

    Raises:
        CompressError: whatever is wrong with any of them.
    """
    profile = load_target(options.target)
    given = open_onnx(path)
    prepared = prepare(given, options.fixed)
    examples = read_examples(options.data, prepared.signature, options.labels, tuple(options.fixed or ()))
    parts = split(examples.count, options.seed)
    check_same(given, prepared, examples, parts, options.fixed or {})
    some = run_file(prepared.data, examples.feeds(parts.selection[:_SAME_EXAMPLES]), "prepared graph")
    judge = choose_judge(options.judge, some, labelled=examples.labels is not None)
    lean = lighter(prepared, examples.feeds(parts.selection[:_SAME_EXAMPLES]))
    feed = examples.feed(int(parts.calibration[0]))
    analysis = replace(analyse(lean, feed), time_share=operator_times(prepared.data, feed))
    recipe = make_recipe(
        analysis, profile, how=options.how, calibration=options.calibration, keep_float=options.keep_float
    )
    return Opened(given, prepared, lean, examples, parts, analysis, recipe, judge)


def lighter(prepared: Prepared, feeds: Sequence[Mapping[str, Any]]) -> Prepared:
    """The graph with products of one-hot rows made look-ups; as it was where there is none, or where an output changes
    for an example or for two at once."""
    model, count = with_lookups(prepared.model)
    if not count:
        return prepared
    free = all(t.shape and t.shape[0] is None for t in prepared.signature.inputs)
    pairs = [{k: np.concatenate([a[k], b[k]]) for k in a} for a, b in pairwise(feeds)] if free else []
    lean = replace(prepared, model=model, lookups=count)
    same = fidelity(*(run_file(p.data, [*feeds, *pairs], "look-ups") for p in (prepared, lean)))
    exact = all((r.largest_difference or 0.0) <= _SAME * max(r.spread or 0.0, 1e-6) for r in same)
    return lean if exact and all(r.sqnr_db is not None or r.agreement == 1.0 for r in same) else prepared


def check_same(
    given: Given, prepared: Prepared, examples: Examples, parts: Parts, fixed: Mapping[str, str]
) -> tuple[Fidelity, ...]:
    """The prepared graph against the file as it was given, on real examples.

    Raises:
        ModelError: they differ.
    """
    feeds = examples.feeds(parts.selection[:_SAME_EXAMPLES])
    values = {v.name: v for v in given.model.graph.input if v.name in fixed}
    constant = {name: _constant(values[name], text) for name, text in fixed.items()}
    source = given.model.SerializeToString()
    before = run_file(source, [{**f, **constant} for f in feeds], str(given.path))
    rows = fidelity(before, run_file(prepared.data, feeds, "prepared graph"))
    for row in rows:
        far = row.largest_difference is not None and row.largest_difference > _SAME * max(row.spread or 0.0, 1e-6)
        if far or (row.sqnr_db is None and row.agreement != 1.0):
            what = f"bringing it up to date changed output {row.output!r} by {row.largest_difference}"
            raise ModelError(what, str(given.path), "export the model again with opset 17 or later")
    return rows


def _constant(value: Any, text: str) -> Any:
    from onnx import helper

    info = value.type.tensor_type
    dtype = helper.tensor_dtype_to_np_dtype(info.elem_type)
    return np.full([d.dim_value or 1 for d in info.shape.dim], float(text), dtype)
