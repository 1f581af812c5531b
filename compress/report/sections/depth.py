"""One pair of files in depth: calibration, precision, slices and invariance.

prefix: before the ids of the sections, where a page holds several comparisons.
"""

from collections.abc import Sequence
from itertools import groupby

from compress.comparison import Calibration, ClassScores, Comparison, InvarianceRow, Slice
from compress.report import words
from compress.report.charts.axes import Axis
from compress.report.html.markup import Markup, chart, join, number, tag
from compress.report.html.parts import icon, minor, section, table

SLICES = 20  # rows of the slices' table
CLASSES = 30


def calibration(c: Comparison, prefix: str = "") -> Markup:
    """Reliability diagrams and the figures they come to."""
    rows: list[tuple[str | None, list[object]]] = [
        (None, [words.one_line(name), words.percent(k.ece), words.significant(k.brier), words.significant(k.nll)])
        for name, k in ((c.before, c.before_calibration), (c.after, c.after_calibration))
    ]
    heads = ("File", "Expected calibration error", "Brier score", "Negative log-likelihood")
    drawn = [
        tag("figure", tag("h3", words.one_line(name)), _reliability(k, name))
        for name, k in ((c.before, c.before_calibration), (c.after, c.after_calibration))
    ]
    return section(
        prefix + "calibration",
        "Can its confidence be believed?",
        table("Calibration of both files", heads, rows, kind="calibration", figures=3),
        tag("div", drawn, class_="pair"),
        lead="How often a file was right when it was so sure. On the line, confidence is what it says; below it, the "
        "file is too sure of itself. The area of a dot is the number of examples.",
    )


