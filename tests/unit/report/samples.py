"""Results to draw reports from. Every number in here is MADE UP: nothing was run, nothing may be quoted from it."""

import hashlib
import math
import random
from typing import Any, Literal

from compress.result import (
    Accuracy,
    Artefact,
    BudgetRow,
    DataFacts,
    Hop,
    Latency,
    LayerRow,
    Paired,
    Result,
    StepRow,
)

Precision = Literal["float32", "float16", "int8", "dynamic-int8"]
HOSTILE = "<script>alert('x')</script>"
NASTY = HOSTILE + '|`*[x](javascript:alert(1))\x1b[31m\u202e"\' onload="alert(1)\n## {{x}} &lt; \ud800'
DIGITS = tuple(str(i) for i in range(10))
BLOCKS = (
    ("stem", "conv2d", 320, 62_720, 32),
    ("block1_dw", "conv2d", 288, 56_448, 32),
    ("block1_pw", "conv2d", 1_024, 200_704, 32),
    ("block2_dw", "conv2d", 288, 14_112, 32),
    ("block2_pw", "conv2d", 2_048, 100_352, 64),
    ("block3_dw", "conv2d", 576, 28_224, 64),
    ("block3_pw", "conv2d", 4_096, 200_704, 64),
    ("classifier", "linear", 650, 640, 10),
)
HOST = {
    "cpu": "Example CPU 3000 @ 2.50GHz",
    "machine": "x86_64",
    "board": None,
    "cpu_features": ["avx2", "avx512_vnni", "fma"],
    "cores": 2,
    "governor": None,
    "frequency_mhz": 2499.998,
    "load_1min": 0.12,
    "memory_total_bytes": 8_200_000_000,
    "system": "Example Linux 12",
    "python": "3.11.9",
    "packages": {"numpy": "2.9.9", "onnxruntime": "1.99.0"},
    "virtual": [],
}
RECIPE: dict[str, Any] = {
    "version": 1,
    "name": "distil_int8",
    "seed": 0,
    "task": "image-classification",
    "target": "x86-vnni",
    "data": {"source": "mnist-5k"},
    "teacher": {"net": "resnet", "args": {"widths": [32, 64, 128]}, "train": {"epochs": 10}},
    "student": {"net": "ds-cnn"},
    "stages": [
        {"distill": {"epochs": 15, "temperature": 4.0}},
        {"prune": {"what": "channels", "keep_macs": 0.6, "finetune_epochs": 4}},
        {"quantize": {"how": "qat", "epochs": 3}},
    ],
    "export": ["onnx", "tflite"],
    "budget": {"accuracy_drop_points": 1.0, "size_bytes": 40_000, "latency_ms": {"cpu": 0.2}},
}


def accuracy(top1: float, *, count: int = 1000, classes: int = 10, seed: int = 0) -> Accuracy:
    """Predictions with about that accuracy, spread over the classes by chance."""
    rng = random.Random(seed)
    confusion = [[0] * classes for _ in range(classes)]
    wrong = round((1 - top1) * count)
    for i in range(count):
        true = i % classes
        confusion[true][(true + rng.choice((1, 1, 3, 5))) % classes if i * 7 % count < wrong else true] += 1
    correct = sum(confusion[c][c] for c in range(classes))
    p, z = correct / count, 1.96
    half = z * math.sqrt(p * (1 - p) / count + z * z / (4 * count**2)) / (1 + z * z / count)
    middle = (p + z * z / (2 * count)) / (1 + z * z / count)
    recall = tuple(row[c] / sum(row) if sum(row) else None for c, row in enumerate(confusion))
    return Accuracy(
        split="test",
        count=count,
        correct=correct,
        top1=p,
        ci95=(max(0.0, middle - half), min(1.0, middle + half)),
        per_class_recall=recall,
        confusion=tuple(map(tuple, confusion)),
        predictions_sha256=hashlib.sha256(f"{top1}{seed}".encode()).hexdigest(),
    )


def paired(teacher: Accuracy, own: Accuracy) -> Paired:
    difference = 100 * (own.top1 - teacher.top1)
    shown = abs(difference) > 0.8
    return Paired(
        count=own.count,
        difference_points=difference,
        ci95_points=(difference - 0.75, difference + 0.7),
        lost=max(0, teacher.correct - own.correct) + 4,
        gained=max(0, own.correct - teacher.correct) + 4,
        agreement=0.985,
        p_value=0.01 if shown else 0.29,
        verdict=f"worse than the teacher by {-difference:.2f} points"
        if shown
        else f"no difference could be shown on {own.count:,} examples; to show one takes about 20,000",
    )


