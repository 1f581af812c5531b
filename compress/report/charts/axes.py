"""Scales and ticks of the charts: plain arithmetic."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Axis:
    """Maps data in [low, high] to pixels in [start, end]; `log` by decades. low < high always; log wants low > 0."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Where a value stands, in pixels."""
        low, high, at = (
            (math.log10(v) for v in (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        )
        return self.start + (self.end - self.start) * (at - low) / (high - low)

    def ticks(self, wanted: int = 5) -> list[float]:
        """Round values inside the range, about `wanted` of them."""
        return _log_ticks(self.low, self.high, wanted) if self.log else _linear_ticks(self.low, self.high, wanted)


def fit(
    values: Sequence[float],
    start: float,
    end: float,
    *,
    log: bool = False,
    pad: float = 0.08,
    ceiling: float = math.inf,
) -> Axis:
    """An axis around the values, with a share of the span as room on both sides."""
    low, high = min(values), max(values)
    if log:
        a, b = math.log10(low), math.log10(high)
        room = pad * (b - a) if b > a else 0.3
        return Axis(10 ** (a - room), 10 ** (b + room), start, end, True)
    room = pad * (high - low) if high > low else max(abs(high) * 0.05, 1e-9)
    return Axis(low - room, max(min(high + room, ceiling), high), start, end)


def spans_decades(values: Sequence[float]) -> bool:
    """Whether a log axis helps: all positive, the largest more than four times the smallest."""
    return bool(values) and min(values) > 0 and max(values) > 4 * min(values)


def _linear_ticks(low: float, high: float, wanted: int) -> list[float]:
    rough = (high - low) / max(wanted, 1)
    power = 10 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float, wanted: int) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        found = [float(f"{d}e{e}") for e in decades for d in digits if low <= float(f"{d}e{e}") <= high]
        if len(found) <= wanted:
            return found
    return found[:: -(-len(found) // wanted)]
