import io

import pytest
from rich.console import Console

from compress.run.progress import Display, clock


def shown(*, terminal, quiet=False, steps=((1, 4, "epoch 1/4"), (2, 4, "epoch 2/4"))):
    """What a display wrote over one step."""
    out = io.StringIO()
    display = Display(Console(file=out, force_terminal=terminal, width=120, no_color=True), quiet=quiet)
    display.warn("a long sentence " * 12)
    with display.step("01-distill") as progress:
        for step in steps:
            progress(*step)
    display.done("01-distill", "validation accuracy 90.00%", 3.21)
    return out.getvalue()


def test_off_a_terminal_a_short_step_is_one_line_and_sentences_are_not_broken():
    lines = shown(terminal=False).splitlines()

    assert len(lines) == 2
    assert lines[1].split() == ["✓", "01-distill", "validation", "accuracy", "90.00%", "3.2", "s"]


def test_quiet_shows_warnings_alone():
    assert shown(terminal=False, quiet=True).startswith("note: a long sentence")
    assert "distill" not in shown(terminal=True, quiet=True)


def test_a_bar_says_how_long_it_took_and_never_calls_that_the_time_left():
    said = shown(terminal=True)

    assert "epoch 2/4 0:00" in said
    assert "0:00 left" not in said


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (9.6, "0:10"), (754, "12:34"), (3723, "1:02:03")])
def test_times_are_short(seconds, text):
    assert clock(seconds) == text
