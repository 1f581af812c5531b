"""The terminal report: a table from 76 columns on, sentences below. Survives pipes, NO_COLOR and plain ASCII."""

import shlex
from pathlib import Path

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from compress.report import words
from compress.report.facts.energy import told
from compress.report.facts.rows import Row
from compress.report.facts.run import Facts, facts
from compress.report.facts.verdict import margin
from compress.result import BudgetRow, Result

_STYLE = {"good": "green", "care": "yellow", "bad": "bold red"}
_NARROW = 76  # columns up to which a table would have to cut its numbers; a sentence a file then
_WIDE = 112  # columns from which intervals stand beside their numbers, not below


def render(result: Result, folder: Path = Path()) -> "Report":
    """Something that `rich` can print. folder: of the run, for the commands that it advises.

    Raises:
        UsageError: the result holds no artefact, or names a shipped one that it does not hold.
    """
    return Report(facts(result, folder_text(folder)))


def folder_text(folder: Path) -> str:
    """A folder as it has to be typed."""
    return shlex.quote(str(folder))


def plain(text: str, style: str = "", *, ascii_only: bool = False) -> Text:
    """Never parsed as rich markup: names may contain brackets."""
    line = words.one_line(text) if "\n" not in text else "\n".join(map(words.one_line, text.split("\n")))
    line = line.replace("\u202f", " ")
    return Text(words.ascii_only(line) if ascii_only else line, style=style)