def latency(p50_ms: float, teacher_ms: float, *, seed: int = 0, warnings: tuple[str, ...] = ()) -> Latency:
    rng = random.Random(seed)
    blocks = tuple(tuple(p50_ms * rng.lognormvariate(0.02 * p, 0.05) for _ in range(30)) for p in range(3))
    ratio = teacher_ms / p50_ms
    return Latency(
        device="cpu",
        engine="onnxruntime 1.99.0",
        threads=1,
        batch=1,
        label="measured",
        processes_ms=blocks,
        p50_ms=p50_ms,
        p90_ms=p50_ms * 1.08,
        ratio=ratio,
        ratio_ci95=(ratio * 0.97, ratio * 1.03),
        load_ms=4.1,
        first_ms=p50_ms * 6,
        peak_memory_bytes=41_000_000,
        warnings=warnings,
    )


def layers(keep: float, kernel: Literal["integer", "float"]) -> tuple[LayerRow, ...]:
    out = []
    for name, op, parameters, macs, channels in BLOCKS:
        fixed = op == "linear"
        after = channels if fixed else max(4, round(channels * keep / 4) * 4)
        out.append(
            LayerRow(
                name=name,
                op=op,
                parameters=round(parameters * after / channels),
                macs=round(macs * after / channels),
                channels_before=channels,
                channels_after=after,
                kernel="float" if fixed else kernel,
                reason="the last layer: kept in float by the recipe" if fixed and kernel == "integer" else "",
            )
        )
    return tuple(out)


def artefact(
    identity: str, role: str, precision: Precision, size_bytes: int, top1: float, ms: float | None, keep: float = 1.0
) -> Artefact:
    """One file of the made-up chain; the teacher takes 0.53 ms and is right in 98.4 %."""
    step, form = identity.rsplit(".", 1)
    integer = precision == "int8"
    own, teacher, is_teacher = accuracy(top1, seed=len(identity)), accuracy(0.984), "teacher" in identity
    big = 77_706 if is_teacher else round(9_290 * keep)
    return Artefact(
        id=identity,
        step="00-teacher" if is_teacher else step,
        role=role,
        format="tflite" if form == "tflite" else "onnx",
        precision=precision,
        path=f"artefacts/{identity}/model.{form}",
        sha256=hashlib.sha256(identity.encode()).hexdigest(),
        size_bytes=size_bytes,
        gzip_bytes=round(size_bytes * 0.81),
        parameters=big,
        macs=12_501_632 if is_teacher else round(664_000 * keep),
        sparsity=0.0,
        kernels={"integer": 10, "float": 1} if integer else {"float": 11},
        operators={"QLinearConv": 7, "QGemm": 1} if integer else {"Conv": 7, "Gemm": 1},
        layers=layers(keep, "integer" if integer else "float"),
        accuracy=(own,),
        paired=None if is_teacher else paired(teacher, own),
        latency=() if ms is None else (latency(ms, 0.53, seed=len(identity)),),
    )


def hop(name: str, source: str, target: str, *, kind: Literal["training", "conversion"] = "conversion",
        agreement: float = 0.999, difference: float = 0.02, ok: bool = True) -> Hop:  # fmt: skip
    training = kind == "training"
    return Hop(
        name=name,
        kind=kind,
        source=source,
        target=target,
        count=1000,
        source_top1=0.984,
        target_top1=0.984 - (1 - agreement) / 2,
        agreement=agreement,
        largest_difference=difference,
        tolerance={} if training else {"agreement": 0.995, "accuracy_points": 0.3, "largest_difference": 0.05},
        ok=ok,
        reason="no tolerance was set"
        if training
        else f"agreement {100 * agreement:.2f} % (want 99.50 % or more); largest difference {difference:.3g} standard "
        "deviations of the logits (want 0.05 or less)",
    )


def curve(start: float, end: float, epochs: int) -> list[float]:
    return [end + (start - end) * math.exp(-3.0 * i / epochs) for i in range(epochs)]


