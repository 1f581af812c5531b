"""The parity ledger: every form of the model against the form before it, each with a tolerance and a reason."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from compress.errors import ParityError, UsageError
from compress.evaluate.metrics import Labels, Logits, predictions
from compress.result import Hop

# What a conversion may change, and why it changes anything at all.
TOLERANCES: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        # The same float32 arithmetic in another order, batch norm folded: a few units in the last place per layer.
        "float32": MappingProxyType({"agreement": 0.999, "accuracy_points": 0.1, "largest_difference": 1e-3}),
        # Weights rounded to 11 bits: relative error 5e-4 a weight.
        "float16": MappingProxyType({"agreement": 0.99, "accuracy_points": 0.3, "largest_difference": 0.1}),
        # The same integers, but engines round products half up, half even or in 31-bit fixed point: one step of the
        # grid here and there (measured: 0.02 to 0.07), which turns an argmax only where two logits tie. The largest
        # difference is there for what no argmax shows: logits that are all too large by one factor.
        "int8": MappingProxyType({"agreement": 0.995, "accuracy_points": 0.5, "largest_difference": 0.5}),
        # Activation ranges are found anew for each example instead of calibrated (measured: 0.02 to 0.08).
        "dynamic-int8": MappingProxyType({"agreement": 0.98, "accuracy_points": 1.0, "largest_difference": 0.5}),
    }
)
Answers = NDArray[np.int64]
TIE = 0.1  # standard deviations of the logits: two of them this near may swap places when each is rounded by a step


def hop(
    name: str,
    kind: Literal["training", "conversion"],
    source: str,
    target: str,
    source_logits: Logits,
    target_logits: Logits,
    y: Labels,
    tolerance: Mapping[str, float],
) -> Hop:
    """Compare two forms of a model on the same examples and judge by `tolerance`.

    Tolerance, all keys optional: agreement, the least share of equal argmax; accuracy_points, how many points accuracy
    may change (for training: fall); largest_difference, of any logit, in standard deviations of the source's logits.
    Limits on shares are rounded up to whole examples, so that on 20 examples 99.5 % allows one to differ. A conversion
    is not held to account for ties, examples whose two best classes are nearer to each other than TIE in the source: a
    net that has hardly trained has many. They count in the figures all the same, and the reason says how many.

    Raises:
        UsageError: a tolerance of another name.
        ParityError: the two have other shapes, or logits are not finite.
    """
    where = f"{name} ({source} to {target})"
    if strange := sorted(set(tolerance) - {"agreement", "accuracy_points", "largest_difference"}):
        fix = "use agreement, accuracy_points or largest_difference"
        raise UsageError(f"unknown tolerance: {', '.join(strange)}", where, fix)
    if source_logits.shape != target_logits.shape:
        what = f"it turned logits of shape {source_logits.shape} into {target_logits.shape}"
        raise ParityError(what, where, "compare two forms of one model on the same examples")
    if bad := int((~np.isfinite(target_logits)).any(axis=1).sum()):
        what = f"logits of {bad} of {len(y)} examples are no longer finite"
        raise ParityError(what, where, "look for a scale of zero or an overflow in the target")
    before, after = predictions(source_logits, y, where=where), predictions(target_logits, y, where=where)
    count, flipped = len(y), int((before != after).sum())
    tied = _ties(source_logits, before, after) if kind == "conversion" else np.zeros(count, bool)
    difference = _largest_difference(source_logits, target_logits)
    checks = _checks(kind, before, after, np.where(tied, before, after), y, difference, tolerance)
    broken = [text for fine, text in checks if not fine]
    reason = "; ".join(broken or [text for _, text in checks]) or "no tolerance was set"
    if tied.any() and checks:
        reason += f"; {int(tied.sum())} of the {flipped} that differ are ties within {TIE:g} standard deviations"
    return Hop(
        name=name,
        kind=kind,
        source=source,
        target=target,
        count=count,
        source_top1=int((before == y).sum()) / count,
        target_top1=int((after == y).sum()) / count,
        agreement=1 - flipped / count,
        largest_difference=difference,
        tolerance=dict(tolerance),
        ok=not broken,
        reason=reason,
    )


def _checks(
    kind: str, before: Answers, after: Answers, judged: Answers, y: Labels, difference: float,
    tolerance: Mapping[str, float],
) -> list[tuple[bool, str]]:  # fmt: skip
    """Each tolerance: is it kept, and the figure in words. judged: the answers after, ties left out."""
    count, right = len(y), int((before == y).sum())
    lost, fallen = right - int((after == y).sum()), right - int((judged == y).sum())
    change, way = (fallen, "lost") if kind == "training" else (abs(fallen), "either way")
    out = []
    if (limit := tolerance.get("agreement")) is not None:
        text = f"agreement {100 * float((before == after).mean()):.2f} % (want {100 * limit:.2f} % or more)"
        out.append((int((before != judged).sum()) <= _whole((1 - limit) * count), text))
    if (limit := tolerance.get("accuracy_points")) is not None:
        text = f"accuracy {-100 * lost / count:+.2f} points (want {limit:g} or less {way})"
        out.append((change <= _whole(limit / 100 * count), text))
    if (limit := tolerance.get("largest_difference")) is not None:
        text = f"largest difference {difference:.3g} standard deviations of the logits (want {limit:g} or less)"
        out.append((difference <= limit, text))
    return out


def _ties(source: Logits, before: NDArray[np.int64], after: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Examples whose class changed though the source could hardly tell the two classes apart."""
    rows = np.arange(len(source))
    margin = source[rows, before].astype(np.float64) - source[rows, after]
    return (before != after) & (margin <= TIE * _spread(source))


def _spread(source: Logits) -> float:
    """Standard deviation of all logits; 1 where they are all equal."""
    return float(source.std(dtype=np.float64)) or 1.0


def _largest_difference(source: Logits, target: Logits) -> float:
    """Over all logits, in standard deviations of the source's; in plain units where those are all equal."""
    return float(np.abs(target - source.astype(np.float64)).max() / _spread(source))


def _whole(examples: float) -> int:
    """Rounded up to whole examples; 5.000000001 out of binary fractions is 5."""
    return math.ceil(examples - 1e-6)
