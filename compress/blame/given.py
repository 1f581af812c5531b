"""Blame a file that `compress quantize` made: it is made anew with some of its layers in float, and each is weighed.

A given file has no checkpoint. What stands in for it is the recipe in result.json, the float file in files/float and
the examples, which the user gives again: the same ones, by their fingerprint. Ranges come from the part that
calibrated, answers from the part that chose; the part that judges stays unseen.
"""

import shlex
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.blame.given_judge import GivenJudge
from compress.blame.judge import MOST_EXAMPLES
from compress.blame.weigh import Case, Numbers, Progress, weigh
from compress.blame.weights import stored
from compress.blamed import Blame
from compress.errors import DataError, ParityError, UsageError
from compress.export.counts import count_onnx
from compress.given_onnx.analyse import analyse
from compress.given_onnx.compare import Outputs, fidelity, run_file
from compress.given_onnx.examples import read_examples, split
from compress.given_onnx.judge import class_scores
from compress.given_onnx.opened import lighter
from compress.given_onnx.quantize import Ranges, observe, quantized
from compress.given_onnx.recipe import Candidate, OnnxRecipe, recipe_of
from compress.given_onnx.run import FLOAT, kernel_of, speed
from compress.onnx_file.open import open_onnx
from compress.onnx_file.prepare import Prepared, prepare
from compress.quantize_result import FORMAT, FileRow, QuantizeResult, load

