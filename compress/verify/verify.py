"""One bundle on many CPUs: the same examples through the same files, emulated, against this machine."""

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import edge_runtime
import numpy as np
from edge_runtime.errors import EdgeError
from edge_runtime.files import write_npz
from edge_runtime.manifest import Manifest, ModelFile
from edge_runtime.reference import pack_inputs
from numpy.typing import NDArray

from compress.emulation.cpus import Cpu
from compress.emulation.launch import run_python
from compress.errors import CompressError, ModelError
from compress.evaluate.paired import compare
from compress.verified import FirstLayer, Row, Verdict, VerifyReport
from compress.verify.examples import Examples, load_examples, open_bundle
from compress.verify.saturation import REMEDY, WORKER, first_difference, has_8_bit_weights

Logits = NDArray[np.float32]
LEAST_AGREEMENT = 0.99  # where there are no labels, or where gains hide losses
SAME_DEVIATIONS = 1e-4  # of a standard deviation: float kernels that add in another order
LOOK_INSIDE = 8  # examples that are followed layer by layer
NO_ENGINE = {("onnx", "armv7l"): "onnxruntime has no wheels for 32-bit ARM"}


def verify_bundle(
    bundle: Path,
    cpus: Sequence[Cpu],
    *,
    data: Path | None = None,
    limit: int | None = None,
    formats: Sequence[str] = (),
    tolerance_points: float = 0.5,
    host_cpu: str = "",
    host_is_exact: bool = True,
    told: Callable[[str], None] = lambda text: None,
) -> VerifyReport:
    """Run every model file of a bundle on every CPU and judge the answers.

    data: a recipe or an .npz; without one the bundle's reference examples. host_is_exact: False where this machine may
    saturate itself. told: progress in words.

    Raises:
        CompressError: the bundle, the data or the emulators cannot be used.
    """
    manifest = open_bundle(bundle)
    entries = [m for m in manifest.models if not formats or m.format in formats]
    if not entries:
        has = ", ".join(m.format for m in manifest.models)
        raise ModelError(f"the bundle has no {' or '.join(formats)} file", str(bundle), f"it has {has}")
    examples = load_examples(bundle, manifest, data, limit)
    rows: list[Row] = []
    engines: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="compress-verify-") as folder:
        packed = Path(folder) / "examples.npz"
        write_npz(packed, pack_inputs(manifest, examples.x))
        for entry in entries:
            told(f"{entry.path} on this machine")
            host, engines[entry.format] = _logits(None, bundle, entry, packed, Path(folder))
            for cpu in cpus:
                told(f"{entry.path} on {cpu.name}")
                rows.append(_row(bundle, manifest, entry, cpu, examples, packed, host, tolerance_points, Path(folder)))
    notes = []
    if not host_is_exact and any(e.precision == "int8" and e.format == "onnx" for e in entries):
        notes.append("this host has no VNNI and may saturate itself: compare with --cpu nehalem, whose sums are exact")
    return VerifyReport(
        bundle=str(bundle),
        name=manifest.name,
        files_sha256={e.path: manifest.files[e.path].sha256 for e in entries},
        data=examples.source,
        count=len(examples),
        of=examples.of,
        tolerance_points=tolerance_points,
        host_cpu=host_cpu,
        host_engines=engines,
        rows=tuple(rows),
        notes=tuple(notes),
    )


def _logits(cpu: Cpu | None, bundle: Path, entry: ModelFile, packed: Path, folder: Path) -> tuple[Logits, str]:
    """Logits of all examples on a CPU, and the engine that gave them."""
    out = folder / "logits.npz"
    arguments = [str(WORKER), "logits", str(bundle.resolve()), entry.format, str(packed), str(out)]
    said = run_python(cpu, arguments)
    with np.load(out, allow_pickle=False) as archive:
        logits: Logits = archive["logits"]
    return logits, str(json.loads(said.strip().splitlines()[-1])["engine"])


def _row(
    bundle: Path,
    manifest: Manifest,
    entry: ModelFile,
    cpu: Cpu,
    examples: Examples,
    packed: Path,
    host: Logits,
    tolerance_points: float,
    folder: Path,
) -> Row:
    y = examples.y
    host_top1 = None if y is None else float((host.argmax(axis=1) == y).mean())
    known = {"file": entry.path, "format": entry.format, "precision": entry.precision, "cpu": cpu.name,
             "machine": cpu.machine, "count": len(examples), "host_top1": host_top1}  # fmt: skip
    reason = NO_ENGINE.get((entry.format, cpu.machine), "")
    if not reason:
        try:
            there, engine = _logits(cpu, bundle, entry, packed, folder)
        except CompressError as error:
            if error.where == "emulation" or error.where.startswith("emulated a"):
                raise  # the emulator or its system, not the file
            reason = error.what
    if reason:
        return Row(**known, label="none", engine=None, top1=None, agreement=None, largest_difference=None,
                   in_deviations=None, paired=None, verdict="cannot run", reason=reason)  # fmt: skip
    difference = float(np.abs(host - there).max())
    deviations = difference / max(float(host.std()), 1e-9)
    agreement = float((host.argmax(axis=1) == there.argmax(axis=1)).mean())
    paired = None if y is None else compare(host, there, y)
    drop_points = 0.0 if paired is None else -paired.difference_points
    verdict, reason = judge(deviations, agreement, drop_points, tolerance_points)
    first: FirstLayer | None = None
    remedy = ""
    if deviations > SAME_DEVIATIONS and entry.format == "onnx" and entry.precision == "int8":
        first = _look_inside(bundle, entry, cpu, examples, np.abs(host - there).max(axis=1))
        if not cpu.vnni and first is not None and has_8_bit_weights((bundle / entry.path).read_bytes()):
            remedy = REMEDY
    return Row(**known, label="emulated", engine=engine, agreement=agreement, largest_difference=difference,
               top1=None if y is None else float((there.argmax(axis=1) == y).mean()), in_deviations=deviations,
               paired=paired, verdict=verdict, reason=reason, first_layer=first, remedy=remedy)  # fmt: skip


def judge(deviations: float, agreement: float, drop_points: float, tolerance_points: float) -> tuple[Verdict, str]:
    """A verdict and its reason.

    deviations: largest difference between logits, in standard deviations. drop_points: accuracy lost, in points.
    """
    if deviations <= SAME_DEVIATIONS:
        return "same", "the same answers as here"
    if drop_points > tolerance_points:
        return "OUT OF TOLERANCE", f"accuracy is {drop_points:.2f} points lower than here"
    if agreement < LEAST_AGREEMENT:
        return "OUT OF TOLERANCE", f"{100 * (1 - agreement):.1f} % of the answers are another class than here"
    return "within tolerance", f"answers differ slightly: {100 * agreement:.2f} % agree"


def _look_inside(bundle: Path, entry: ModelFile, cpu: Cpu, examples: Examples, apart: Logits) -> FirstLayer | None:
    """Follow the examples whose logits are furthest apart, layer by layer."""
    chosen = np.argsort(apart)[::-1][:LOOK_INSIDE]
    try:
        with edge_runtime.load(bundle, engine=entry.format) as model:
            prepared = [model.prepare(examples.x[i]) for i in chosen]
    except EdgeError as error:
        raise ModelError(error.what, error.where, error.fix) from error
    arrays = [p for p in prepared if not isinstance(p, dict)]
    if len(arrays) != len(prepared) or len({a.shape for a in arrays}) > 1:  # given tensors, or texts of all lengths
        return None
    return first_difference((bundle / entry.path).read_bytes(), entry, np.concatenate(arrays), cpu)
