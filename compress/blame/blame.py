"""Blame a run's file: its numbers read back, held to its answers, and its layers weighed."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from compress.blame.grids import regridded, share_beyond
from compress.blame.judge import MOST_EXAMPLES, RunJudge
from compress.blame.tensors import layer_outputs, sqnr_db
from compress.blame.variants import dynamic, integer_layers, mixed, rounded
from compress.blame.weigh import Case, Numbers, Progress, weigh
from compress.blame.weights import clip_finding, stored
from compress.blamed import Blame
from compress.data.dataset import Dataset
from compress.errors import ParityError, UsageError
from compress.evaluate.ledger import TOLERANCES, hop
from compress.export.read_back import read_back
from compress.model.model import Model
from compress.model.rewrite import drop_quantizers, fold_batch_norm

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
        judge = RunJudge(kind, data, task, Path(scratch), examples)
        return weigh(judge, _case(judge, content, model, name, artefact), timing, progress)


def _case(judge: RunJudge, content: bytes, model: Model, name: str, artefact: str) -> Case:
    real, found = fold_batch_norm(drop_quantizers(model)), _numbers_of(content, judge.kind, model)
    layers = integer_layers(found)
    if not layers:
        raise UsageError("the file has no integer layer, so nothing was quantized away", artefact, "blame an int8 file")
    said = judge.answers(judge.bundle("int8", content))
    again = judge.answers(judge.bundle("again", judge.content(found)))
    row = hop("file to its numbers", "conversion", artefact, "read back", said, again, judge.y, TOLERANCES["int8"])
    if not row.ok:
        what = f"the file does something that its numbers do not explain: {row.reason}"
        raise ParityError(what, artefact, "export it again; this is not what compress writes")
    numbers = _known(judge, real, found, layers)
    repaired, regrid = regridded(found, real, numbers, judge.data)
    return Case(
        name=name,
        artefact=artefact,
        content=content,
        float_content=judge.content(real),
        said=said,
        numbers=numbers,
        make=lambda integer: judge.content(mixed(real, found, integer)),
        mend=lambda integer: judge.content(mixed(real, repaired, integer)),
        regrid=regrid,
    )


def _numbers_of(content: bytes, kind: Literal["onnx", "tflite"], model: Model) -> Model:
    """The model with the file's own numbers; those of its checkpoint where a file has none that can be read back.

    Text models merge layers on their way to the file, and dynamic int8 has no grids. That the file gives the answers of
    these numbers is asked next, so one that was damaged on the way is refused and not blamed on a layer.
    """
    if model.graph.pad_id is not None or dynamic(model):
        return rounded(model)
    return read_back(content, kind, model)


def _known(judge: RunJudge, real: Model, found: Model, layers: Sequence[str]) -> list[Numbers]:
    """What stored weights and tensors along the graph say of each layer."""
    float_outputs, outputs = (layer_outputs(m, judge.inputs[:TRACED]) for m in (real, found))
    out = []
    for layer in layers:
        weights = stored(real.weights[f"{layer}.weight"], found.weights[f"{layer}.weight"])
        beyond = share_beyond(found, layer, float_outputs[layer]) if layer in float_outputs else 0.0
        out.append(
            Numbers(
                name=layer,
                op=found.graph.node(layer).op,
                weight_sqnr_db=weights.weight_sqnr_db,
                output_sqnr_db=sqnr_db(float_outputs[layer], outputs[layer]) if layer in outputs else None,
                clipped=beyond,
                zero_channels=weights.zero_channels,
                gain=weights.gain,
                findings=(*weights.findings, *clip_finding(beyond)),
            )
        )
    return out
