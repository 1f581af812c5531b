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


@pytest.mark.parametrize("terminal", [True, False])
def test_brackets_in_names_and_sentences_are_shown_as_they_are(terminal):
    """A folder called [/x] must not end a run of hours, and `edge-runtime[onnx]` is not `edge-runtime`."""
    text = "pip install edge-runtime[onnx] into /data/[/x]"
    out = io.StringIO()
    display = Display(Console(file=out, force_terminal=terminal, width=200, no_color=True))
    display.warn(text)
    with display.step(text) as progress:
        progress(1, 2, text)
    display.done(text, text, None)

    assert out.getvalue().count(text) >= 3


def test_every_command_prints_to_a_console_without_markup(capsys):
    import ast
    from pathlib import Path

    import compress.commands
    from compress.commands._console import plain_console

    plain_console().print("edge-runtime[onnx] [/x] :smile:")
    assert capsys.readouterr().out == "edge-runtime[onnx] [/x] :smile:\n"
    for path in Path(compress.commands.__file__).parent.glob("*.py"):
        names = {n.id for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Name)}
        assert "Console" not in names or path.name == "_console.py", path
