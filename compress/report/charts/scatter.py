"""Accuracy against something that should be small: SVG with uncertainty bars and labels that do not overlap."""

import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from compress.report import words
from compress.report.charts.axes import Axis, fit, spans_decades
from compress.report.html.markup import Markup, chart, join, number, tag

FONT = 12.0
Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True, slots=True)
class Point:
    """x: smaller is better; y: a share, larger is better. *_range: 95 % interval. note: the tooltip."""

    x: float
    y: float
    label: str
    note: str
    tflite: bool
    solid: bool
    ring: bool
    named: bool
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None


def frontier(points: Sequence[Point]) -> list[Point]:
    """Points that no other one equals or beats in both x and y, from small x to large."""
    out: list[Point] = []
    for p in sorted(points, key=lambda p: (p.x, -p.y)):
        if not out or p.y > out[-1].y:
            out.append(p)
    return out


def scatter(
    points: Sequence[Point], *, x_title: str, x_text: Callable[[float], str], about: str, width: int, height: int,
    y_title: str = "accuracy, %",
) -> Markup:  # fmt: skip
    """The chart at one size. `about` is read out instead of the picture."""
    left, right, top, bottom = 52.0, width - 12.0, 14.0, height - 46.0
    xs = [v for p in points for v in (p.x, *(p.x_range or ()))]
    ys = [100 * v for p in points for v in (p.y, *(p.y_range or ()))]
    log = spans_decades(xs)
    x = fit(xs, left, right, log=log, pad=0.1)
    y = fit(ys, bottom, top, ceiling=100.0)
    edge = frontier(points)
    line = " ".join(f"{number(x(p.x))},{number(y(100 * p.y))}" for p in edge)
    return chart(
        _grid(x, y, width, height, x_title + (", log scale" if log else ""), x_text, y_title),
        tag("polyline", points=line, class_="frontier") if len(edge) > 1 else None,
        [_bars(p, x, y) for p in points],
        [_marker(p, x(p.x), y(100 * p.y)) for p in points],
        place_labels(points, x, y, (left, top, right, bottom)),
        width=width,
        height=height,
        about=about,
    )


