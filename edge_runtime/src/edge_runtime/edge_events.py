"""What happened to the machine while a process timed: two moments compared. Pure, standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge_runtime.edge_host import throttle_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_runtime.edge_host import Moment

BUSY_SHARE = 0.05  # of the timed cores' time that other work may take unmentioned
CLOCK_S = 0.5  # what a clock kept by NTP never strays within a minute


@dataclass(frozen=True)
class Event:
    """kind: for programs. text: a sentence for the reader. void: no figure of the measurement is to be used."""

    kind: str
    text: str
    void: bool = False


def between(before: Moment, after: Moment, process: Mapping[str, Any], cores: int, note: str) -> list[Event]:
    """Everything worth saying about one process, in sentences that end in `note`.

    process: the worker's own account: cpu_s it used, whether it was pinned. cores: how many it was pinned to.
    """
    during = f" ({note})" if note else ""
    out = []
    held = throttle_names((before.throttled or 0) | (after.throttled or 0))
    new = throttle_names((after.throttled or 0) & ~(before.throttled or 0), since_boot=True)
    if names := list(dict.fromkeys([*(held or ()), *(new or ())])):
        text = f"the board reports {', '.join(names)}{during}: the timings are void; cool it, feed it and run again"
        out.append(Event("throttled", text, void=True))
    if before.throttle_count is not None and (after.throttle_count or 0) > before.throttle_count:
        out.append(Event("slowed", f"the CPU was slowed down for heat{during}: trust the ratio only"))
    elapsed = after.monotonic_s - before.monotonic_s
    slept = (after.boottime_s - before.boottime_s) - elapsed
    if slept > CLOCK_S:
        out.append(Event("slept", f"the machine slept for {slept:.1f} s{during}: the timings are void", void=True))
    jump = (after.wall_s - before.wall_s) - (after.boottime_s - before.boottime_s)
    if abs(jump) > CLOCK_S:
        text = f"the clock was set by {jump:+.1f} s{during}; durations come from another clock and stand"
        out.append(Event("clock", text))
    if process["pinned"] and before.busy_s is not None and after.busy_s is not None and elapsed > 0:
        share = (after.busy_s - before.busy_s - process["cpu_s"]) / (elapsed * cores)
        if share > BUSY_SHARE:
            out.append(Event("busy", f"other work took {100 * share:.0f} % of the timed cores{during}"))
    if not process["pinned"]:
        out.append(Event("unpinned", f"the process could not be pinned to its cores{during}"))
    return out


def told(events: list[dict[str, Any]]) -> list[str]:
    """Events for the reader: many of one kind become one sentence with their number, the worst or last one's text."""
    out = []
    for kind in dict.fromkeys(e["kind"] for e in events):
        same = [e["text"] for e in events if e["kind"] == kind]
        if kind in ("not-measured", "wrong-output") or len(same) == 1:
            out += same
        else:
            worst = max(same, key=_figure)
            out.append(f"{worst}; the worst of {len(same)} such events")
    return out


def _figure(text: str) -> float:
    """The first number in a sentence; its size orders sentences of one kind."""
    for word in text.split():
        if word.lstrip("+-").replace(".", "", 1).isdigit():
            return abs(float(word))
    return 0.0
