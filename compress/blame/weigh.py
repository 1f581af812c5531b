"""Weigh the layers of a file: each by itself, the worst ones put back to float, and advice."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compress.blame import times
from compress.blame.judge import Judge
from compress.blame.plans import Ground, advice, best, candidates
from compress.blamed import Blame, LayerBlame, Mixed

Progress = Callable[[float, float, str], None]


@dataclass(frozen=True, slots=True)
class Numbers:
    """What is known of a layer before any file is made of it: see compress.blamed.LayerBlame."""

    name: str
    op: str
    weight_sqnr_db: float | None
    output_sqnr_db: float | None
    clipped: float | None
    zero_channels: int
    gain: float | None
    findings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """A file to blame, and what can be made of it.

    said: its answers. make: the file with only these layers in integers; mend: the same with the ranges of `regrid`
    taken anew.
    """

    name: str
    artefact: str
    content: bytes
    float_content: bytes
    said: Any
    numbers: Sequence[Numbers]
    make: Callable[[Collection[str]], bytes]
    mend: Callable[[Collection[str]], bytes]
    regrid: tuple[str, ...] = ()


def weigh(judge: Judge, case: Case, timing: bool, progress: Progress) -> Blame:
    """Everything there is to say about the file.

    Raises:
        MeasureError: timing failed.
    """
    bundles = {"int8": judge.bundle("int8", case.content), "float": judge.bundle("float", case.float_content)}
    reference = judge.answers(bundles["float"])
    rows = _rows(judge, case, reference, bundles, timing, progress)
    how = ""
    if timing:
        how, rows = _in_time(judge, case.content, rows, bundles, progress)
    ground = Ground(judge, case.mend, case.regrid, rows, reference, case.said, judge.divergence(reference, case.said))
    tried = candidates(ground, progress)
    speeds: Mapping[str, times.Timed] = {}
    if timing:
        own = {n: bundles[n] for n in ("int8", "float")} | {f"plan {i}": b for i, (_, b) in enumerate(tried)}
        speeds = times.timed(own, "int8", times.PLANS, _noting(progress, "time of the plans"))
    mixes = [_with_time(m, speeds.get(f"plan {i}")) for i, (m, _) in enumerate(tried)]
    in_float = speeds.get("float")
    plan = best(mixes, ground, in_float)
    return Blame(
        name=case.name,
        artefact=case.artefact,
        kind=judge.kind,
        measure=judge.measure,
        right=judge.right,
        count=judge.count,
        float_top1=judge.top1(reference),
        top1=judge.top1(case.said),
        kl=ground.kl,
        size_bytes=len(case.content),
        float_size_bytes=len(case.float_content),
        milliseconds=speeds["int8"].milliseconds if timing else None,
        float_milliseconds=in_float.milliseconds if in_float else None,
        profile=how,
        layers=tuple(rows),
        tried=tuple(mixes),
        plan=plan,
        advice=advice(mixes, plan, ground, speeds.get("int8"), in_float),
    )


def _rows(
    judge: Judge, case: Case, reference: Any, bundles: dict[str, Path], timing: bool, progress: Progress
) -> list[LayerBlame]:
    """Every layer alone and left out; the files without one are added to `bundles` where they are to be timed."""
    layers = [n.name for n in case.numbers]
    rows = []
    for i, known in enumerate(case.numbers):
        layer = known.name
        progress(i, len(layers), f"layer {i + 1} of {len(layers)}: {layer}")
        alone = judge.answers(judge.bundle("alone", case.make({layer})))
        bundle = judge.bundle(f"without-{i}" if timing else "without", case.make(set(layers) - {layer}))
        without = judge.answers(bundle)
        if timing:
            bundles[f"without {layer}"] = bundle
        rows.append(
            LayerBlame(
                **asdict(known),
                alone_kl=judge.divergence(reference, alone),
                alone_top1=judge.top1(alone),
                without_kl=judge.divergence(reference, without),
                without_top1=judge.top1(without),
            )
        )
    return rows


def _in_time(
    judge: Judge, content: bytes, rows: Sequence[LayerBlame], bundles: Mapping[str, Path], progress: Progress
) -> tuple[str, list[LayerBlame]]:
    """How the engine's figures came about, and the rows with what each layer takes and saves."""
    how, spent = times.profiled(content, judge.kind, judge.feed(bundles["int8"]), [r.name for r in rows])
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
