"""Blame a file that `compress quantize` made: it is made anew with some of its layers in float, and each is weighed.

A given file has no checkpoint. What stands in for it is the recipe in result.json, the float file in files/float and
the examples, which the user gives again: the same ones, by their fingerprint. Ranges come from the part that
calibrated, answers from the part that chose; the part that judges stays unseen.
"""

import shlex
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.blame.judge import MOST_EXAMPLES, Judge, divergence
from compress.blame.weigh import Case, Numbers, Progress, weigh
from compress.blame.weights import stored
from compress.blamed import Blame
from compress.errors import DataError, ParityError, UsageError
from compress.evaluate.calibration import log_softmax
from compress.export.counts import count_onnx
from compress.given_onnx.analyse import analyse
from compress.given_onnx.bundle import write_tensors_bundle
from compress.given_onnx.compare import Outputs, fidelity, run_file
from compress.given_onnx.examples import Feed, read_examples, split
from compress.given_onnx.judge import class_scores
from compress.given_onnx.opened import lighter
from compress.given_onnx.quantize import observe, quantized
from compress.given_onnx.recipe import recipe_of
from compress.given_onnx.run import FLOAT, kernel_of, speed
from compress.onnx_file.open import open_onnx
from compress.onnx_file.prepare import Prepared, prepare
from compress.onnx_file.signature import Signature
from compress.quantize_result import FORMAT, FileRow, QuantizeResult, load

CLOSE = 0.01  # of an output's energy: an example whose error is no more is right, where outputs are values
_SAME_DB = 60.0  # the file against the one made anew
_LEAST = 1e-12  # a probability
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


class GivenJudge(Judge):
    """Variants of a given file on the same examples, against labels or against the float file's outputs."""

    kind = "onnx"
    spread = "Try `--calibration percentile`, or `--how dynamic`; a given file cannot be trained."

    def __init__(
        self, feeds: Sequence[Feed], labels: NDArray[np.int64] | None, reference: Outputs, classes: bool,
        signature: Signature, scratch: Path,
    ) -> None:  # fmt: skip
        self.feeds, self.labels, self.reference, self.signature = feeds, labels, reference, signature
        self.scratch, self.count = scratch, len(feeds)
        self.classes = classes or all(map(_distributions, reference.values()))
        self.measure = "kl" if self.classes else "noise"
        self.right = "label" if labels is not None else "answer" if self.classes else "signal"

    def bundle(self, name: str, data: bytes) -> Path:
        """A file of these bytes as a bundle of named arrays."""
        write_tensors_bundle(self.scratch / name, "blame", data, "int8", self.signature, self.feeds[:2])
        return self.scratch / name

    def answers(self, bundle: Path) -> Outputs:
        """Every output for every example."""
        return run_file((bundle / "model.onnx").read_bytes(), self.feeds, bundle.name)

    def rights(self, answers: Outputs) -> NDArray[np.bool_]:
        """By label, by the float file's answer, or by the size of the error."""
        if self.labels is not None:
            scores = class_scores(answers)
            assert scores is not None  # labels are taken for plain classifiers only
            return np.asarray(scores.argmax(axis=1) == self.labels)
        pairs = ([(a[i], answers[name][i]) for name, a in self.reference.items()] for i in range(self.count))
        if self.classes:
            return np.array([all((a.argmax(-1) == b.argmax(-1)).all() for a, b in one) for one in pairs])
        return np.array([all(_noise([a], [b]) <= CLOSE for a, b in one) for one in pairs])

    def divergence(self, reference: Outputs, other: Outputs) -> float:
        """Of the output that strays most."""
        if not self.classes:
            return max(_noise(arrays, other[name]) for name, arrays in reference.items())
        return max(divergence(*(_log_rows(found[name]) for found in (reference, other))) for name in reference)

    def feed(self, bundle: Path) -> Feed:
        """The first example."""
        return self.feeds[0]


def _distributions(arrays: Sequence[NDArray[Any]]) -> bool:
    """Whether the last axis holds probabilities, of one thing or of a sequence."""
    return all(
        a.dtype.kind == "f"
        and a.ndim >= 2
        and a.shape[-1] > 1
        and (a >= 0).all()
        and np.allclose(a.sum(-1), 1, atol=1e-3)
        for a in arrays
    )