def steps() -> tuple[StepRow, ...]:
    def row(name: str, kind: str, seconds: float, epochs: int, start: float, end: float, **extra: Any) -> StepRow:
        metrics = {
            "loss": curve(1.4, 0.09, epochs),
            "validation_accuracy": curve(start, end, epochs),
            "epochs": epochs,
            "device": "cpu",
        } | extra
        return StepRow(
            name=name, kind=kind, key=f"{name}-5f3a", cached=kind == "train", seconds=seconds, metrics=metrics
        )

    return (
        row("00-teacher", "train", 61.0, 10, 0.71, 0.986),
        row("01-distill", "distill", 48.2, 15, 0.55, 0.985, agreement_with_teacher=0.991),
        row("02-prune", "prune", 14.0, 4, 0.93, 0.984, macs_kept=0.6),
        row("03-quantize", "quantize", 19.3, 3, 0.978, 0.982),
    )


def good() -> Result:
    """Every promise kept."""
    return Result(
        name="distil_int8",
        recipe=RECIPE,
        recipe_digest="9b1f0c6f9d8f4f6e" * 4,
        seed=0,
        started="2026-01-02T03:04:05+00:00",
        seconds=212.0,
        versions={"compress-edge": "0.1.0", "edge-runtime": "0.1.0", "onnxruntime": "1.99.0", "python": "3.11.9"},
        host=HOST,
        data=DataFacts(
            name="mnist-5k",
            fingerprint="c0ffee" * 10,
            classes=DIGITS,
            input_shape=(1, 28, 28),
            counts={"train": 3500, "validation": 500, "calibration": 512, "test": 1000},
        ),
        steps=steps(),
        artefacts=(
            artefact("teacher.onnx", "teacher", "float32", 443_120, 0.984, 0.53),
            artefact("01-distill.onnx", "student, distilled", "float32", 41_920, 0.985, 0.071),
            artefact("02-prune.onnx", "pruned", "float32", 26_310, 0.983, 0.049, 0.6),
            artefact("03-quantize.onnx", "int8 ONNX", "int8", 14_203, 0.981, 0.0376, 0.6),
            artefact("03-quantize.tflite", "int8 TFLite", "int8", 15_872, 0.980, 0.0412, 0.6),
        ),
        ledger=(
            hop("teacher to ONNX", "00-teacher", "teacher.onnx", agreement=1.0, difference=2e-6),
            hop("distil", "00-teacher", "01-distill", kind="training", agreement=0.984, difference=1.9),
            hop("distilled to ONNX", "01-distill", "01-distill.onnx", agreement=1.0, difference=3e-6),
            hop("prune", "01-distill", "02-prune", kind="training", agreement=0.988, difference=0.9),
            hop("quantize", "02-prune", "03-quantize", kind="training", agreement=0.991, difference=0.3),
            hop("int8 to ONNX", "03-quantize", "03-quantize.onnx", agreement=0.999, difference=0.018),
            hop("int8 to TFLite", "03-quantize", "03-quantize.tflite", agreement=0.998, difference=0.022),
        ),
        budget=(
            BudgetRow(name="accuracy drop", limit=1.0, value=0.3, unit="points", ok=True),
            BudgetRow(name="size", limit=40_000, value=14_203, unit="bytes", ok=True),
            BudgetRow(name="latency on cpu", limit=0.2, value=0.0376, unit="ms", ok=True),
            BudgetRow(name="size against the teacher", limit=1.0, value=14_203 / 443_120, unit="x", ok=True),
            BudgetRow(name="latency against the teacher on cpu", limit=1.0, value=0.071, unit="x", ok=True),
        ),
        shipped="03-quantize.onnx",
        shipped_reason="it keeps the budget and gains most of the 4 that do: 31.2x smaller, 14.1x faster on cpu",
    )


def missed() -> Result:
    """Over budget in accuracy and size."""
    run = good()
    budget = (
        BudgetRow(
            name="accuracy drop",
            limit=0.1,
            value=0.3,
            unit="points",
            ok=False,
            blame="03-quantize cost 0.20 of 0.30 points",
        ),
        BudgetRow(
            name="size",
            limit=10_000,
            value=14_203,
            unit="bytes",
            ok=False,
            blame="no step made it larger; 02-prune gained least (1.59x smaller)",
        ),
        *run.budget[2:],
    )
    return run.model_copy(
        update={
            "budget": budget,
            "shipped_reason": "none keeps the budget; nearest: accuracy drop 0.30 points (limit 0.10 points)",
        }
    )


