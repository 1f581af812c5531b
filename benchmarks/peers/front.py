"""Who is on the Pareto front of accuracy, size and speed, and who is behind whom. Pure functions of result rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
SAME_SIZE = 0.01  # of the size: names and metadata, no design
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Point:
    """Share of right answers and speed against float (higher is better), and bytes (lower is)."""

    accuracy: float
    size_bytes: int
    speed: float

    def dominates(self, other: "Point") -> bool:
        """At least as good in all three, better in one."""
        mine = (self.accuracy, -self.size_bytes, self.speed)
        theirs = (other.accuracy, -other.size_bytes, other.speed)
        return mine != theirs and all(a >= b for a, b in zip(mine, theirs, strict=True))


def point(row: Row) -> Point:
    """Of a row without an error."""
    return Point(row["accuracy"]["top1"], row["size_bytes"], speed(row))


def speed(row: Row) -> float:
    """Against the float ONNX file, which is 1 by definition and is not timed against itself."""
    return float(row["latency"]["ratio"]) if "latency" in row else 1.0


def span(row: Row) -> tuple[float, float]:
    """95 % interval of the speed."""
    low, high = (row["latency"]["ratio_ci95"] if "latency" in row else None) or (speed(row), speed(row))
    return low, high


def finished(rows: Sequence[Row]) -> list[Row]:
    return [r for r in rows if not r["error"]]


def dominators(row: Row, rows: Sequence[Row]) -> list[Row]:
    """Rows that are no worse anywhere and better somewhere; none means that this row is on the front."""
    return [r for r in finished(rows) if point(r).dominates(point(row))]


def clearly(ahead: Row, row: Row) -> bool:
    """Whether one of the advantages of a row that dominates this one is more than noise."""
    smaller = ahead["size_bytes"] < (1 - SAME_SIZE) * row["size_bytes"]
    faster = span(ahead)[0] > span(row)[1]
    lost = not not_shown(row) and row["paired"]["difference_points"] < 0
    kept = not_shown(ahead) or ahead["paired"]["difference_points"] > 0
    return smaller or faster or (lost and kept)


def not_shown(row: Row) -> bool:
    """No difference in accuracy to the float file could be shown."""
    return bool(row["paired"]["p_value"] >= SIGNIFICANT)


def standing(row: Row, rows: Sequence[Row]) -> tuple[str, Row | None]:
    """Where a row stands, and the fastest of those that are ahead of it.

    front; by-accuracy: on the front, but a smaller and faster file is behind it only by an accuracy that, as its own,
    is not shown to differ from the float file's; within-noise: not on the front, but no advantage of those ahead is
    more than noise; behind.
    """
    ahead = dominators(row, rows)
    if ahead:
        clear = [r for r in ahead if clearly(r, row)]
        return ("behind", max(clear, key=speed)) if clear else ("within-noise", max(ahead, key=speed))
    better = [
        r for r in finished(rows)
        if not_shown(r) and not_shown(row) and span(r)[0] > span(row)[1] and r["size_bytes"] <= row["size_bytes"]
    ]  # fmt: skip
    return ("by-accuracy", max(better, key=speed)) if better else ("front", None)
