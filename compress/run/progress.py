"""What a running recipe shows: a line a step, a bar with the time left on long ones; plain lines off a terminal."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

_PLAIN_EVERY_S = 15.0


class Display:
    """Shows steps as they run. quiet: nothing but warnings."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console, self._quiet = console, quiet
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._label, self._last_plain = "", 0.0

    def warn(self, sentence: str) -> None:
        """A sentence the user should read."""
        self._print(("note:", "yellow"), f" {sentence}")

    def step(self, label: str) -> "_Step":
        """A context that shows one step while it runs; call it as a stage's Progress."""
        return _Step(self, label)

    def done(self, label: str, outcome: str, seconds: float | None) -> None:
        """One line for a finished step."""
        if not self._quiet:
            took = "cached" if seconds is None else f"{seconds:.1f} s"
            self._print("  ", ("✓", "green"), f" {label:<22} {outcome:<44} ", (took, "dim"))

    def _print(self, *parts: str | tuple[str, str]) -> None:
        """Texts and (text, style); no markup, for labels and sentences hold paths and class names."""
        self._console.print(Text.assemble(*parts), highlight=False, soft_wrap=True)

    def _start(self, label: str) -> None:
        self._label, self._last_plain = label, time.monotonic()
        if self._quiet or not self._console.is_terminal:
            return
        self._bar = Progress(
            TextColumn("  {task.description}", markup=False),
            BarColumn(24),
            TextColumn("{task.fields[note]}", markup=False),
            _Times(),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task(label, total=None, note="")
        self._bar.start()

    def _update(self, done: float, total: float, note: str) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total, note=note)
        elif not self._quiet and time.monotonic() - self._last_plain > _PLAIN_EVERY_S:
            self._last_plain = time.monotonic()
            self._print(f"    {self._label}: {done / max(total, 1e-9):.0%} {note}")

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None


class _Times(ProgressColumn):
    """`0:02, about 0:29 left`; the second half only once it is known."""

    def render(self, task: Task) -> Text:
        left = f", about {clock(task.time_remaining)} left" if task.time_remaining else ""
        return Text(f"{clock(task.elapsed or 0.0)}{left}")


def clock(seconds: float) -> str:
    """0:09, 12:34, 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class _Step:
    def __init__(self, display: Display, label: str) -> None:
        self._display, self._label = display, label

    def __enter__(self) -> "_Step":
        self._display._start(self._label)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._display._stop()

    def __call__(self, done: float, total: float, note: str = "") -> None:
        self._display._update(done, total, note)