def slower() -> Result:
    """Int8 that is slower than float, and says so."""
    run = good()
    slow = artefact("03-quantize.onnx", "int8 ONNX", "int8", 14_203, 0.981, 0.093, 0.6)
    slow = slow.model_copy(update={"latency": (latency(0.093, 0.53, warnings=("the CPU clock changed by 20 %",)),)})
    flag = (
        "03-quantize.onnx is slower than 02-prune.onnx on cpu: 0.0930 ms against 0.0490 ms: too small for int8 to pay."
    )
    return run.model_copy(
        update={
            "artefacts": (*run.artefacts[:3], slow, run.artefacts[4]),
            "flags": (flag,),
            "shipped": "02-prune.onnx",
            "shipped_reason": "it meets the budget and is faster than the int8 file",
        }
    )


def breach() -> Result:
    """A conversion that changed the model."""
    run = good()
    broken = hop("int8 to TFLite", "03-quantize", "03-quantize.tflite", agreement=0.931, difference=0.41, ok=False)
    return run.model_copy(update={"ledger": (*run.ledger[:-1], broken)})


def many(count: int = 50, *, examples: int = 10_000) -> Result:
    """A sweep: many steps, each with a file."""
    run, made, rows = good(), [], []
    for i in range(count - 1):
        form, name = ("onnx", "tflite")[i % 2], f"{i + 1:02d}-quantize"
        size, top1 = round(12_000 * 1.06**i), min(0.985, 0.93 + 0.0012 * i + 0.002 * (i % 5))
        one = artefact(f"{name}.{form}", f"int8 variant {i + 1}", "int8", size, top1, 0.03 * 1.05**i, 0.6)
        own = accuracy(top1, count=examples, seed=i)
        made.append(one.model_copy(update={"accuracy": (own,), "paired": paired(accuracy(0.984, count=examples), own)}))
        rows.append(run.steps[3].model_copy(update={"name": name}))
    return run.model_copy(
        update={
            "artefacts": (run.artefacts[0], *made),
            "steps": (run.steps[0], *rows),
            "shipped": made[20].id,
            "ledger": tuple(hop(f"to {a.format}", a.step, a.id) for a in made),
        }
    )


def hostile() -> Result:
    """Markup, quotes, pipes, control and direction characters wherever a name can stand."""
    run, bad = good(), NASTY
    first, *rest = run.artefacts
    layer = first.layers[0].model_copy(update={"name": bad, "reason": bad, "op": bad})
    evil = rest[2].model_copy(
        update={
            "id": bad,
            "role": bad,
            "path": bad,
            "layers": (layer, *rest[2].layers[1:]),
            "kernels": {bad: 1, "integer": 2},
            "operators": {bad: 1},
            "latency": (rest[2].latency[0].model_copy(update={"engine": bad, "warnings": (bad,), "device": "cpu"}),),
            "paired": rest[2].paired.model_copy(update={"verdict": bad}) if rest[2].paired else None,
        }
    )
    step = run.steps[1].model_copy(
        update={"metrics": {bad: [1.0, 2.0], "note": bad, "loss": [3.0, 2.0]}, "kept": {bad: bad}}
    )
    return run.model_copy(
        update={
            "name": bad,
            "recipe": {bad: bad, "stages": [{bad: {bad: [bad]}}]},
            "recipe_digest": bad,
            "started": bad,
            "versions": {bad: bad},
            "host": {bad: {bad: [bad, 1]}},
            "data": run.data.model_copy(update={"name": bad, "classes": (bad, *DIGITS[1:]), "counts": {bad: 3}}),
            "steps": (run.steps[0], step, *run.steps[2:]),
            "artefacts": (first, *rest[:2], evil, rest[3]),
            "ledger": (run.ledger[0].model_copy(update={"name": bad, "source": bad, "target": bad, "reason": bad,
                                                        "tolerance": {bad: 1.0}}), *run.ledger[1:]),
            "budget": (run.budget[0].model_copy(update={"name": bad, "unit": bad, "ok": False, "blame": bad}),),
            "shipped": bad,
            "shipped_reason": bad,
            "flags": (bad,),
        }
    )  # fmt: skip


def alone() -> Result:
    """One artefact: the teacher, and nothing else ran."""
    run = good()
    return run.model_copy(
        update={
            "artefacts": run.artefacts[:1],
            "steps": run.steps[:1],
            "ledger": (),
            "budget": (),
            "shipped": "teacher.onnx",
            "shipped_reason": "it is the only file",
        }
    )


def unmeasured() -> Result:
    """No latency anywhere, a smoke run."""
    run = good()
    files = tuple(a.model_copy(update={"latency": ()}) for a in run.artefacts)
    return run.model_copy(update={"artefacts": files, "budget": run.budget[:2], "smoke": True})


SAMPLES = {f.__name__: f for f in (good, missed, slower, breach, many, hostile, alone, unmeasured)}
