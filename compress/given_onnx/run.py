"""`compress quantize`: from a float ONNX file and examples to an int8 file with the evidence, or a refusal with why."""

import gzip
import hashlib
import shutil
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from compress.errors import CompressError, ExportError, UsageError
from compress.export.counts import Counts, count_onnx
from compress.given_onnx.analyse import Analysis
from compress.given_onnx.bundle import write_tensors_bundle
from compress.given_onnx.compare import Outputs, fidelity, run_file
from compress.given_onnx.judge import against_labels, complaint
from compress.given_onnx.opened import Opened, Options, open_all
from compress.given_onnx.quantize import observe
from compress.given_onnx.tune import Tuned, tune
from compress.quantize_result import ExampleFacts, FileRow, LayerRow, QuantizeResult, Source, save
from compress.result import Latency

FLOAT = "float"
_FOLDERS, _FILES = ("files", "bundle"), ("int8.onnx", "report.html", "report.md", "result.json")  # in this order
_MARK = ".compress-quantize"  # a folder with this may be written again, also after a run that was killed
_TOOLS = ("onnx", "onnxruntime", "numpy")
Progress = Callable[[str], None]


def quantize_file(path: Path, options: Options, out: Path, progress: Progress = lambda note: None) -> QuantizeResult:
    """Everything; leaves out/ with bundle/, int8.onnx (if it ships), result.json.

    Raises:
        CompressError: bad input; or no candidate became an integer file at all.
    """
    started, begun = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    progress("opening the file and the examples")
    opened = open_all(path, options)
    prepared, examples, parts = opened.prepared, opened.examples, opened.parts
    progress(f"calibrating on {len(parts.calibration)} examples")
    ranges = observe(opened.lean, examples.feeds(parts.calibration), opened.recipe.calibration)
    select, judge_on = examples.feeds(parts.selection), examples.feeds(parts.test)
    reference = run_file(prepared.data, select, "float file")
    labels = None if examples.labels is None else examples.labels[parts.selection]
    made, counts, failed = _candidates(opened, ranges, select, reference, labels, options, progress)
    if not made:
        what = "no way to quantize it leaves a file that computes in integers: "
        what += "; ".join(f"{k}: {v}" for k, v in failed.items())
        raise ExportError(what, str(path), "keep the float file, or export the model without what stands in the way")
    _clear(out)
    files = {FLOAT: prepared.data, **{k: t.data for k, t in made.items()}}
    folders = {k: out / "files" / k for k in files}
    for name, data in files.items():
        precision = "float32" if name == FLOAT else "dynamic-int8" if made[name].candidate.how == "dynamic" else "int8"
        write_tensors_bundle(folders[name], opened.given.name, data, precision, prepared.signature, select)
    progress(f"timing {len(files)} files, interleaved")
    latency = time_files(folders, options)
    rows = _rows(opened, made, counts, latency, judge_on, options)
    shipped, reason = choose(rows, allow_slower=options.allow_slower)
    shutil.copytree(folders[shipped], out / "bundle")
    if shipped != FLOAT:
        shutil.copyfile(folders[shipped] / "model.onnx", out / "int8.onnx")
    result = QuantizeResult(
        name=opened.given.name,
        started=started,
        seconds=round(time.perf_counter() - begun, 2),
        seed=options.seed,
        source=_source(opened, options),
        examples=_facts(opened, options),
        recipe=opened.recipe.to_json(),
        limits=options.limits.which(opened.judge, rows[-1].test, labelled=labels is not None),
        judge=opened.judge.kind,
        judge_reason=opened.judge.why,
        files=rows,
        failed=failed,
        shipped=shipped,
        shipped_reason=reason,
        versions={name: version(name) for name in _TOOLS},
        host=_host(),
    )
    save(out / "result.json", result)
    return result


