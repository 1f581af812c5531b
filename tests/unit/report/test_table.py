import io
import re
from typing import Literal

import pytest
import samples
from rich.console import Console

from compress.report import words
from compress.report.text import terminal as table
from compress.result import Result


class Stream(io.StringIO):
    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding


def draw(run: Result, width: int, *, color: bool = False, encoding: str = "utf-8") -> str:
    stream = Stream(encoding)
    kind: Literal["truecolor"] | None = "truecolor" if color else None
    Console(file=stream, width=width, force_terminal=color, no_color=not color, color_system=kind).print(
        table.render(run)
    )
    return stream.getvalue()


@pytest.mark.parametrize("name", list(samples.SAMPLES))
@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_no_line_is_wider_than_the_terminal(name: str, width: int) -> None:
    assert max(map(len, draw(samples.SAMPLES[name](), width).splitlines())) <= width


@pytest.mark.parametrize("width", [40, 60, 80, 140])
def test_every_artefact_and_its_numbers_are_whole_on_any_terminal(width: int) -> None:
    run = samples.good()
    lines = draw(run, width)
    if width < 76:
        lines = re.sub(r"\s+", " ", lines)  # sentences, broken where a word ends
    assert "…" not in lines.replace("…+", "")  # the sign between the ends of an interval, not an ellipsis
    for a in run.artefacts:
        assert a.id in lines
        assert words.significant(a.latency[0].p50_ms) in lines
        assert words.size(a.size_bytes).replace("\u00a0", " ") in lines.replace("\u00a0", " ")
        assert f"{100 * a.accuracy[0].top1:.2f} %" in lines


@pytest.mark.parametrize("name", list(samples.SAMPLES))
def test_ascii_terminals_get_ascii(name: str) -> None:
    lines = draw(samples.SAMPLES[name](), 80, encoding="ascii")
    assert lines.isascii()
    if name == "good":
        assert "31.2x smaller and 14.1x faster" in lines
        assert "-0.30" in lines


def test_color_changes_nothing_but_color() -> None:
    plain, colored = draw(samples.missed(), 100), draw(samples.missed(), 100, color=True)
    assert "\x1b[" not in plain
    assert re.sub(r"\x1b\[[\d;]*m", "", colored) == plain


def test_the_shipped_file_stands_out_in_words_and_in_weight() -> None:
    lines = draw(samples.good(), 100, color=True).splitlines()
    assert [line for line in lines if "(ships)" in line and "\x1b[1m" in line]


def test_no_name_can_send_codes_to_the_terminal_or_is_taken_for_styling() -> None:
    lines = draw(samples.hostile(), 100)
    assert "\x1b" not in lines
    run = samples.good()
    styled = run.model_copy(update={"flags": ("[red]not markup[/red]",)})
    assert "[red]not markup[/red]" in draw(styled, 100)


def test_breaches_flags_budget_and_what_ships_are_said() -> None:
    assert "int8 to TFLite: 03-quantize → 03-quantize.tflite" in draw(samples.breach(), 140)
    assert samples.slower().flags[0] in draw(samples.slower(), 140)
    assert "missed by 0.20 points" in draw(samples.missed(), 140).replace("\u00a0", " ")
    assert "02-prune.onnx, 26,310 bytes: it meets the budget and is faster than the int8 file." in draw(
        samples.slower(), 140
    )
