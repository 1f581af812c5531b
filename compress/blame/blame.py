"""Blame a file: every layer looked at by itself, the worst ones put back to float, and advice."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from compress.blame import times
from compress.blame.grids import regridded, share_beyond
from compress.blame.judge import MOST_EXAMPLES, Judge, Logits, divergence
from compress.blame.plans import Ground, advice, best, candidates
from compress.blame.tensors import layer_outputs, sqnr_db
from compress.blame.variants import dynamic, integer_layers, mixed, rounded
from compress.blame.weights import clip_finding, stored
from compress.blamed import Blame, LayerBlame, Mixed
from compress.data.dataset import Dataset
from compress.errors import ParityError, UsageError
from compress.evaluate.ledger import TOLERANCES, hop
from compress.export.read_back import read_back
from compress.model.model import Model
from compress.model.rewrite import drop_quantizers, fold_batch_norm

Progress = Callable[[float, float, str], None]
TRACED = 256  # examples whose tensors are followed along the graph


def blame(
    content: bytes, kind: Literal["onnx", "tflite"], model: Model, data: Dataset, *, name: str, artefact: str,
    task: str = "image-classification", examples: int = MOST_EXAMPLES, timing: bool = False,
    progress: Progress = lambda done, total, note: None,
) -> Blame:  # fmt: skip
    """Look at every integer layer of a file.

    content: of the file. model: the checkpoint it was exported from. data: validation examples are used, never test.
    timing: also find what each layer costs in time, here and in one thread.

    Raises:
        UsageError: the file has no integer layer.
        ExportError: it is not the export of this model, or of a kind that cannot be read back.
        ParityError: the file does something that its numbers do not explain.
        MeasureError: timing failed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        judge = Judge(kind, data, task, Path(scratch), examples)
        return _blame(judge, content, model, name, artefact, timing, progress)


def _blame(
    judge: Judge, content: bytes, model: Model, name: str, artefact: str, timing: bool, progress: Progress
) -> Blame:
    float_model = fold_batch_norm(drop_quantizers(model))
    found = _numbers_of(content, judge.kind, model)
    layers = integer_layers(found)
    if not layers:
        raise UsageError("the file has no integer layer, so nothing was quantized away", artefact, "blame an int8 file")
    bundles = {"int8": judge.bundle("int8", content)}
    said = judge.logits(bundles["int8"])
    again = judge.logits(judge.bundle("again", judge.content(found)))
    row = hop("file to its numbers", "conversion", artefact, "read back", said, again, judge.y, TOLERANCES["int8"])
    if not row.ok:
        what = f"the file does something that its numbers do not explain: {row.reason}"
        raise ParityError(what, artefact, "export it again; this is not what compress writes")
    float_content = judge.content(float_model)
    bundles["float"] = judge.bundle("float", float_content)
    reference = judge.logits(bundles["float"])
    rows = _rows(judge, float_model, found, layers, reference, bundles, progress)
    how = ""
    if timing:
        how, rows = _in_time(judge, content, rows, bundles, progress)
    repaired, regrid = regridded(found, float_model, rows, judge.data)
    ground = Ground(judge, float_model, repaired, regrid, rows, reference, said, divergence(reference, said))
    tried = candidates(ground, progress)
    speeds: Mapping[str, times.Timed] = {}
    if timing:
        own = {n: bundles[n] for n in ("int8", "float")} | {f"plan {i}": b for i, (_, b) in enumerate(tried)}
        speeds = times.timed(own, "int8", times.PLANS, _noting(progress, "time of the plans"))
    mixes = [_with_time(m, speeds.get(f"plan {i}")) for i, (m, _) in enumerate(tried)]
    in_float = speeds.get("float")
    plan = best(mixes, ground, in_float)
    return Blame(
        name=name,
        artefact=artefact,
        kind=judge.kind,
        count=judge.count,
        float_top1=judge.top1(reference),
        top1=judge.top1(said),
        kl=ground.kl,
        size_bytes=len(content),
        float_size_bytes=len(float_content),
        milliseconds=speeds["int8"].milliseconds if timing else None,
        float_milliseconds=in_float.milliseconds if in_float else None,
        profile=how,
        layers=tuple(rows),
        tried=tuple(mixes),
        plan=plan,
        advice=advice(mixes, plan, ground, speeds.get("int8"), in_float),
    )


