"""Blame a file: every layer looked at by itself, the worst ones put back to float, and advice."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from compress.blame.tensors import layer_outputs, sqnr_db
from compress.blame.variants import integer_layers, mixed
from compress.blame.weights import CLIPPED, clip_finding, clipped, stored
from compress.blamed import Blame, LayerBlame, Mixed
from compress.data.dataset import Dataset
from compress.errors import ParityError, UsageError
from compress.evaluate.calibration import log_softmax
from compress.evaluate.ledger import TOLERANCES, hop
from compress.evaluate.paired import SIGNIFICANT, mcnemar
from compress.export.read_back import read_back
from compress.model.graph import Graph
from compress.model.model import Model
from compress.model.rewrite import drop_quantizers, fold_batch_norm
from compress.numerics.affine import activation_grid

Logits = NDArray[np.float32]
Progress = Callable[[float, float, str], None]
MOST_EXAMPLES = 1000
RECOVERED = 0.8  # of what was lost: a plan that gives this much back is advised
MOST_KEPT = 5
LITTLE_KL = 0.005  # nats: below it, and without a loss of accuracy beyond chance, there is nothing to blame


class Judge:
    """Runs variants of one model in one format on the same validation examples."""

    def __init__(self, kind: Literal["onnx", "tflite"], data: Dataset, examples: int = MOST_EXAMPLES) -> None:
        self.kind, self.data = kind, data
        self.x, self.y = data.validation.x[:examples], data.validation.y[:examples]
        self.inputs = data.preprocessing(self.x)
        self.count = len(self.y)

    def content(self, model: Model) -> bytes:
        """The model exported."""
        from compress.export.onnx import to_onnx
        from compress.export.tflite import to_tflite

        return (to_onnx if self.kind == "onnx" else to_tflite)(model, name="blame")

    def logits(self, data: bytes) -> Logits:
        """What a file of these bytes says about the examples, through edge_runtime."""
        from compress.evaluate.predict import logits_of
        from compress.export.bundle import write_bundle

        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "bundle"
            write_bundle(folder, name="blame", task="image-classification", labels=self.data.classes,
                         preprocessing=self.data.preprocessing, files={self.kind: data}, precision="int8",
                         reference_inputs=self.x[:2])  # fmt: skip
            return logits_of(folder, self.x)

    def top1(self, logits: Logits) -> float:
        """Validation accuracy."""
        return float((logits.argmax(axis=1) == self.y).mean())

    def lost(self, reference: Logits, said: Logits) -> float:
        """How much accuracy is gone, a share; 0 where McNemar's exact test cannot tell it from chance."""
        before, after = reference.argmax(axis=1) == self.y, said.argmax(axis=1) == self.y
        down, up = int((before & ~after).sum()), int((after & ~before).sum())
        return (down - up) / self.count if down > up and mcnemar(down, up) < SIGNIFICANT else 0.0


def divergence(reference: Logits, other: Logits) -> float:
    """Mean KL(reference || other) of the answers, in nats: a change of confidence counts before any answer flips.

    Source: Kullback and Leibler 1951, Ann. Math. Stat. 22(1), 79-86.
    """
    p, q = log_softmax(reference), log_softmax(other)
    return max(0.0, float((np.exp(p) * (p - q)).sum(axis=1).mean()))


