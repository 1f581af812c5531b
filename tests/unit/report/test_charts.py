import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.report import words
from compress.report.charts.axes import Axis, fit
from compress.report.charts.plots import Strip, curve, strips
from compress.report.charts.scatter import Point, frontier, place_labels, scatter, text_width

positive = st.floats(1e-3, 1e9)


def point(x: float, y: float, label: str = "int8 ONNX", *, named: bool = True, ring: bool = False) -> Point:
    return Point(x, y, label, label, False, True, ring, named, y_range=(max(0.0, y - 0.01), min(1.0, y + 0.01)))


@given(st.lists(positive, min_size=1, max_size=8), st.booleans())
def test_every_value_and_every_tick_lies_on_the_axis(values: list[float], log: bool) -> None:
    axis = fit(values, 10.0, 500.0, log=log)
    assert all(9.9 <= axis(v) <= 500.1 for v in values)
    assert all(9.9 <= axis(t) <= 500.1 for t in axis.ticks(5))


def test_log_ticks_are_round_and_few() -> None:
    assert Axis(12_000, 500_000, 0, 1, log=True).ticks(5) == [20_000, 50_000, 100_000, 200_000, 500_000]
    assert len(Axis(1, 1e12, 0, 1, log=True).ticks(5)) <= 5


def test_linear_ticks_are_round() -> None:
    assert Axis(96.8, 99.2, 0, 1).ticks(5) == [97.0, 97.5, 98.0, 98.5, 99.0]


def test_the_frontier_leaves_out_what_another_beats() -> None:
    best, worse, small = point(10, 0.9), point(20, 0.9), point(5, 0.8)
    assert frontier([worse, best, small]) == [small, best]


@pytest.mark.parametrize("step", [1.01, 1.3])
@pytest.mark.parametrize("width", [520, 344])
def test_labels_overlap_neither_each_other_nor_the_frame(width: int, step: float) -> None:
    crowd = [point(100 * step**i, 0.97 + 0.0004 * i, f"variant {i}", ring=i == 3) for i in range(7)]
    points = [*crowd, point(50_000, 0.8, "far away")]
    x, y = fit([p.x for p in points], 52, width - 12, log=True), fit([100 * p.y for p in points], 320, 14)
    boxes = text_boxes(place_labels(points, x, y, (52, 14, width - 12, 320)))
    assert len(boxes) == 8
    assert all(left >= 52 and right <= width - 12 for left, _, right, _ in boxes)
    for a, b in itertools.combinations(boxes, 2):
        assert min(a[2], b[2]) - max(a[0], b[0]) <= 0 or min(a[3], b[3]) - max(a[1], b[1]) <= 1, (a, b)


def text_boxes(svg: str) -> list[tuple[float, float, float, float]]:
    found = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" class="[^"]*">([^<]*)</text>', svg)
    return [(float(x), float(y) - 10, float(x) + text_width(t), float(y) + 2) for x, y, t in found]


def test_a_single_point_can_be_drawn() -> None:
    svg = scatter([point(5, 1.0)], x_title="size", x_text=words.size, about="one", width=300, height=200)
    assert svg.count("<circle") == 1
    assert "frontier" not in svg


def test_the_picture_is_read_out_and_escaped() -> None:
    svg = scatter([point(5, 0.5, "<b>")], x_title="size", x_text=words.size, about='a "b" <c>', width=300, height=200)
    assert 'role="img" aria-label="a &quot;b&quot; &lt;c&gt;"' in svg
    assert "<b>" not in svg


def test_timings_of_zero_do_not_break_a_log_axis() -> None:
    row = Strip("int8", ((0.0, 1.0, 9.0), (2.0,)), 1.0, True)
    svg = strips([row], width=344, about="timings")
    assert "log scale" in svg
    assert svg.count("h0") == 3  # the dots: zero has no place on a log axis


def test_dots_on_the_same_pixel_are_drawn_once() -> None:
    svg = strips([Strip("int8", ((1.0,) * 500 + (2.0,),), 1.0, False)], width=1040, about="timings")
    assert svg.count("h0") == 2


def test_a_curve_says_where_it_ends() -> None:
    svg = curve([0.5, 0.9, 0.8], title="validation accuracy", about="rises")
    assert ">0.800<" in svg
    assert ">3<" in svg


def test_no_two_ticks_of_a_timing_read_alike() -> None:
    svg = strips([Strip("int8", ((0.065, 0.0821, 0.106),), 0.08, True)], width=1040, about="timings")
    labels = re.findall(r'class="tick mid"[^>]*>([^<]+)<', svg)
    assert len(labels) > 5
    assert len(set(labels)) == len(labels)
