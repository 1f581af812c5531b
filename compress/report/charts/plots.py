"""The smaller pictures: timed blocks as strips, training curves, bars inside tables."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from compress.report import words
from compress.report.charts.axes import fit, spans_decades
from compress.report.html.markup import Markup, chart, join, number, tag


@dataclass(frozen=True, slots=True)
class Strip:
    """One file's timings: block medians in ms per process."""

    label: str
    processes_ms: tuple[tuple[float, ...], ...]
    p50_ms: float
    strong: bool


def strips(rows: Sequence[Strip], *, width: int, about: str) -> Markup:
    """One band a file, one line of dots a process, a bar at p50. Dots on the same pixel are drawn once."""
    values = [v for r in rows for v in (*(v for p in r.processes_ms for v in p), r.p50_ms) if 0 < v < math.inf] or [1.0]
    side = 190.0 if width > 500 else 0.0
    x = fit(values, side + 12.0, width - 16.0, log=spans_decades(values), pad=0.04)
    parts, y = [], 6.0
    for r in rows:
        label_y, first = (y + 4, y + 4) if side else (y + 12, y + 22)
        tall = 7.0 * max(len(r.processes_ms), 3)
        name = words.shorten(r.label, 30)
        kind = "name strong" if r.strong else "name"
        if side:
            parts.append(tag("text", name, x=side, y=label_y + tall / 2 - 3, class_=f"{kind} end"))
            p50 = f"p50 {words.milliseconds(r.p50_ms)}"
            parts.append(tag("text", p50, x=side, y=label_y + tall / 2 + 10, class_="tick end"))
        else:
            parts.append(tag("text", f"{name}, {words.milliseconds(r.p50_ms)}", x=2.0, y=label_y, class_=kind))
        for i, process in enumerate(r.processes_ms):
            dots = sorted({number(x(v)) for v in process if 0 < v < math.inf}, key=float)
            path = "".join(f"M{at} {number(first + 7 * i)}h0" for at in dots)
            if path:
                parts.append(tag("path", d=path, class_="dots"))
        at = x(r.p50_ms) if 0 < r.p50_ms < math.inf else x.start
        parts.append(tag("line", x1=at, x2=at, y1=first - 5, y2=first + tall - 2, class_="median"))
        y = first + tall + 10
        parts.append(tag("line", x1=side + 12.0, x2=width - 16.0, y1=y - 7, y2=y - 7, class_="grid"))
    ticks = x.ticks(max(3, width // 95))
    digits = next((d for d in (2, 3) if all(math.isclose(float(f"{t:.{d - 1}e}"), t) for t in ticks)), 4)
    axis = [
        (
            tag("line", x1=x(t), x2=x(t), y1=2.0, y2=y - 6, class_="grid"),
            tag("text", words.tick(words.significant(t, digits)), x=x(t), y=y + 10, class_="tick mid"),
        )
        for t in ticks
    ]
    title = "ms for one example" + (", log scale" if x.log else "")
    height = math.ceil(y + 34)
    return chart(
        axis,
        parts,
        tag("text", title, x=(x.start + x.end) / 2, y=y + 28, class_="title mid"),
        width=width,
        height=height,
        about=about,
    )


def curve(values: Sequence[float], *, title: str, about: str) -> Markup:
    """One number by epoch, first and last value written out."""
    width, height, left, right, top, bottom = 300, 132, 46.0, 246.0, 26.0, 108.0
    y = fit(values, bottom, top, pad=0.1)
    steps = len(values) - 1
    xs = [left + (right - left) * i / steps for i in range(len(values))]
    line = " ".join(f"{number(a)},{number(y(v))}" for a, v in zip(xs, values, strict=True))
    ticks = y.ticks(3)
    return chart(
        tag("text", words.shorten(title, 40), x=2.0, y=12.0, class_="name"),
        [tag("line", x1=left, x2=right, y1=y(t), y2=y(t), class_="grid") for t in ticks],
        [tag("text", words.tick(words.significant(t, 3)), x=left - 6, y=y(t) + 4, class_="tick end") for t in ticks],
        tag("polyline", points=line, class_="curve"),
        tag("circle", cx=xs[-1], cy=y(values[-1]), r=3.5, class_="mark onnx solid"),
        tag("text", words.significant(values[-1], 3), x=right + 8, y=y(values[-1]) + 4, class_="name strong"),
        tag("text", "epoch 1", x=left, y=height - 6.0, class_="tick"),
        tag("text", str(len(values)), x=right, y=height - 6.0, class_="tick end"),
        width=width,
        height=height,
        about=about,
        small=True,
    )


def bar(share: float, *, limit: float | None = None, kind: str = "", behind: float | None = None) -> Markup:
    """A horizontal bar, 0 to 1 of its track. limit: a mark; behind: a paler bar (the value before). Decoration only."""

    def at(v: float) -> str:
        return f"{100 * min(max(v, 0.0), 1.0):.1f}%"

    return tag(
        "span",
        tag("i", class_="behind", style=f"width:{at(behind)}") if behind is not None else None,
        tag("i", class_=f"fill {kind}".strip(), style=f"width:{at(share)}"),
        tag("i", class_="limit", style=f"left:{at(limit)}") if limit is not None else None,
        class_="bar",
        aria_hidden="true",
    )


def diverging(value: float, largest: float, kind: str) -> Markup:
    """A bar to the left (negative) or right of a middle line."""
    half = 50 * min(abs(value) / largest, 1.0) if largest else 0.0
    left = 50 - half if value < 0 else 50.0
    return tag(
        "span",
        tag("i", class_=f"fill {kind}", style=f"left:{left:.1f}%;width:{half:.1f}%"),
        class_="bar diverging",
        aria_hidden="true",
    )


def dumbbell(before: float, after: float, low: float) -> Markup:
    """Two dots on a line from `low` to 1: hollow before, solid after."""

    def at(v: float) -> float:
        return 100 * (v - low) / (1 - low) if low < 1 else 100.0

    a, b = at(before), at(after)
    return tag(
        "span",
        tag("i", class_="rod", style=f"left:{min(a, b):.1f}%;width:{abs(a - b):.1f}%"),
        tag("i", class_="dot hollow", style=f"left:{a:.1f}%"),
        tag("i", class_="dot", style=f"left:{b:.1f}%"),
        class_="dumbbell",
        aria_hidden="true",
    )


def both(wide: Markup, narrow: Markup) -> Markup:
    """The same chart at two sizes; the style sheet shows the one that fits."""
    return join(tag("div", wide, class_="on-wide"), tag("div", narrow, class_="on-narrow"))
