"""From blamed layers to files with some of them in float: which to try, which to advise, and why."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.blame.judge import Judge
from compress.blame.times import Timed
from compress.blamed import LayerBlame, Mixed

RECOVERED = 0.8  # of what was lost: a plan that gives this much back is advised
HELPFUL = 0.3  # of the divergence: less is not worth a plan
ONE_BY_ONE = 5  # so many layers in float are tried one more at a time; then half as many more, up to half of all
LITTLE_KL = 0.005  # nats: below it, and without a loss of accuracy beyond chance, there is nothing to blame
_WORTH_TELLING = 0.02  # of the file's time
_NO_TIME = 0.005  # of the whole: what a layer saves below this is within what timing can tell


@dataclass(frozen=True, slots=True)
class Ground:
    """What plans are judged on. make: the file with only these layers in integers, the ranges of `regrid` taken anew.

    reference, said: answers of the float and of the int8 file, kl apart.
    """

    judge: Judge
    make: Callable[[Collection[str]], bytes]
    regrid: tuple[str, ...]
    rows: Sequence[LayerBlame]
    reference: Any
    said: Any
    kl: float

    @property
    def lost(self) -> float:
        """Accuracy that is gone beyond chance, a share."""
        return self.judge.lost(self.reference, self.said)

    @property
    def sound(self) -> bool:
        """True where there is nothing to mend."""
        return not self.lost and self.kl <= LITTLE_KL


def worst_first(rows: Sequence[LayerBlame], kl: float) -> list[LayerBlame]:
    """Those with something wrong first; then by what comes back if the layer alone is put back to float."""
    return sorted(rows, key=lambda r: (not r.findings, -(kl - r.without_kl), -r.alone_kl))


def heaviest_first(rows: Sequence[LayerBlame], kl: float) -> list[LayerBlame]:
    """Those with something wrong first; then by what the layer alone in int8 costs.

    Where many layers each ruin the answers, putting one of them back shows nothing, while each alone shows its part.
    """
    return sorted(rows, key=lambda r: (not r.findings, -r.alone_kl, -(kl - r.without_kl)))


def cheapest_first(rows: Sequence[LayerBlame], kl: float) -> list[LayerBlame]:
    """Those with something wrong first; then by what comes back for each millisecond that int8 no longer saves.

    A layer that gives back nothing costs whatever it takes, so it stands last.
    """
    slowest = max((r.saves_ms or 0.0 for r in rows), default=0.0)
    least = max(_NO_TIME * sum(max(r.saves_ms or 0.0, 0.0) for r in rows), 1e-3 * slowest, 1e-9)

    def worth(r: LayerBlame) -> float:
        back = kl - r.without_kl
        return back / max(r.saves_ms or 0.0, least) if back > 0 else back

    return sorted(rows, key=lambda r: (not r.findings, -worth(r), -r.alone_kl))


def candidates(ground: Ground, progress: Callable[[float, float, str], None]) -> list[tuple[Mixed, Path]]:
    """Files with the first one, two, ... layers in float, until enough comes back: of the divergence, and of the
    accuracy where its loss is beyond chance. In the order of what each gives back and of what each costs alone; where
    time is known, of what comes back by time too.
    """
    if ground.sound:
        return []
    orders = [order(ground.rows, ground.kl) for order in (worst_first, heaviest_first)]
    if all(r.saves_ms is not None for r in ground.rows):
        orders.append(cheapest_first(ground.rows, ground.kl))
    tried: dict[tuple[str, ...], tuple[Mixed, Path]] = {}
    counts = how_many(len(ground.rows))
    for order in orders:
        for k in (*([0] if ground.regrid else []), *counts):
            kept = tuple(r.name for r in ground.rows if r in order[:k])
            if kept not in tried:
                progress(len(tried), len(orders) * len(counts), f"{k} layers in float")
                tried[kept] = _try(ground, kept, len(tried))
            if enough(tried[kept][0], ground.kl):
                break
    return list(tried.values())


def how_many(layers: int) -> list[int]:
    """Of so many layers, the numbers in float that are tried.

    >>> how_many(10), how_many(3), how_many(60)
    ([1, 2, 3, 4, 5], [1, 2], [1, 2, 3, 4, 5, 8, 12, 18, 27])
    """
    counts = list(range(1, min(ONE_BY_ONE, layers - 1) + 1))
    while counts and 3 * counts[-1] // 2 + 1 <= layers // 2:
        counts.append(3 * counts[-1] // 2 + counts[-1] % 2)
    return counts


def _try(ground: Ground, kept: tuple[str, ...], number: int) -> tuple[Mixed, Path]:
    judge, chosen = ground.judge, [r for r in ground.rows if r.name in kept]
    integer = {r.name for r in ground.rows} - set(kept)
    content = ground.make(integer)
    bundle = judge.bundle(f"plan-{number}", content)
    answers = judge.answers(bundle)
    top1, lost = judge.top1(answers), ground.lost
    slower = [r.saves_ms for r in chosen if r.saves_ms is not None]
    found = Mixed(
        keep_float=kept,
        regrid=ground.regrid,
        predicted_kl=max(0.0, ground.kl - sum(ground.kl - r.without_kl for r in chosen)),
        kl=judge.divergence(ground.reference, answers),
        top1=top1,
        size_bytes=len(content),
        recovered=(top1 - judge.top1(ground.said)) / lost if lost else None,
        predicted_slower_ms=sum(slower) if len(slower) == len(chosen) and slower else None,
    )
    return found, bundle


def enough(m: Mixed, kl: float) -> bool:
    """Whether so much comes back that the file need not be mended further."""
    back = 1 - m.kl / kl if kl > 0 else 1.0
    return back >= RECOVERED and (m.recovered is None or m.recovered >= RECOVERED)


def best(tried: Sequence[Mixed], ground: Ground, in_float: Timed | None) -> Mixed | None:
    """The fastest file that gives enough back, else the one that gives most, if it helps at all.

    One that is no faster than all float is no plan: float would be both right and quick.
    """
    fast = [m for m in tried if not _as_slow_as_float(m, in_float)]
    done = [m for m in fast if enough(m, ground.kl)]
    if done:
        return min(done, key=lambda m: (m.milliseconds or 0.0, len(m.keep_float), m.kl))
    helpful = [m for m in fast if m.kl < (1 - HELPFUL) * ground.kl]
    return min(helpful, key=lambda m: (m.kl, len(m.keep_float)), default=None)


def _as_slow_as_float(m: Mixed, in_float: Timed | None) -> bool:
    return in_float is not None and m.milliseconds is not None and m.milliseconds >= in_float.milliseconds


def advice(
    tried: Sequence[Mixed], plan: Mixed | None, ground: Ground, all_int8: Timed | None, in_float: Timed | None
) -> tuple[str, ...]:
    """What to do, in words."""
    out = []
    if all_int8 is not None and in_float is not None and in_float.milliseconds <= all_int8.milliseconds:
        out.append(
            f"On this machine the float file is no slower ({in_float.milliseconds:.3g} ms against "
            f"{all_int8.milliseconds:.3g} ms): int8 is for its size, or for another device."
        )
    for row in ground.rows:
        if all_int8 is None or row.saves_ms is None or row.saves_ci95 is None:
            continue
        if row.saves_ci95[1] < 0 and -row.saves_ms > _WORTH_TELLING * all_int8.milliseconds:
            slower = f"by {-1000 * row.saves_ms:.1f} µs on this machine"
            out.append(f"{row.name} seems slower in int8, {slower}: try it in float.")
    if ground.sound:
        return (*out, "Quantization costs nothing that these examples show; leave it as it is.")
    for row in ground.rows:
        out += [f"{row.name}: {finding}." for finding in row.findings]
    said = [f for r in ground.rows for f in r.findings]
    if any("clipped" in f for f in said):
        out.append("Clipped ranges: use `calibration: minmax`, or more calibration data that looks like the field's.")
    if any("wrong scale" in f or "zeros" in f for f in said):
        out.append("Stored weights differ from the checkpoint's by more than rounding: export the checkpoint again.")
    if plan is not None:
        out.append(_told(plan, ground, in_float))
    elif any(enough(m, ground.kl) for m in tried):
        out.append("Layers in float bring the accuracy back, but then the file is no faster than all float: ship that.")
    else:
        out.append(f"The loss is spread over the layers, none or few of them are to blame. {ground.judge.spread}")
    return tuple(out)


def _told(plan: Mixed, ground: Ground, in_float: Timed | None) -> str:
    """The plan in one sentence, with what it costs in time."""
    what = [f"keep {', '.join(plan.keep_float)} in float"] if plan.keep_float else []
    what += [f"take the ranges of {', '.join(plan.regrid)} anew"] if plan.regrid else []
    back = f"{100 * plan.recovered:.0f} % of the lost accuracy" if plan.recovered is not None else (
        f"{100 * (1 - plan.kl / ground.kl):.0f} % of the divergence")  # fmt: skip
    text = f"{' and '.join(what)}: {back} comes back, in {plan.size_bytes:,} bytes"
    if plan.milliseconds is not None and plan.slower_ms is not None:
        share = 100 * plan.slower_ms / (plan.milliseconds - plan.slower_ms)
        text += f", {abs(share):.1f} % {'slower' if share > 0 else 'faster'} than all int8"
        if in_float is not None:
            text += f" and {in_float.milliseconds / plan.milliseconds:.2f} times as fast as all float"
    return f"{text[0].upper()}{text[1:]}."