def _grid(
    x: Axis, y: Axis, width: int, height: int, x_title: str, x_text: Callable[[float], str], y_title: str
) -> Markup:
    bottom, top, left, right = y.start, y.end, x.start, x.end
    ticks = y.ticks(5)
    decimals = 0 if all(t == round(t) for t in ticks) else 1 if all(round(t, 1) == t for t in ticks) else 2
    return join(
        [tag("line", x1=left, x2=right, y1=y(t), y2=y(t), class_="grid") for t in ticks],
        [tag("text", words.minus(f"{t:.{decimals}f}"), x=left - 8, y=y(t) + 4, class_="tick end") for t in ticks],
        [tag("line", x1=x(t), x2=x(t), y1=bottom, y2=bottom + 4, class_="axis") for t in x.ticks(max(3, width // 95))],
        [
            tag("text", words.tick(x_text(t)), x=x(t), y=bottom + 18, class_="tick mid")
            for t in x.ticks(max(3, width // 95))
        ],
        tag("line", x1=left, x2=right, y1=bottom, y2=bottom, class_="axis"),
        tag(
            "text",
            y_title,
            x=14.0,
            y=(top + bottom) / 2,
            class_="title mid",
            transform=f"rotate(-90 14 {number((top + bottom) / 2)})",
        ),
        tag("text", x_title, x=(left + right) / 2, y=height - 8.0, class_="title mid"),
    )


def _bars(p: Point, x: Axis, y: Axis) -> Markup:
    at_x, at_y = x(p.x), y(100 * p.y)
    kind = "error" if p.named else "error faint"
    out = []
    if p.y_range:
        out.append(tag("line", x1=at_x, x2=at_x, y1=y(100 * p.y_range[0]), y2=y(100 * p.y_range[1]), class_=kind))
    if p.x_range:
        out.append(tag("line", x1=x(p.x_range[0]), x2=x(p.x_range[1]), y1=at_y, y2=at_y, class_=kind))
    return join(out)


def _marker(p: Point, cx: float, cy: float) -> Markup:
    kind = f"mark {'tflite' if p.tflite else 'onnx'}{' solid' if p.solid else ''}{'' if p.named else ' small'}"
    note, r = tag("title", p.note), 5.5 if p.named else 3.5
    if p.tflite:
        d = r * 1.25
        corners = ((cx, cy - d), (cx + d, cy), (cx, cy + d), (cx - d, cy))
        path = "M" + "L".join(f"{number(a)} {number(b)}" for a, b in corners) + "Z"
        shape = Markup(f'<path d="{path}" class="{kind}">{note}</path>')
    else:
        shape = Markup(f'<circle cx="{number(cx)}" cy="{number(cy)}" r="{r}" class="{kind}">{note}</circle>')
    return join(tag("circle", cx=cx, cy=cy, r=11, class_="ring") if p.ring else None, shape)


def text_width(text: str, font: float = FONT) -> float:
    """About how wide a text is, in pixels; never much too little."""
    return font * sum(
        1.0 if unicodedata.east_asian_width(c) in "WF" else 0.3 if c in "iljt.,:|'" else 0.58 for c in text
    )


def place_labels(points: Sequence[Point], x: Axis, y: Axis, frame: Box) -> Markup:
    """Names beside their points: each goes where it hides least, the important ones first."""
    taken: list[tuple[Box, float]] = []
    for p in points:
        at_x, at_y, r = x(p.x), y(100 * p.y), 12 if p.ring else 7
        taken.append(((at_x - r, at_y - r, at_x + r, at_y + r), 8.0 if p.named else 3.0))
        if p.named and p.y_range:
            taken.append(((at_x - 2, y(100 * p.y_range[1]), at_x + 2, y(100 * p.y_range[0])), 0.4))
    out = []
    for p in sorted((p for p in points if p.named), key=lambda p: not p.ring):
        at_x, at_y, text = x(p.x), y(100 * p.y), words.shorten(p.label, 26)
        box, away = _place(
            at_x, at_y, text_width(text) * (1.06 if p.ring else 1), frame, taken, 13.0 if p.ring else 9.0
        )
        taken.append((box, 20.0))
        if away:
            near_x = min(max(at_x, box[0]), box[2])
            near_y = min(max(at_y, box[1] + 3), box[3] - 3)
            out.append(tag("line", x1=at_x, y1=at_y, x2=near_x, y2=near_y, class_="leader"))
        out.append(tag("text", text, x=box[0], y=box[3] - 4, class_="name strong" if p.ring else "name"))
    return join(out)


def _place(
    at_x: float, at_y: float, wide: float, frame: Box, taken: Sequence[tuple[Box, float]], gap: float
) -> tuple[Box, bool]:
    best: tuple[float, Box, bool] | None = None
    for step in range(10):
        reach = gap + 11 * step
        for angle in range(0, 360, 30):
            dx, dy = math.cos(math.radians(angle)) * reach, -math.sin(math.radians(angle)) * reach
            left = at_x + dx - (0 if dx > 1 else wide if dx < -1 else wide / 2)
            box = (left, at_y + dy - 8, left + wide, at_y + dy + 8)
            out = (
                max(frame[0] + 2 - box[0], 0)
                + max(box[2] - frame[2], 0)
                + max(frame[1] - box[1], 0)
                + max(box[3] - frame[3], 0)
            )
            cost = 400 * out + 2.0 * reach + 0.1 * (angle not in (0, 180)) + sum(w * _overlap(box, b) for b, w in taken)
            if best is None or cost < best[0] - 1e-9:
                best = cost, box, step > 1
    assert best is not None  # the loops always try something
    return best[1], best[2]


def _overlap(a: Box, b: Box) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