def _numbers_of(content: bytes, kind: Literal["onnx", "tflite"], model: Model) -> Model:
    """The model with the file's own numbers; those of its checkpoint where a file has none that can be read back.

    Text models merge layers on their way to the file, and dynamic int8 has no grids. That the file gives the answers of
    these numbers is asked next, so one that was damaged on the way is refused and not blamed on a layer.
    """
    if model.graph.pad_id is not None or dynamic(model):
        return rounded(model)
    return read_back(content, kind, model)


def _rows(
    judge: Judge, float_model: Model, found: Model, layers: Sequence[str], reference: Logits,
    bundles: dict[str, Path], progress: Progress,
) -> list[LayerBlame]:  # fmt: skip
    """Every layer alone and left out; the files without one are added to `bundles`, to be timed."""
    float_outputs, outputs = (layer_outputs(m, judge.inputs[:TRACED]) for m in (float_model, found))
    rows = []
    for i, layer in enumerate(layers):
        progress(i, len(layers), f"layer {i + 1} of {len(layers)}: {layer}")
        alone = judge.logits(judge.bundle("alone", judge.content(mixed(float_model, found, {layer}))))
        rest = set(layers) - {layer}
        bundles[f"without {layer}"] = judge.bundle(f"without-{i}", judge.content(mixed(float_model, found, rest)))
        without = judge.logits(bundles[f"without {layer}"])
        numbers = stored(float_model.weights[f"{layer}.weight"], found.weights[f"{layer}.weight"])
        beyond = share_beyond(found, layer, float_outputs[layer]) if layer in float_outputs else 0.0
        rows.append(
            LayerBlame(
                name=layer,
                op=found.graph.node(layer).op,
                weight_sqnr_db=numbers.weight_sqnr_db,
                output_sqnr_db=sqnr_db(float_outputs[layer], outputs[layer]) if layer in outputs else None,
                clipped=beyond,
                zero_channels=numbers.zero_channels,
                gain=numbers.gain,
                alone_kl=divergence(reference, alone),
                alone_top1=judge.top1(alone),
                without_kl=divergence(reference, without),
                without_top1=judge.top1(without),
                findings=(*numbers.findings, *clip_finding(beyond)),
            )
        )
    return rows


def _in_time(
    judge: Judge, content: bytes, rows: Sequence[LayerBlame], bundles: Mapping[str, Path], progress: Progress
) -> tuple[str, list[LayerBlame]]:
    """How the engine's figures came about, and the rows with what each layer takes and saves."""
    import edge_runtime

    with edge_runtime.load(bundles["int8"]) as opened:
        feed = {opened.entry.input.name: opened.prepare(judge.x[0])}
    how, spent = times.profiled(content, judge.kind, feed, [r.name for r in rows])
    own = {n: b for n, b in bundles.items() if n == "int8" or n.startswith("without ")}
    seen = times.timed(own, "int8", times.LAYERS, _noting(progress, "time of the layers"))
    out = []
    for row in rows:
        ms, share = spent.get(row.name, (None, None))
        slower = seen[f"without {row.name}"]
        more = {"milliseconds": ms, "share": share, "saves_ms": slower.slower_ms, "saves_ci95": slower.ci95}
        out.append(row.model_copy(update=more))
    return how, out


def _with_time(m: Mixed, timed: times.Timed | None) -> Mixed:
    if timed is None:
        return m
    return m.model_copy(update={"milliseconds": timed.milliseconds, "slower_ms": timed.slower_ms,
                                "slower_ci95": timed.ci95})  # fmt: skip


def _noting(progress: Progress, what: str) -> Progress:
    return lambda done, total, note: progress(done, total, f"{what}: {note}")
