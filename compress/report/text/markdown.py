"""The Markdown report, for a pull request or a README: what the first screens of the page say."""

from collections.abc import Iterable

from compress.report import words
from compress.report.facts.energy import not_measured, told
from compress.report.facts.rows import Row
from compress.report.facts.run import Facts, facts
from compress.report.facts.verdict import margin
from compress.result import DeviceRow, Hop, Result

_SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\`*_[]|~#!"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"})


def escape(text: str) -> str:
    """Text as Markdown that shows exactly it, on one line, also inside a table."""
    return words.one_line(text).translate(_SPECIAL)


def with_code(text: str) -> str:
    """A sentence of ours, escaped, but for what stands between backticks in it."""
    parts = words.one_line(text).split("`")
    return "".join(f"`{part}`" if i % 2 else part.translate(_SPECIAL) for i, part in enumerate(parts))


def render(result: Result) -> str:
    """The report as GitHub-flavoured Markdown, ending in one newline.

    Raises:
        UsageError: the result holds no artefact, or names a shipped one that it does not hold.
    """
    found = facts(result)
    parts = [f"## {escape(result.name)}", f"**{escape(found.verdict.headline)}**", _verdict(found)]
    if result.flags:
        parts.append("\n".join(["### Flags", "", *(f"- {escape(words.prose(f))}" for f in result.flags)]))
    parts += [
        f"### Files\n\n{_files(found)}",
        _steps(found),
        _devices(found),
        _budget(found),
        _ledger(found),
        _circumstances(found),
    ]
    return "\n\n".join(p for p in parts if p) + "\n"


def table(heads: Iterable[str], rows: Iterable[Iterable[str]], left: int) -> str:
    """A table of escaped cells. The first `left` columns hold words, the others numbers."""
    names = list(heads)
    rule = ["---" if i < left else "---:" for i in range(len(names))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (names, rule, *rows))


def _verdict(found: Facts) -> str:
    v, reason = found.verdict, words.prose(found.result.shipped_reason)
    said = "\n".join(
        f"- **{term}**: {escape(text)}"
        for term, text in (
            ("Budget", v.budget),
            ("Accuracy", v.accuracy),
            ("Trust", v.trust),
            ("Ships", f"{v.ships}: {reason}."),
        )
    )
    return f"{said}\n- **Next**: {with_code(' '.join(found.next))}"


def _files(found: Facts) -> str:
    heads = ["File", "Accuracy", "Points against teacher", "Size", "Smaller", "Median latency", "Faster"]
    heads += [f"Energy, {escape(found.metered)}"] if found.metered else []
    rows = [_file(r, metered=bool(found.metered)) for r in found.rows]
    absent = not_measured(t for r in found.rows for t in r.artefact.latency)
    notes = f"In brackets: 95 % intervals. Factors are against the teacher. {escape(absent)}".rstrip()
    return f"{table([*heads, 'Integer / float'], rows, 1)}\n\n{notes}"


def _file(r: Row, *, metered: bool) -> list[str]:
    acc, paired, found = r.accuracy, r.artefact.paired, r.latency
    name = f"{escape(r.role)} ({escape(r.id)})"
    speed = words.times(r.speed) if r.speed else "–"
    if found and found.ratio_ci95 and not r.is_teacher:
        speed += f" ({words.significant(found.ratio_ci95[0])} to {words.significant(found.ratio_ci95[1])})"
    split = f", {acc.split}" if acc and acc.split != "test" else ""
    return [
        f"**{name}**" if r.is_shipped else name,
        f"{words.percent(acc.top1)} ({100 * acc.ci95[0]:.2f} to {100 * acc.ci95[1]:.2f}{split})" if acc else "–",
        f"{words.points(paired.difference_points)} ({words.interval(*paired.ci95_points)})" if paired else "–",
        words.size(r.artefact.size_bytes),
        words.times(r.size_ratio),
        words.milliseconds(found.p50_ms) if found else "–",
        speed,
        *([escape(told(r.energy)[0]) if r.energy else "–"] if metered else []),
        f"{r.integer} / {r.float}",
    ]


def _steps(found: Facts) -> str:
    if len(found.steps) < 2:
        return ""
    rows = [
        [
            escape(s.name),
            escape(s.row.changed),
            "–" if s.accuracy_points is None else f"{words.points(s.accuracy_points)} points",
            words.factor(s.size_factor, "smaller", "larger"),
            words.factor(s.speed_factor, "faster", "slower"),
        ]
        for s in found.steps
    ]
    return "### What each step gained and cost\n\n" + table(
        ("Step", "What changed", "Accuracy", "Size", "Latency"), rows, 2
    )


def _devices(found: Facts) -> str:
    """A column a device; only measured figures are figures."""
    devices = found.result.devices
    if len(devices) < 2 and all(d.label == "measured" for d in devices):
        return ""

    def cell(r: Row, d: DeviceRow) -> str:
        timed = next((x for x in r.artefact.latency if x.device == d.name), None)
        if d.label != "measured" or timed is None:
            return d.label if d.label != "measured" else "none"
        ratio = f" ({words.times(timed.ratio)})" if timed.ratio and not r.is_teacher else ""
        return f"{words.milliseconds(timed.p50_ms)}{ratio}"

    rows = [[f"{escape(r.role)} ({escape(r.id)})", *(cell(r, d) for d in devices)] for r in found.rows]
    notes = [f"\n- **{escape(d.name)}**, {d.label}: {escape(words.prose(d.reason))}" for d in devices if d.reason]
    heads = ("File", *(escape(d.name) for d in devices))
    return "### Devices\n\n" + table(heads, rows, 1) + "\n" + "".join(notes)


def _budget(found: Facts) -> str:
    if not found.result.budget:
        return ""
    rows = [
        [
            escape(words.sentence(b.name)),
            words_of(b.limit, b.unit),
            words_of(b.value, b.unit),
            escape(margin(b)),
        ]
        for b in found.result.budget
    ]
    return "### Budget\n\n" + table(("Promise", "At most", "Measured", "Outcome"), rows, 1)


def words_of(value: float, unit: str) -> str:
    """A budget's value, safe for a table."""
    return escape(words.quantity(value, unit))


def _ledger(found: Facts) -> str:
    hops = found.result.ledger
    if not hops:
        return ""
    rows = [
        [
            escape(words.hop(h.name, h.source, h.target)),
            _outcome(h),
            words.percent(h.agreement),
            words.significant(h.largest_difference, 2),
        ]
        for h in hops
    ]
    return "### Parity ledger\n\n" + table(("Hop", "Outcome", "Same answer", "Largest difference"), rows, 2)


def _outcome(h: Hop) -> str:
    if h.kind == "training":
        return "changed on purpose"
    return "held" if h.ok else f"**broken**: {escape(words.prose(h.reason))}"


def _circumstances(found: Facts) -> str:
    r, lines = found.result, []
    timed = found.shipped.latency or found.teacher.latency
    if timed:
        threads = words.plural(timed.threads, "thread")
        lines.append(f"Latency: {timed.label} on {timed.device}, {timed.engine}, {threads}, batch {timed.batch}.")
    if isinstance(r.host.get("cpu"), str):
        lines.append(f"Machine: {r.host['cpu']}.")
    lines.append(f"Data: {r.data.name}. Seed {r.seed}. Recipe digest {r.recipe_digest}.")
    return "<sub>" + " ".join(escape(line) for line in lines) + "</sub>"