def blame(
    content: bytes, kind: Literal["onnx", "tflite"], model: Model, data: Dataset, *, name: str, artefact: str,
    examples: int = MOST_EXAMPLES, progress: Progress = lambda done, total, note: None,
) -> Blame:  # fmt: skip
    """Look at every integer layer of a file.

    content: of the file. model: the checkpoint it was exported from. data: validation examples are used, never test.

    Raises:
        UsageError: the file has no integer layer.
        ExportError: it is not the export of this model, or of a kind that cannot be read back.
        ParityError: the file does something that its numbers do not explain.
    """
    judge = Judge(kind, data, examples)
    float_model = fold_batch_norm(drop_quantizers(model))
    found = read_back(content, kind, model)
    layers = integer_layers(found)
    if not layers:
        raise UsageError("the file has no integer layer, so nothing was quantized away", artefact, "blame an int8 file")
    said = judge.logits(content)
    again = judge.logits(judge.content(found))
    row = hop("file to its numbers", "conversion", artefact, "read back", said, again, judge.y, TOLERANCES["int8"])
    if not row.ok:
        what = f"the file does something that its numbers do not explain: {row.reason}"
        raise ParityError(what, artefact, "export it again; this is not what compress writes")
    reference_content = judge.content(float_model)
    reference = judge.logits(reference_content)
    float_outputs, outputs = (layer_outputs(m, judge.inputs[:256]) for m in (float_model, found))
    rows = []
    for i, layer in enumerate(layers):
        progress(i, len(layers) + MOST_KEPT, layer)
        alone = judge.logits(judge.content(mixed(float_model, found, {layer})))
        without = judge.logits(judge.content(mixed(float_model, found, set(layers) - {layer})))
        numbers = stored(float_model.weights[f"{layer}.weight"], found.weights[f"{layer}.weight"])
        beyond = _clipped(found, layer, float_outputs[layer])
        rows.append(
            LayerBlame(
                name=layer,
                op=found.graph.node(layer).op,
                weight_sqnr_db=numbers.weight_sqnr_db,
                output_sqnr_db=sqnr_db(float_outputs[layer], outputs[layer]),
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
    kl = divergence(reference, said)
    repaired, regrid = _regridded(found, float_model, rows, data)
    tried, plan = _plans(judge, float_model, repaired, regrid, rows, reference, said, kl, progress)
    return Blame(
        name=name,
        artefact=artefact,
        kind=kind,
        count=judge.count,
        float_top1=judge.top1(reference),
        top1=judge.top1(said),
        kl=kl,
        size_bytes=len(content),
        float_size_bytes=len(reference_content),
        layers=tuple(rows),
        tried=tuple(tried),
        plan=plan,
        advice=_advice(rows, plan, judge.lost(reference, said), kl),
    )


def worst_first(rows: Sequence[LayerBlame], kl: float) -> list[LayerBlame]:
    """Those with something wrong first; then by what comes back if the layer alone is put back to float."""
    return sorted(rows, key=lambda r: (not r.findings, -(kl - r.without_kl), -r.alone_kl))


def _clipped(model: Model, layer: str, outputs: NDArray[np.float32]) -> float:
    """Against the grid behind the layer and its activation; 0 where none stands there."""
    grid, activation = _grid_behind(model.graph, layer)
    if grid is None:
        return 0.0
    scale, zero = (model.weights[f"{grid}.{p}"] for p in ("scale", "zero_point"))
    bounded = np.minimum(outputs, 6) if activation == "relu6" else outputs
    return clipped(bounded, float(scale), int(zero), 0.0 if activation else None)


def _grid_behind(graph: Graph, layer: str) -> tuple[str | None, str]:
    """The quantize node behind a layer and the activation between the two."""
    name, activation = layer, ""
    for user in graph.users(layer):
        if user.op in ("relu", "relu6"):
            name, activation = user.name, user.op
    return next((n.name for n in graph.users(name) if n.op == "quantize"), None), activation


def _regridded(
    found: Model, float_model: Model, rows: Sequence[LayerBlame], data: Dataset
) -> tuple[Model, tuple[str, ...]]:
    """The file's model with the range of every clipped output taken anew, from calibration data."""
    layers = tuple(r.name for r in rows if r.clipped > CLIPPED)
    if not layers:
        return found, ()
    outputs = layer_outputs(float_model, data.inputs(data.calibration))
    weights = dict(found.weights)
    for layer in layers:
        grid, activation = _grid_behind(found.graph, layer)
        values = outputs[layer] if not activation else np.clip(outputs[layer], 0, 6 if activation == "relu6" else None)
        scale, zero = activation_grid(float(values.min()), float(values.max()))
        weights[f"{grid}.scale"], weights[f"{grid}.zero_point"] = np.asarray(scale), np.asarray(zero)
    return Model(found.graph, weights), layers


def _plans(
    judge: Judge, float_model: Model, repaired: Model, regrid: tuple[str, ...], rows: Sequence[LayerBlame],
    reference: Logits, said: Logits, kl: float, progress: Progress,
) -> tuple[list[Mixed], Mixed | None]:  # fmt: skip
    """Files with the worst one, two, ... layers in float, until enough comes back: of the divergence, and of the
    accuracy where its loss is beyond chance."""
    names, lost = [r.name for r in rows], judge.lost(reference, said)
    if not lost and kl <= LITTLE_KL:
        return [], None
    tried: list[Mixed] = []
    order = worst_first(rows, kl)
    for k in range(0 if regrid else 1, min(MOST_KEPT, len(order) - 1) + 1):
        kept = tuple(r.name for r in rows if r in order[:k])
        progress(len(rows) + k - 1, len(rows) + MOST_KEPT, f"{k} in float")
        content = judge.content(mixed(float_model, repaired, set(names) - set(kept)))
        logits = judge.logits(content)
        top1 = judge.top1(logits)
        predicted = max(0.0, kl - sum(kl - r.without_kl for r in order[:k]))
        tried.append(
            Mixed(keep_float=kept, regrid=regrid, predicted_kl=predicted, kl=divergence(reference, logits), top1=top1,
                  size_bytes=len(content), recovered=(top1 - judge.top1(said)) / lost if lost else None)
        )  # fmt: skip
        if _enough(tried[-1], kl):
            return tried, tried[-1]
    helpful = [m for m in tried if m.kl < 0.7 * kl]
    return tried, min(helpful, key=lambda m: (m.kl, len(m.keep_float)), default=None)


def _enough(m: Mixed, kl: float) -> bool:
    back = 1 - m.kl / kl if kl > 0 else 1.0
    return back >= RECOVERED and (m.recovered is None or m.recovered >= RECOVERED)


def _advice(rows: Sequence[LayerBlame], plan: Mixed | None, lost: float, kl: float) -> tuple[str, ...]:
    out = []
    if not lost and kl <= LITTLE_KL:
        return ("Quantization costs nothing that these examples show; leave it as it is.",)
    for row in rows:
        out += [f"{row.name}: {finding}." for finding in row.findings]
    if any("clipped" in f for r in rows for f in r.findings):
        out.append("Clipped ranges: use `calibration: minmax`, or more calibration data that looks like the field's.")
    if any("wrong scale" in f or "zeros" in f for r in rows for f in r.findings):
        out.append("Stored weights differ from the checkpoint's by more than rounding: export the checkpoint again.")
    if plan is not None:
        names = ", ".join(plan.keep_float)
        what = [f"keep {names} in float"] if names else []
        what += [f"take the ranges of {', '.join(plan.regrid)} anew"] if plan.regrid else []
        back = f"{100 * plan.recovered:.0f} % of the lost accuracy" if plan.recovered is not None else (
            f"{100 * (1 - plan.kl / kl):.0f} % of the divergence")  # fmt: skip
        out.append(f"{' and '.join(what).capitalize()}: {back} comes back, in {plan.size_bytes:,} bytes.")
    else:
        out.append("No few layers are to blame: the loss is spread. Use `how: qat`, or more epochs of it.")
    return tuple(out)