_SAME_DB = 60.0  # the file against the one made anew
_OPTIONS = {"max_drop_points": "--max-drop", "min_agreement": "--min-agreement", "min_cosine": "--min-cosine",
            "min_sqnr_db": "--min-sqnr"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class GivenFile:
    """One int8 file of a `compress quantize` folder."""

    folder: Path
    result: QuantizeResult
    row: FileRow

    def content(self, identity: str) -> bytes:
        """The bytes of one of the folder's files.

        Raises:
            UsageError: it is gone.
        """
        path = self.folder / "files" / identity / "model.onnx"
        try:
            return path.read_bytes()
        except OSError as error:
            raise UsageError(f"it cannot be read: {error.strerror}", str(path), "quantize the file again") from error


def find_given(text: str) -> GivenFile | None:
    """The int8 file of a folder of `compress quantize` (the one that ships, else the fastest) or `FOLDER:FILE`.

    None: it is no such folder.

    Raises:
        UsageError: it has no such file, or its result is damaged.
    """
    path, identity = Path(text), ""
    if not path.exists() and ":" in text:
        name, _, identity = text.rpartition(":")
        path = Path(name)
    folder = path.parent if path.name in ("result.json", "bundle", "int8.onnx") else path
    if path.parent.name == "files":
        folder, identity = path.parent.parent, path.name
    if not _is_quantize(folder / "result.json"):
        return None
    result = load(folder / "result.json")
    rows = [r for r in result.files if r.id != FLOAT]
    wanted = identity or (result.shipped if result.shipped != FLOAT else max(rows, key=speed).id)
    if wanted not in {r.id for r in rows}:
        have = ", ".join(r.id for r in rows)
        raise UsageError(f"it has no int8 file {wanted!r}", str(folder), f"one of {have}")
    return GivenFile(folder, result, result.file(wanted))


def _is_quantize(path: Path) -> bool:
    try:
        return f'"{FORMAT}"' in path.read_text()[:200]
    except (OSError, UnicodeDecodeError):
        return False


@dataclass(frozen=True, slots=True)
class _Opened:
    """Everything that files are made of. candidate: as the blamed file was made; labels: of `feeds`, if there are."""

    prepared: Prepared
    lean: Prepared
    recipe: OnnxRecipe
    candidate: Candidate
    ranges: Ranges
    feeds: list[dict[str, NDArray[Any]]]
    labels: NDArray[np.int64] | None

    def layers(self, content: bytes) -> dict[str, str]:
        """Name -> operator of the layers that the engine computes in integers."""
        counts, kept = count_onnx(content), self.candidate.keep_float
        free = [x for x in analyse(self.lean, self.feeds[0]).layers if not x.inside and x.name not in kept]
        chosen = [x for x in free if x.op in self.candidate.operators and kernel_of(x.name, counts) != "float"]
        return {x.name: x.op for x in chosen}

    def make(self, layers: Collection[str], integer: Collection[str]) -> bytes:
        """The file with only these of its integer layers in integers."""
        back = dict.fromkeys((n for n in layers if n not in integer), "put back")
        candidate = replace(self.candidate, keep_float={**self.candidate.keep_float, **back})
        return quantized(self.lean, self.recipe, candidate, self.ranges)


def blame_given(
    given: GivenFile, data: Path | None, labels: Path | None, examples: int = MOST_EXAMPLES, *, timing: bool,
    progress: Progress = lambda done, total, note: None,
) -> Blame:  # fmt: skip
    """Look at every integer layer of a file that `compress quantize` made.

    Raises:
        UsageError: no examples are given, or the file has no integer layer.
        DataError: they are not those that it was made with.
        ParityError: its recipe and examples make another file.
        MeasureError: timing failed.
    """
    progress(0, 1, "opening the file and the examples")
    opened, content = _open(given, data, labels, examples), given.content(given.row.id)
    layers = opened.layers(content)
    if not layers:
        what = "the file has no integer layer, so nothing was quantized away"
        raise UsageError(what, given.row.id, "blame an int8 file")
    feeds, signature = opened.feeds, opened.prepared.signature
    reference = run_file(opened.prepared.data, feeds, "float file")
    classes = given.result.judge == "classes" and class_scores(reference) is not None
    with tempfile.TemporaryDirectory() as scratch:
        judge = GivenJudge(feeds, opened.labels, reference, classes, signature, Path(scratch))
        said = judge.answers(judge.bundle("int8", content))
        _check_same(said, run_file(opened.make(layers, layers), feeds, "made anew"), given.row.id)
        make = partial(opened.make, layers)
        case = Case(
            name=given.result.name, artefact=given.row.id, content=content, float_content=opened.prepared.data,
            said=said, numbers=_numbers(opened.lean, content, layers), make=make, mend=make,
        )  # fmt: skip
        return weigh(judge, case, timing, progress)


def _open(given: GivenFile, data: Path | None, labels: Path | None, examples: int) -> _Opened:
    result = given.result
    if data is None:
        what, fix = "its examples are not kept with it", f"name the file they came from: --data {result.examples.path}"
        raise UsageError(what, result.name, fix)
    prepared = prepare(open_onnx(given.folder / "files" / FLOAT), {})
    read = read_examples(data, prepared.signature, labels, tuple(result.source.fixed))
    if read.fingerprint != result.examples.fingerprint:
        what = f"these are not the examples that {result.name} was quantized with"
        raise DataError(what, str(data), f"give {result.examples.path} as it was then, with its labels if it had any")
    parts, recipe = split(read.count, result.seed), recipe_of(result.recipe)
    lean, chosen = lighter(prepared, read.feeds(parts.selection)), parts.selection[:examples]
    candidate = next(c for c in recipe.candidates if c.name == given.row.id)
    return _Opened(
        prepared=prepared,
        lean=lean,
        recipe=recipe,
        candidate=replace(candidate, keep_float=dict.fromkeys(given.row.keep_float, "in float already")),
        ranges=observe(lean, read.feeds(parts.calibration), recipe.calibration),
        feeds=read.feeds(chosen),
        labels=None if read.labels is None else read.labels[chosen],
    )


def _check_same(file: Outputs, anew: Outputs, where: str) -> None:
    for one in fidelity(file, anew):
        if (one.agreement or 0.0) < 1.0 if one.sqnr_db is None else one.sqnr_db < _SAME_DB:
            what = "its recipe and these examples make another file"
            raise ParityError(what, where, "quantize the file again with this version, then blame it")


def _numbers(lean: Prepared, content: bytes, layers: Mapping[str, str]) -> list[Numbers]:
    """What the stored weights say; tensors along the graph are not followed."""
    import onnx
    from onnx import numpy_helper

    real = {i.name: numpy_helper.to_array(i) for i in lean.model.graph.initializer}
    graph = onnx.load_from_string(content).graph
    kept = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    axes = {n.input[0]: next((a.i for a in n.attribute if a.name == "axis"), 1) for n in graph.node
            if n.op_type == "DequantizeLinear"}  # fmt: skip
    out = []
    for node in lean.model.graph.node:
        if node.name not in layers:
            continue
        weight = next((i for i in node.input if i in real and real[i].ndim > 1), "")
        integers, scale = (kept.get(f"{weight}_{part}") for part in ("quantized", "scale"))
        one = None
        if integers is not None and scale is not None:  # symmetric: their zero is 0
            axis = axes.get(f"{weight}_quantized", 1) % integers.ndim
            first = np.moveaxis(integers, axis, 0).astype(np.float32)
            one = stored(np.moveaxis(real[weight], axis, 0), first * scale.reshape(-1, *[1] * (first.ndim - 1)))
        out.append(
            Numbers(
                name=node.name,
                op=layers[node.name],
                weight_sqnr_db=one.weight_sqnr_db if one else None,
                output_sqnr_db=None,
                clipped=None,
                zero_channels=one.zero_channels if one else 0,
                gain=one.gain if one else None,
                findings=one.findings if one else (),
            )
        )
    return out


def write_given_fix(given: GivenFile, blamed: Blame, data: Path, labels: Path | None, path: Path) -> None:
    """Write a shell script that quantizes the file again with the blamed layers in float.

    Raises:
        UsageError: there is nothing to mend.
    """
    if blamed.plan is None:
        raise UsageError("there is no layer to put back to float", blamed.artefact, blamed.advice[-1])
    recipe, row = recipe_of(given.result.recipe), given.row
    out = given.folder.resolve().with_name(f"{given.folder.resolve().name}-mended")
    model = given.folder.resolve() / "files" / FLOAT / "model.onnx"
    words = ["compress", "quantize", str(model), "--data", str(data.resolve())]
    words += ["--labels", str(labels.resolve())] if labels else []
    words += ["--how", row.id, "--target", recipe.target, "--calibration", recipe.calibration, "--out", str(out)]
    words += [w for key, limit in given.result.limits.items() for w in (_OPTIONS[key], f"{limit:g}")]
    words += [w for name in (*row.keep_float, *blamed.plan.keep_float) for w in ("--keep-float", name)]
    about = f"# {given.result.name}, mended by what `compress blame` found in {row.id}; run it with sh.\n"
    path.write_text(f'{about}{shlex.join(words)} "$@"\n')
