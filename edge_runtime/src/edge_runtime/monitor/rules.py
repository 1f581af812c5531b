"""When to tell somebody: limits on figures, with hysteresis, so that a value that hovers at its limit calls once."""

from __future__ import annotations

from dataclasses import dataclass

from edge_runtime.errors import InputError


@dataclass(frozen=True)
class Limit:
    """Raise an alarm while a figure of `Monitor.figures` is beyond a limit.

    figure: e.g. "latency_p99_ms", "refused_share", "quality_blank_share", "psi_max", "mean_confidence", "accuracy".
    above or below: exactly one, the value at which the alarm is raised.
    clear: the value at which it ends, on the other side of the limit; None is 90 % (or 110 %) of it.
    times: how many looks in a row must agree before it is raised.

    Raises:
        InputError: both or neither of above and below, or a `clear` on the wrong side.
    """

    figure: str
    above: float | None = None
    below: float | None = None
    clear: float | None = None
    times: int = 1

    def __post_init__(self) -> None:
        fix = "give exactly one of above and below, and clear on the calm side of it"
        if (self.above is None) == (self.below is None):
            raise InputError(f"limit on {self.figure} has both or neither of above and below", "limits", fix)
        if self.clear is not None and (self.clear > self.limit if self.below is None else self.clear < self.limit):
            raise InputError(f"limit on {self.figure} ends at {self.clear:g}, beyond {self.limit:g}", "limits", fix)
        if type(self.times) is not int or self.times < 1:
            raise InputError(f"limit on {self.figure} wants {self.times!r} looks", "limits", "give 1 or more")

    @property
    def limit(self) -> float:
        """The value at which the alarm is raised."""
        return float(self.above if self.above is not None else self.below or 0.0)

    @property
    def ends_at(self) -> float:
        """The value at which it ends."""
        if self.clear is not None:
            return self.clear
        return self.limit - abs(self.limit) * (0.1 if self.below is None else -0.1)

    def beyond(self, value: float, *, raised: bool) -> bool:
        """Whether the alarm is to stand after this value; it ends only at `ends_at`. NaN says nothing: it stays."""
        if value != value:
            return raised
        level = self.ends_at if raised else self.limit
        return value > level if self.below is None else value < level


@dataclass(frozen=True)
class Alarm:
    """What a hook is called with. time_s: of the wall clock, since 1970. raised: False when it has ended.

    figure: "drift", "store", or a limit's figure. cause: in words.
    """

    time_s: float
    figure: str
    raised: bool
    value: float
    limit: float
    cause: str


class Rule:
    """A limit and its state."""

    def __init__(self, limit: Limit) -> None:
        self.limit, self.raised, self._agreeing = limit, False, 0

    def look(self, value: float, time_s: float) -> Alarm | None:
        """The alarm that this value raises or ends, if it does."""
        wanted = self.limit.beyond(value, raised=self.raised)
        self._agreeing = self._agreeing + 1 if wanted != self.raised else 0
        if self._agreeing < (self.limit.times if wanted else 1):
            return None
        self.raised, self._agreeing = wanted, 0
        side = "above" if self.limit.below is None else "below"
        end = self.limit.limit if wanted else self.limit.ends_at
        cause = (
            f"{self.limit.figure} is {value:.4g}, {side} {end:.4g}"
            if wanted
            else f"{self.limit.figure} is back at {value:.4g}"
        )
        return Alarm(time_s, self.limit.figure, wanted, float(value), end, cause)