def _clear(out: Path) -> None:
    """Make the folder; of what stands there, only what an earlier run left goes.

    Raises:
        UsageError: it is a file, or holds a folder of somebody else's.
    """
    if out.is_file():
        raise UsageError("it is a file, not a folder", str(out), "choose another folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    ours = (out / _MARK).is_file()
    for name in (*_FOLDERS, *_FILES):
        target = out / name
        if target.exists() and not ours:
            what = f"it holds {name}, which this command did not write"
            raise UsageError(what, str(out), "choose another folder with --out")
        shutil.rmtree(target) if name in _FOLDERS and target.exists() else target.unlink(missing_ok=True)
    (out / _MARK).touch()


def _candidates(
    opened: Opened, ranges: Any, feeds: Any, reference: Outputs, labels: Any, options: Options, progress: Progress
) -> tuple[dict[str, Tuned], dict[str, Counts], dict[str, str]]:
    """Every candidate as a file, tuned where it strays; those without an integer kernel are failures."""
    made, counts, failed = {}, {}, {}
    for candidate in opened.recipe.candidates:
        progress(f"quantizing, {candidate.name}")
        try:
            tuned = tune(
                opened.lean, opened.analysis, opened.recipe, candidate, ranges, feeds, reference,
                lambda rows, outputs: complaint(options.limits, opened.judge.kind, rows, outputs, reference, labels),
            )  # fmt: skip
            count = count_onnx(tuned.data)
        except CompressError as error:
            failed[candidate.name] = error.what
            continue
        if not count.kernels["integer"] + count.kernels["dynamic-integer"]:
            failed[candidate.name] = "the engine computes all of its layers in float all the same"
            continue
        made[candidate.name], counts[candidate.name] = tuned, count
    return made, counts, failed


def time_files(folders: Mapping[str, Path], options: Options) -> dict[str, Latency]:
    """Every file against the float one, interleaved, by the protocol that every run uses."""
    from compress.benchmark.latency import measure, rows

    return rows(measure(folders, FLOAT, threads=options.threads, profile=options.profile, seed=options.seed), "cpu")


def _rows(
    opened: Opened, made: Mapping[str, Tuned], counts: Mapping[str, Counts], latency: Mapping[str, Latency],
    feeds: Any, options: Options,
) -> tuple[FileRow, ...]:  # fmt: skip
    """The float file's row first, then one for every candidate, judged on the test part."""
    labels = None if opened.examples.labels is None else opened.examples.labels[opened.parts.test]
    reference = run_file(opened.prepared.data, feeds, "float file")
    scored, _ = against_labels(reference, reference, labels, options.seed)
    first = _row(FLOAT, "the file as given, brought up to date", opened.prepared.data,
                 count_onnx(opened.prepared.data), opened.analysis, {})  # fmt: skip
    out = [first.model_copy(update={"accuracy": scored, "latency": latency.get(FLOAT)})]
    for name, tuned in made.items():
        outputs = run_file(tuned.data, feeds, name)
        accuracy, paired = against_labels(reference, outputs, labels, options.seed)
        row = _row(name, tuned.candidate.reason, tuned.data, counts[name], opened.analysis, tuned.candidate.keep_float)
        out.append(row.model_copy(update={
            "selection": tuned.rows, "test": fidelity(reference, outputs), "accuracy": accuracy, "paired": paired,
            "latency": latency.get(name), "ok": not tuned.complaint, "verdict": tuned.complaint,
        }))  # fmt: skip
    return tuple(out)


def _row(name: str, reason: str, data: bytes, counts: Counts, analysis: Analysis, kept: Mapping[str, str]) -> FileRow:
    layers = []
    for layer in analysis.layers:
        kernel = kernel_of(layer.name, counts)
        why = "" if kernel != "float" or name == FLOAT else kept.get(layer.name) or _why_float(layer)
        layers.append(LayerRow(name=layer.name, op=layer.op, parameters=layer.parameters, macs=layer.macs,
                               kernel=kernel, reason=why))  # fmt: skip
    return FileRow(
        id=name, reason=reason, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data),
        gzip_bytes=len(gzip.compress(data, 9, mtime=0)), kernels=counts.kernels, operators=counts.operators,
        layers=tuple(layers), keep_float=tuple(kept),
    )  # fmt: skip


def kernel_of(layer: str, counts: Counts) -> Any:
    """How the engine computes a layer; the quantizer appends to names."""
    return next((counts.layer_kernels[n] for n in (layer, f"{layer}_quant") if n in counts.layer_kernels), "float")


def _why_float(layer: Any) -> str:
    if layer.inside:
        return f"it stands inside {layer.inside.split()[0]}, which no quantizer reaches"
    if layer.op in ("LSTM", "GRU", "RNN"):
        return "LSTM has a dynamic integer kernel only" if layer.op == "LSTM" else f"{layer.op} has no integer kernel"
    return "its operator is not among those that this candidate quantizes, or the engine found no integer kernel"


def choose(rows: tuple[FileRow, ...], *, allow_slower: bool) -> tuple[str, str]:
    """The fastest int8 file that keeps the limits, if it is faster than the float file beyond doubt; else that one."""
    others = rows[1:]
    sound = [r for r in others if r.ok]
    if not sound:
        return FLOAT, "no int8 file keeps the limit: " + "; ".join(f"{r.id}: {r.verdict}" for r in others)
    best = max(sound, key=speed)
    low = best.latency.ratio_ci95[0] if best.latency and best.latency.ratio_ci95 else 0.0
    smaller = rows[0].size_bytes / best.size_bytes
    if low > 1.0:
        return best.id, f"{speed(best):.2f} times as fast as the float file and {smaller:.1f} times smaller"
    said = f"{best.id} runs at {speed(best):.2f} times the float file's speed (95 % interval from {low:.2f})"
    if allow_slower:
        return best.id, f"{said}; asked for with --allow-slower, as it is {smaller:.1f} times smaller"
    return FLOAT, f"int8 is not faster: {said}"


def speed(row: FileRow) -> float:
    """How many times as fast as the float file."""
    return row.latency.ratio if row.latency and row.latency.ratio else 0.0


def _source(opened: Opened, options: Options) -> Source:
    given, prepared = opened.given, opened.prepared
    opset = next(o.version for o in given.model.opset_import if o.domain in ("", "ai.onnx"))
    return Source(
        path=given.path.name, sha256=given.sha256, size_bytes=given.size_bytes, opset=opset,
        inputs=tuple(map(str, prepared.signature.inputs)), outputs=tuple(map(str, prepared.signature.outputs)),
        kind=opened.analysis.kind, notes=(*prepared.notes, *opened.lean.changes()),
        time_share={k: round(v, 4) for k, v in opened.analysis.time_share.items()}, fixed=dict(options.fixed or {}),
    )  # fmt: skip


def _facts(opened: Opened, options: Options) -> ExampleFacts:
    parts = opened.parts
    counts = {"calibration": len(parts.calibration), "selection": len(parts.selection), "test": len(parts.test)}
    return ExampleFacts(path=options.data.name, fingerprint=opened.examples.fingerprint,
                        labelled=opened.examples.labels is not None, counts=counts)  # fmt: skip


def _host() -> dict[str, Any]:
    from compress.benchmark.host import host_facts

    return host_facts()
