"""Energy as every report tells it: what a meter saw, or that none did and why. An estimate is no measurement."""

from collections.abc import Iterable

from compress.report import words
from compress.result import Energy, Latency


def told(found: Energy) -> tuple[str, str]:
    """`1.50 mJ`, all that the meter saw for an inference; and what belongs beside it in smaller type."""
    total = found.total_mj or 0.0
    more = [" to ".join(map(words.significant, found.total_ci95))] if found.total_ci95 else []
    more += [f"{words.significant(found.net_mj)} above idle"] if found.net_mj is not None else []
    more.append(", ".join(words.one_line(t) for t in (found.meter, found.scope) if t))
    return f"{words.significant(total)}\u00a0mJ", "; ".join(m for m in more if m)


def not_measured(found: Iterable[Latency]) -> str:
    """A sentence where no meter measured any of these, with the reason that was given; else nothing."""
    timed = list(found)
    if any(t.metered for t in timed):
        return ""
    why = next((words.prose(t.energy.reason) for t in timed if t.energy and t.energy.reason), "")
    estimated = any(t.energy and t.energy.label == "estimated" for t in timed)
    return f"Energy: none measured{', only estimated' if estimated else ''}{f' ({why})' if why else ''}."