def _log_rows(arrays: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """Log-probabilities (rows, classes) of scores or of probabilities."""
    rows = np.concatenate([a.reshape(-1, a.shape[-1]) for a in arrays]).astype(np.float64)
    return log_softmax(np.log(np.maximum(rows, _LEAST)) if _distributions([rows]) else rows)


def _noise(reference: Sequence[NDArray[Any]], other: Sequence[NDArray[Any]]) -> float:
    """Energy of the error over the signal's."""
    error = sum(float(((a.astype(np.float64) - b) ** 2).sum()) for a, b in zip(reference, other, strict=True))
    signal = sum(float((a.astype(np.float64) ** 2).sum()) for a in reference)
    return error / max(signal, 1e-30)


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
    result, row = given.result, given.row
    if data is None:
        what, fix = "its examples are not kept with it", f"name the file they came from: --data {result.examples.path}"
        raise UsageError(what, given.result.name, fix)
    progress(0, 1, "opening the file and the examples")
    prepared = prepare(open_onnx(given.folder / "files" / FLOAT), {})
    read = read_examples(data, prepared.signature, labels, tuple(result.source.fixed))
    if read.fingerprint != result.examples.fingerprint:
        what = f"these are not the examples that {result.name} was quantized with"
        raise DataError(what, str(data), f"give {result.examples.path} as it was then, with its labels if it had any")
    parts = split(read.count, result.seed)
    feeds = read.feeds(parts.selection[:examples])
    recipe = recipe_of(result.recipe)
    candidate = next(c for c in recipe.candidates if c.name == row.id)
    candidate = replace(candidate, keep_float=dict.fromkeys(row.keep_float, "in float already"))
    lean = lighter(prepared, read.feeds(parts.selection))
    progress(0, 1, "taking the ranges")
    ranges = observe(lean, read.feeds(parts.calibration), recipe.calibration)

    def make(layers: Sequence[str]) -> Any:
        def made(integer: Collection[str]) -> bytes:
            real = dict.fromkeys((n for n in layers if n not in integer), "put back")
            return quantized(lean, recipe, replace(candidate, keep_float={**candidate.keep_float, **real}), ranges)

        return made

    content = given.content(row.id)
    counts = count_onnx(content)
    found = [x for x in analyse(lean, feeds[0]).layers if not x.inside and x.name not in candidate.keep_float]
    found = [x for x in found if x.op in candidate.operators and kernel_of(x.name, counts) != "float"]
    names = [x.name for x in found]
    if not names:
        raise UsageError("the file has no integer layer, so nothing was quantized away", row.id, "blame an int8 file")
    _check_same(run_file(content, feeds, row.id), run_file(make(names)(names), feeds, "made anew"), row.id)
    with tempfile.TemporaryDirectory() as scratch:
        reference = run_file(prepared.data, feeds, "float file")
        chosen = None if read.labels is None else read.labels[parts.selection[:examples]]
        classes = result.judge == "classes" and class_scores(reference) is not None
        judge = GivenJudge(feeds, chosen, reference, classes, prepared.signature, Path(scratch))
        known = _numbers(lean, content, {x.name: x.op for x in found})
        case = Case(
            name=result.name, artefact=row.id, content=content, float_content=prepared.data,
            said=judge.answers(judge.bundle("int8", content)), numbers=known, make=make(names), mend=make(names),
        )  # fmt: skip
        return weigh(judge, case, timing, progress)


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
    out = given.folder.with_name(f"{given.folder.name}-mended")
    words = ["compress", "quantize", str(given.folder / "files" / FLOAT / "model.onnx"), "--data", str(data)]
    words += ["--labels", str(labels)] if labels else []
    words += ["--how", row.id, "--target", recipe.target, "--calibration", recipe.calibration, "--out", str(out)]
    words += [w for key, limit in given.result.limits.items() for w in (_OPTIONS[key], f"{limit:g}")]
    words += [w for name in (*row.keep_float, *blamed.plan.keep_float) for w in ("--keep-float", name)]
    about = f"# {given.result.name}, mended by what `compress blame` found in {row.id}; run it with sh.\n"
    path.write_text(f'{about}{shlex.join(words)} "$@"\n')