def lines(*said: tuple[str, str, str], ascii_only: bool = False) -> Table:
    """Term, grade (or nothing) and text of each line, the terms in a column of their own."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(overflow="fold")
    grid.add_column(overflow="fold")
    for term, grade, text in said:
        indent = "  " if term.startswith("  ") else ""
        shown = plain(words.prose(text), ascii_only=ascii_only)
        grid.add_row(Text(indent) + plain(term, _STYLE.get(grade, "bold"), ascii_only=ascii_only), shown)
    return grid


class Report:
    """Lays itself out for the console it is printed on."""

    def __init__(self, found: Facts) -> None:
        self._facts = found

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield _Layout(self._facts, options.max_width, options.ascii_only).everything()


class _Layout:
    """One drawing: knows the width and whether only ASCII can be shown."""

    def __init__(self, found: Facts, width: int, ascii_only: bool) -> None:
        self.facts, self.width, self.ascii = found, width, ascii_only

    def text(self, text: str, style: str = "") -> Text:
        return plain(text, style, ascii_only=self.ascii)

    def everything(self) -> Group:
        f, v = self.facts, self.facts.verdict
        parts: list[Text | Table] = [
            self.text(v.headline, "bold"),
            Text(),
            self.files(),
            Text(),
            *self.steps(),
            self._lines(
                ("Budget", v.budget_grade, v.budget if not any(not b.ok for b in f.result.budget) else "Missed."),
                *(self._promise(b) for b in f.result.budget),
                *(("Ledger", "bad", f"{words.hop(h.name, h.source, h.target)}: {h.reason}") for h in f.breaches),
                *(("Flag", "care", flag) for flag in f.result.flags),
                *((("Accuracy", "", v.accuracy),) if v.accuracy else ()),
                ("Trust", v.trust_grade, v.trust),
                *((("Energy", "", energy),) if (energy := self._energy()) else ()),
                ("Ships", "", f"{v.ships}: {f.result.shipped_reason}."),
                ("Next", "", " ".join(f.next)),
            ),
        ]
        return Group(*parts)

    def _energy(self) -> str:
        """Of every file, where a meter was read."""
        if not self.facts.metered:
            return ""
        files = ", ".join(f"{r.role} {told(r.energy)[0]}" for r in self.facts.rows if r.energy)
        return f"{files} an inference on {self.facts.metered}."

    def _promise(self, b: BudgetRow) -> tuple[str, str, str]:
        at_most = words.quantity(b.limit, b.unit)
        text = f"{words.sentence(b.name)} {words.quantity(b.value, b.unit)}, at most {at_most}: {margin(b)}"
        return ("  ✓", "good", text) if b.ok else ("  ✗", "bad", text)

    def _lines(self, *said: tuple[str, str, str]) -> Table:
        return lines(*said, ascii_only=self.ascii)

    def files(self) -> Table:
        """A row a file, or a few lines a file on a narrow terminal."""
        if self.width < _NARROW:
            return self._lines(*((r.id, "", self._sentence(r)) for r in self.facts.rows))
        wide = self.width >= _WIDE
        table = Table(
            box=None, padding=(0, 2 if wide else 1, 0, 0), pad_edge=False, header_style="dim", show_edge=False
        )
        table.add_column(self.text("File"), overflow="fold", min_width=14)
        for head in ("Accuracy", "Points", "Size", "Smaller", "p50 ms", "Faster", "Int/\nfloat"):
            table.add_column(self.text(head), justify="right", no_wrap=True, vertical="top")
        for r in self.facts.rows:
            table.add_row(*self._row(r, wide), style="bold" if r.is_shipped else "")
        return table

    def _sentence(self, r: Row) -> str:
        acc, paired, found = r.accuracy, r.artefact.paired, r.latency
        said = [
            f"{r.role}{' (ships)' if r.is_shipped else ''}: {words.percent(acc.top1) if acc else 'no accuracy'}",
            f"{words.points(paired.difference_points)} points" if paired else "",
            words.size(r.artefact.size_bytes),
            "" if r.is_teacher else f"{words.times(r.size_ratio)} smaller",
            f"{words.significant(found.p50_ms)} ms" if found else "",
            f"{words.times(r.speed)} faster" if r.speed and not r.is_teacher else "",
            f"{r.integer} integer, {r.float} float",
        ]
        return ", ".join(filter(None, said))

    def _row(self, r: Row, wide: bool) -> list[Text]:
        acc, paired, found = r.accuracy, r.artefact.paired, r.latency
        name = self.text(r.role)
        if r.is_shipped:
            name.append(" (ships)")
        name.append("\n").append_text(self.text(r.id, "not bold dim"))
        recall = f"{100 * acc.ci95[0]:.1f}–{100 * acc.ci95[1]:.1f}" if acc else ""
        points = "–".join(words.points(v, 1) for v in paired.ci95_points).replace("–", "…") if paired else ""
        speed = (
            "–".join(map(words.significant, found.ratio_ci95))
            if found and found.ratio_ci95 and not r.is_teacher
            else ""
        )
        worse = "red" if paired and paired.ci95_points[1] < 0 else ""
        return [
            name,
            self._both(words.percent(acc.top1) if acc else "–", recall, wide),
            self._both(words.points(paired.difference_points) if paired else "–", points, wide, worse),
            self.text(words.size(r.artefact.size_bytes)),
            self.text(words.times(r.size_ratio), "" if r.size_ratio >= 1 else "red"),
            self.text(words.significant(found.p50_ms) if found else "–"),
            self._both(words.times(r.speed) if r.speed else "–", speed, wide, "red" if r.speed and r.speed < 1 else ""),
            self.text(f"{r.integer}/{r.float}"),
        ]

    def _both(self, value: str, more: str, wide: bool, style: str = "") -> Text:
        """A number and its interval: beside it where there is room, else below."""
        out = self.text(value, style)
        if more:
            out.append(" " if wide else "\n").append_text(self.text(more, "not bold dim"))
        return out

    def steps(self) -> list[Text | Table]:
        """What each step gained and cost, against the step before."""
        if len(self.facts.steps) < 2:
            return []
        lines = []
        for s in self.facts.steps[1:]:
            lines.append((s.name, "", "; ".join(t for t in (s.row.changed, s.told) if t)))
        return [self._lines(*lines), Text()]