def _reliability(k: Calibration, name: str) -> Markup:
    width, height = 480, 320
    x, y = Axis(0, 1, 50, 460), Axis(0, 1, 272, 34)
    grid = [
        (
            tag("line", x1=x(t), x2=x(t), y1=y(0), y2=y(1), class_="grid"),
            tag("line", x1=x(0), x2=x(1), y1=y(t), y2=y(t), class_="grid"),
            tag("text", f"{100 * t:.0f} %", x=x(t), y=y(0) + 16, class_="tick mid"),
            tag("text", f"{100 * t:.0f} %", x=x(0) - 6, y=y(t) + 4, class_="tick end"),
        )
        for t in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    total = sum(b.count for b in k.bins) or 1
    dots = [
        tag(
            "g",
            tag("title", f"{b.count:,}: {words.percent(b.confidence)} sure, {words.percent(b.accuracy)} right"),
            tag("circle", cx=x(b.confidence), cy=y(b.accuracy), r=_radius(b.count / total), class_="reliability"),
        )
        for b in k.bins
    ]
    about = f"Reliability diagram of {words.one_line(name)}: expected calibration error {words.percent(k.ece)}."
    return chart(
        grid,
        tag("line", x1=x(0), x2=x(1), y1=y(0), y2=y(1), class_="frontier"),
        dots,
        tag("text", "confidence", x=x(0.5), y=float(height - 8), class_="title mid"),
        tag("text", "share of right answers", x=x(0), y=14.0, class_="title"),
        width=width,
        height=height,
        about=about,
    )


def _radius(share: float) -> float:
    """Area by share."""
    return 3 + 14 * float(share) ** 0.5


def scores(c: Comparison, prefix: str = "") -> Markup:
    """Precision, recall and F1 by class, most harmed first."""
    pairs = sorted(c.class_pairs, key=lambda p: (p.after.f1 or 0.0) - (p.before.f1 or 0.0))
    rows: list[tuple[str | None, list[object]]] = [
        (None, [words.one_line(p.name), f"{p.support:,}", *_three(p.before, p.after)]) for p in pairs[:CLASSES]
    ]
    heads = ("Class", "Examples", "Precision", "Recall", "F1")
    more = f" The {CLASSES} most harmed of {len(pairs):,} classes." if len(pairs) > CLASSES else ""
    return section(
        prefix + "scores",
        "Precision, recall and F1",
        _costs(c),
        table("Precision, recall and F1 by class", heads, rows, kind="scores", figures=4),
        lead=f"Before → after, on {c.count:,} test examples; most harmed by F1 first.{more}",
    )


def _three(before: ClassScores, after: ClassScores) -> list[object]:
    out: list[object] = []
    for name in ("precision", "recall", "f1"):
        b, a = getattr(before, name), getattr(after, name)
        text = " → ".join("–" if v is None else words.percent(v, 1) for v in (b, a))
        out.append(join(text, minor(words.points(100 * (a - b), 1)) if a is not None and b is not None else None))
    return out


def _costs(c: Comparison) -> Markup | None:
    if c.costs is None:
        return None
    k = c.costs
    text = (
        f"By the recipe's costs an answer costs {words.significant(k.after)} after and {words.significant(k.before)} "
        f"before: {words.significant(abs(k.difference))} {'more' if k.difference > 0 else 'less'} "
        f"(95 % interval of the difference {' to '.join(words.signed(v, '.3g') for v in k.ci95)})."
    )
    return tag("p", text, class_="lead")


def slices(c: Comparison, prefix: str = "") -> Markup:
    """Where compression hurt beyond chance."""
    hurt = [s for s in c.slices if s.hurt]
    if not c.slices:
        say = "No slice holds enough examples."
    elif hurt:
        say = f"{len(hurt)} of {len(c.slices)} slices were hurt beyond chance."
    else:
        say = f"None of {words.plural(len(c.slices), 'slice')} was hurt beyond chance."
    rows: list[tuple[str | None, list[object]]] = [("hurt" if s.hurt else None, _slice(s)) for s in c.slices[:SLICES]]
    heads = ("Slice", "Examples", "Before", "After", "Points", "Lost / gained", "q")
    shown = f" The first {SLICES} are shown." if len(c.slices) > SLICES else ""
    notes = tag("ul", [tag("li", words.prose(n)) for n in c.notes], class_="fine") if c.notes else None
    return section(
        prefix + "slices",
        "Where it hurts",
        table("Slices of the test set before and after", heads, rows, kind="slices", figures=6) if rows else None,
        notes,
        lead=f"{say} Test examples that have something in common, compared before and after; q is McNemar's exact "
        f"p-value corrected for the number of slices (Benjamini-Hochberg), hurt is q < 0.05.{shown}",
    )


def _slice(s: Slice) -> list[object]:
    name = join(icon("bad") if s.hurt else None, tag("b", words.one_line(s.name)), minor(words.one_line(s.family)))
    return [
        name,
        f"{s.count:,}",
        words.percent(s.before_top1, 1),
        words.percent(s.after_top1, 1),
        join(words.points(100 * (s.after_top1 - s.before_top1), 1), minor(words.interval(*s.ci95_points))),
        f"{s.lost} / {s.gained}",
        words.significant(s.q_value, 2),
    ]


def invariance(c: Comparison, prefix: str = "") -> Markup | None:
    """Answers under transformations that should not matter."""
    if not c.invariance:
        return None
    rows: list[tuple[str | None, list[object]]] = [(None, _consistency(r)) for r in c.invariance]
    heads = ("Transformation", "Same answer before", "Same answer after", "Points", "Right before → after")
    curves = []
    for name, found in groupby(c.invariance, key=lambda r: r.transformation):
        group = sorted(found, key=lambda r: r.strength)
        if len(group) > 1:
            curves.append(tag("figure", _curve(name, group)))
    worst = min(c.invariance, key=lambda r: r.difference_points)
    proven = worst.ci95_points[1] < 0
    say = (
        f"After compression {_named(worst)} changes answers {words.significant(-worst.difference_points, 2)} points "
        f"more often than before."
        if proven
        else "No transformation changes answers more often after compression than before, beyond chance."
    )
    return section(
        prefix + "invariance",
        "What should not matter",
        table("Consistency under transformations", heads, rows, kind="invariance", figures=4),
        tag("div", curves, class_="curves") if curves else None,
        lead=f"{say} Each file's answers on transformed test examples against its own answers on the originals.",
    )


def _named(r: InvarianceRow) -> str:
    unit = r.unit.removesuffix("s") if r.strength == 1 else r.unit
    strength = f"{r.strength:g} {unit}".strip()
    return f"{words.one_line(r.transformation).replace('_', ' ')} {strength if r.unit else ''}".strip()


def _consistency(r: InvarianceRow) -> list[object]:
    return [
        join(tag("b", _named(r)), minor(f"{r.count:,} examples")),
        words.percent(r.before_consistency, 1),
        words.percent(r.after_consistency, 1),
        join(words.points(r.difference_points, 1), minor(words.interval(*r.ci95_points))),
        f"{words.percent(r.before_top1, 1)} → {words.percent(r.after_top1, 1)}",
    ]


def _curve(name: str, rows: Sequence[InvarianceRow]) -> Markup:
    width, height = 300, 170
    x = Axis(0.0, max(r.strength for r in rows) or 1.0, 46, 236)
    low = min(min(r.before_consistency, r.after_consistency) for r in rows)
    y = Axis(min(low, 0.9), 1.0, 128, 28)
    lines = []
    for kind in ("before", "after"):
        shares = [r.before_consistency if kind == "before" else r.after_consistency for r in rows]
        points = [(x(0.0), y(1.0)), *((x(r.strength), y(share)) for r, share in zip(rows, shares, strict=True))]
        path = " ".join(f"{number(a)},{number(b)}" for a, b in points)
        lines.append(tag("polyline", points=path, class_=f"curve {kind}"))
        end_x, end_y = points[-1]
        lines.append(tag("text", kind, x=end_x + 6, y=end_y + (4 if kind == "after" else -2), class_="name"))
    unit = rows[0].unit
    title = words.one_line(name).replace("_", " ")
    return chart(
        tag("text", f"{title}, same answer", x=2.0, y=14.0, class_="name strong"),
        [
            (
                tag("line", x1=x.start, x2=x.end, y1=y(t), y2=y(t), class_="grid"),
                tag("text", words.percent(t, 0), x=x.start - 6, y=y(t) + 4, class_="tick end"),
            )
            for t in y.ticks(3)
        ],
        lines,
        [tag("text", f"{r.strength:g}", x=x(r.strength), y=146.0, class_="tick mid") for r in rows],
        tag("text", unit, x=(x.start + x.end) / 2, y=float(height - 6), class_="title mid"),
        width=width,
        height=height,
        about=f"Share of unchanged answers under {title}, before and after. The numbers are in the table above.",
        small=True,
    )
