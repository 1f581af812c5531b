"""Energy without a meter: CPU time times an assumed power. An estimate, only if asked for, never for ranking."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compress.errors import UsageError

MOST_WATTS = 100.0  # no core draws that
_RANGE = re.compile(r"(\d+(?:\.\d+)?)(?:-(\d+(?:\.\d+)?))?")


@dataclass(frozen=True, slots=True)
class Watts:
    """What a busy core is assumed to draw, from low to high."""

    low: float
    high: float

    def estimate(self, cpu_ms: float | None) -> dict[str, Any]:
        """Millijoules of an inference that takes so much CPU time, as energy's entry in a measurement."""
        if cpu_ms is None:
            return {"label": "none", "why": "no CPU time was measured to estimate from"}
        return {
            "label": "estimated",
            "low_mj": cpu_ms * self.low,
            "high_mj": cpu_ms * self.high,
            "assumption": f"{self.low:g} to {self.high:g} W a busy core times {cpu_ms:.4g} ms of measured CPU time; "
            "memory, board and idle power are not in it; not for ranking",
        }


def parse_watts(energy: str, text: str | None) -> Watts | None:
    """The assumption behind --energy estimate; None if no estimate was asked for.

    >>> parse_watts("estimate", "1.5-3")
    Watts(low=1.5, high=3.0)
    >>> parse_watts("estimate", "2")  # one number says nothing about how sure it is
    Watts(low=1.0, high=4.0)

    Raises:
        UsageError: an estimate without an assumption, or an assumption without an estimate.
    """
    if (energy == "estimate") != (text is not None):
        what = "an estimate needs an assumption" if text is None else "an assumption without an estimate"
        raise UsageError(what, "--energy", "give --energy estimate and --watts-per-core LOW-HIGH together, or neither")
    if text is None:
        return None
    match = _RANGE.fullmatch(text.strip())
    numbers = [float(n) for n in match.groups() if n] if match else []
    low, high = (numbers[0] / 2, numbers[0] * 2) if len(numbers) == 1 else numbers or (0.0, 0.0)
    if not 0 < low <= high <= MOST_WATTS:
        raise UsageError(f"{text!r} is no range of watts", "--watts-per-core", "give one such as 1.5-3")
    return Watts(low, high)


def with_estimates(document: Mapping[str, Any], watts: Watts) -> dict[str, Any]:
    """The document with estimates where no energy was measured."""
    models = {
        name: {**model, "energy": watts.estimate(model["summary"]["cpu_ms"])}
        if model["energy"]["label"] == "none"
        else dict(model)
        for name, model in document["models"].items()
    }
    return {**document, "models": models}
