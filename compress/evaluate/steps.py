"""What each step of a plan did to accuracy, size and latency, told from the artefacts it left."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

from compress.comparison import Interval
from compress.errors import UsageError
from compress.result import Accuracy, Artefact, Latency

_FEW = 5  # test examples of a class: one answer then moves its recall by 20 points or more


def accuracy_of(artefact: Artefact, split: Literal["validation", "test"]) -> Accuracy:
    """Its accuracy on that split.

    Raises:
        UsageError: the result holds none.
    """
    for found in artefact.accuracy:
        if found.split == split:
            return found
    raise UsageError(
        f"it has no accuracy on {split}", f"artefact {artefact.id}", "evaluate every artefact on both splits"
    )


def latency_on(artefact: Artefact, device: str) -> Latency | None:
    """Its latency on that device, if it was measured there."""
    return next((x for x in artefact.latency if x.device == device), None)


def chain(artefacts: Sequence[Artefact], last: Artefact) -> list[Artefact]:
    """One artefact a step, from the teacher's to `last`; of a step's several files the one in `last`'s format."""
    steps = list(dict.fromkeys(a.step for a in artefacts))
    out = []
    for step in steps[: steps.index(last.step)]:
        files = [a for a in artefacts if a.step == step]
        out.append(next((a for a in files if a.format == last.format), files[0]))
    return [*out, last]


def blame_accuracy(artefacts: Sequence[Artefact], this: Artefact) -> str:
    """Which step lost most test examples on the way to `this`, e.g. "02-prune cost 0.90 of 1.40 points"."""
    walk = [(a, accuracy_of(a, "test")) for a in chain(artefacts, this)]
    lost = [(100 * (before.correct - now.correct) / now.count, a) for (_, before), (a, now) in pairwise(walk)]
    if not lost:
        return ""
    points, worst = max(lost, key=lambda pair: pair[0])
    return f"{worst.step} cost {points:.2f} of {sum(p for p, _ in lost):.2f} points"


def blame_size(artefacts: Sequence[Artefact], this: Artefact) -> str:
    """Which step made the file larger, or else saved least."""
    return _blame(chain(artefacts, this), lambda a: float(a.size_bytes), "larger", "smaller")


def blame_latency(artefacts: Sequence[Artefact], this: Artefact, device: str) -> str:
    """Which step made the model slower on this device, or else gained least."""
    first = artefacts[0]

    def share(artefact: Artefact) -> float | None:
        found = latency_on(artefact, device)
        return 1.0 if artefact is first else 1 / found.ratio if found and found.ratio else None

    return _blame(chain(artefacts, this), share, "slower", "faster")


def _blame(walk: Sequence[Artefact], cost: Callable[[Artefact], float | None], worse: str, better: str) -> str:
    known = [(a, value) for a in walk if (value := cost(a)) is not None]
    growth = [(now / before, a) for (_, before), (a, now) in pairwise(known)]
    if not growth:
        return ""
    factor, worst = max(growth, key=lambda pair: pair[0])
    if factor > 1:
        return f"{worst.step} made it {factor:.2f}x {worse}"
    return f"no step made it {worse}; {worst.step} gained least ({1 / factor:.2f}x {better})"


def step_flags(artefacts: Sequence[Artefact]) -> tuple[str, ...]:
    """Sentences on every step that made the model slower or the file larger than the step before left it.

    Slower is said only where the 95 % interval of the two ratios' quotient leaves no doubt; sizes are exact, and
    compared between files of one format only. Float twins (03-quantize-float32.onnx) are no step's doing.
    """
    out = []
    for this in artefacts:
        if this.id != f"{this.step}.{this.format}":
            continue
        *_, before, _ = [None, *chain(artefacts, this)]
        if before is None:
            continue
        names = f"{this.id} against {before.id}"
        for found in this.latency:
            speed = _speed_between(before, found, first=before is artefacts[0])
            if speed is not None and speed[1][1] < 1:
                ratio, (low, high) = speed
                interval = f"95 % interval {low:.2f} to {high:.2f}"
                out.append(f"{this.step} made the model slower on {found.device}: {ratio:.2f}x ({names}, {interval})")
        if this.format == before.format and this.size_bytes > before.size_bytes:
            growth = this.size_bytes / before.size_bytes
            sizes = f"{this.size_bytes:,} after {before.size_bytes:,} bytes"
            out.append(f"{this.step} made the file larger: {growth:.2f}x ({names}, {sizes})")
    return tuple(out)


def data_flags(teacher: Artefact, classes: Sequence[str]) -> tuple[str, ...]:
    """Sentences on figures that mean little: of a teacher that guesses, of classes that hardly stand in the test split.

    classes: their names. Beyond 1,000 of them results hold no confusions, and nothing is said.
    """
    found = accuracy_of(teacher, "test")
    counts = [sum(row) for row in found.confusion]
    if not counts:
        return ()
    out = []
    if found.correct <= (most := max(counts)):
        right = f"right on {found.correct:,} of {found.count:,} test examples"
        common = classes[counts.index(most)]
        out.append(f"the teacher is no better than guessing: {right}, where always saying {common!r} is on {most:,}")
    if few := [f"{name}: {count}" for name, count in zip(classes, counts, strict=True) if count < _FEW]:
        named = ", ".join(few[:5]) + (", ..." if len(few) > 5 else "")
        out.append(f"too few test examples to judge {len(few)} of {len(classes)} classes by ({named})")
    return tuple(out)


def _speed_between(before: Artefact, now: Latency, *, first: bool) -> tuple[float, Interval] | None:
    """How many times faster `now` is than the artefact before it, with its interval; both ratios are to the teacher.

    The two were measured in different processes, so their errors add as independent ones do, on a log scale.
    """
    if now.ratio is None or now.ratio_ci95 is None:
        return None
    if first:
        return now.ratio, now.ratio_ci95
    then = latency_on(before, now.device)
    if then is None or then.ratio is None or then.ratio_ci95 is None:
        return None
    middle = math.log(now.ratio / then.ratio)
    down = math.hypot(math.log(now.ratio / now.ratio_ci95[0]), math.log(then.ratio_ci95[1] / then.ratio))
    up = math.hypot(math.log(now.ratio_ci95[1] / now.ratio), math.log(then.ratio / then.ratio_ci95[0]))
    return math.exp(middle), (math.exp(middle - down), math.exp(middle + up))
