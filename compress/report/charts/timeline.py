"""Time series as drawings: one or two lines over the same hours, a limit, marks where alarms stand."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from compress.report import words
from compress.report.charts.axes import fit, spans_decades
from compress.report.html.markup import Markup, chart, number, tag

_STEPS_S = (60, 300, 900, 3600, 3 * 3600, 6 * 3600, 86400, 7 * 86400, 30 * 86400)


@dataclass(frozen=True, slots=True)
class Line:
    """A series. values: one a point in time; None where nothing is known, which breaks the line. kind: a CSS class."""

    label: str
    values: tuple[float | None, ...]
    kind: str = ""


def timeline(
    title: str,
    times_s: Sequence[float],
    lines: Sequence[Line],
    *,
    text: Callable[[float], str],
    limit: float | None = None,
    alarms_s: Sequence[float] = (),
    zero: bool = False,
) -> Markup | None:
    """A chart; None if nothing is known. times_s: ascending. limit: a dashed line. zero: the axis begins at 0."""
    known = [v for line in lines for v in line.values if v is not None and math.isfinite(v)]
    if not known:
        return None
    width, height, left, right, top, bottom = 520, 210, 58.0, 428.0, 34.0, 172.0
    low, high = times_s[0], max(times_s[-1], times_s[0] + 1.0)

    def x(t: float) -> float:
        return left + (right - left) * (min(max(t, low), high) - low) / (high - low)

    reach = [*known, *([limit] if limit is not None else []), *([0.0] if zero else [])]
    y = fit(reach, bottom, top, log=not zero and spans_decades(reach), pad=0.06)
    drawn = []
    for line in lines:
        drawn.append(tag("path", d=_path(times_s, line.values, x, y), class_=f"series {line.kind}".strip()))
        last = next((v for v in reversed(line.values) if v is not None and math.isfinite(v)), None)
        if last is not None:
            said = f"{line.label} {text(last)}".strip()
            drawn.append(tag("text", words.shorten(said, 16), x=right + 8, y=y(last) + 4, class_="name"))
    points = words.plural(len(times_s), "point")
    about = f"{title} over time: {points}, from {text(known[0])} to {text(known[-1])}."
    return chart(
        tag("text", title, x=2.0, y=14.0, class_="name strong"),
        [tag("line", x1=left, x2=right, y1=y(t), y2=y(t), class_="grid") for t in y.ticks(4)],
        [tag("text", words.tick(text(t)), x=left - 6, y=y(t) + 4, class_="tick end") for t in y.ticks(4)],
        [tag("line", x1=x(t), x2=x(t), y1=top - 4, y2=bottom, class_="alarm") for t in alarms_s],
        tag("line", x1=left, x2=right, y1=y(limit), y2=y(limit), class_="limit-line") if limit is not None else None,
        drawn,
        [tag("text", said, x=x(t), y=bottom + 18, class_="tick mid") for t, said in _clock(low, high)],
        width=width,
        height=height,
        about=about,
    )


def _path(
    times_s: Sequence[float], values: Sequence[float | None], x: Callable[[float], float], y: Callable[[float], float]
) -> str:
    """Line segments, broken where nothing is known; a point alone is a dot."""
    out, open_ = [], False
    for t, v in zip(times_s, values, strict=True):
        if v is None or not math.isfinite(v):
            open_ = False
            continue
        at = f"{number(x(t))} {number(y(v))}"
        out.append(f"L{at}" if open_ else f"M{at}h0")
        open_ = True
    return "".join(out)


def _clock(low: float, high: float) -> list[tuple[float, str]]:
    """A handful of round moments (UTC) with their names."""
    step = next(
        (s for s in _STEPS_S if (high - low) / s <= 5), _STEPS_S[-1] * math.ceil((high - low) / _STEPS_S[-1] / 5)
    )
    if high - low < 120:
        return [
            (low, time.strftime("%H:%M:%S", time.gmtime(low))),
            (high, time.strftime("%H:%M:%S", time.gmtime(high))),
        ]
    form = "%H:%M" if step < 86400 else "%d %b"
    first = math.ceil(low / step) * step
    return [(t, time.strftime(form, time.gmtime(t))) for t in range(first, int(high) + 1, step)]
