"""Class by class: recall before and after, confusion matrices, the confusions that grew."""

import math
from collections.abc import Sequence

from compress.report import words
from compress.report.charts.plots import dumbbell
from compress.report.facts.run import Facts
from compress.report.html.markup import Markup, join, tag
from compress.report.html.parts import section, table
from compress.result import Accuracy

CLASSES = 30  # rows of the recall table
MATRIX = 20  # classes up to which a whole confusion matrix is drawn


def classes(facts: Facts) -> Markup | None:
    """Recall of each class and the confusions, teacher against shipped."""
    before, after = facts.teacher.accuracy, facts.shipped.accuracy
    if before is None or after is None or before.split != after.split:
        return None
    names = [words.one_line(c) for c in facts.result.data.classes]
    if not len(names) == len(after.per_class_recall) == len(before.per_class_recall):
        return None
    alone = facts.shipped.is_teacher
    small = len(names) <= MATRIX
    parts: list[object] = [_recall(names, before, after)]
    if small and before.confusion and after.confusion:
        grids = [_matrix(f"Shipped: {facts.shipped.role}", names, after.confusion)]
        if not alone:
            grids.insert(0, _matrix("Teacher", names, before.confusion))
        parts += [tag("h3", "Confusion"), tag("div", grids, class_="pair")]
        parts.append(tag("p", "Rows are the true class, columns the answer; empty cells are zero.", class_="fine"))
    if not alone and before.confusion and after.confusion:
        parts.append(_grown(names, before.confusion, after.confusion))
    lead = f"On {after.count:,} {after.split} examples. Recall: the share of a class that was recognised."
    return section("classes", "Class by class", *parts, lead=lead)


def _recall(names: Sequence[str], before: Accuracy, after: Accuracy) -> Markup:
    known = [
        (n, b, a)
        for n, b, a in zip(names, before.per_class_recall, after.per_class_recall, strict=True)
        if b is not None and a is not None
    ]
    known.sort(key=lambda t: t[2] - t[1])
    shown = known[:CLASSES]
    low = math.floor(10 * min((min(b, a) for _, b, a in shown), default=0.0) - 1e-9) / 10
    low = min(max(low, 0.0), 0.9)
    rows: list[tuple[str | None, list[object]]] = [
        (None, [n, dumbbell(b, a, low), words.percent(b, 1), words.percent(a, 1), f"{words.points(100 * (a - b), 1)}"])
        for n, b, a in shown
    ]
    absent = len(names) - len(known)
    notes = [f"Hollow: teacher, filled: shipped; the line runs from {100 * low:.0f} % to 100 %. Most harmed first."]
    if len(known) > len(shown):
        notes.append(f"The {len(shown)} most harmed of {len(known):,} classes.")
    if absent:
        notes.append(f"{words.plural(absent, 'class', 'classes')} had no example.")
    heads = ("Class", "Recall", "Teacher", "Shipped", "Points")
    return join(
        tag("h3", "Recall"),
        tag("p", " ".join(notes), class_="fine"),
        table("Recall by class, teacher and shipped file", heads, rows, kind="recall", figures=3),
    )


def _matrix(title: str, names: Sequence[str], confusion: Sequence[Sequence[int]]) -> Markup:
    wrong = max((v for i, row in enumerate(confusion) for j, v in enumerate(row) if i != j), default=0) or 1
    short = [words.shorten(n, 12 if len(names) <= 4 else 6) for n in names]

    def cell(i: int, j: int, v: int) -> Markup:
        if i == j:
            return tag("td", f"{v:,}", class_="right")
        share = math.sqrt(v / wrong)
        return tag("td", f"{v:,}" if v else "", style=f"--v:{share:.2f}" if v else None)

    head = tag(
        "tr",
        tag("th", tag("span", "true \\ answer"), scope="col"),
        [tag("th", s, scope="col", title=n) for s, n in zip(short, names, strict=True)],
    )
    body = [
        tag("tr", tag("th", short[i], scope="row", title=names[i]), [cell(i, j, v) for j, v in enumerate(row)])
        for i, row in enumerate(confusion)
    ]
    grid = tag("table", tag("caption", title), tag("thead", head), tag("tbody", body), class_="confusion")
    return tag("div", grid, class_="scroll", tabindex="0", role="region", aria_label=f"Confusion matrix, {title}")


def _grown(names: Sequence[str], before: Sequence[Sequence[int]], after: Sequence[Sequence[int]]) -> Markup | None:
    pairs = [
        (after[i][j] - before[i][j], i, j)
        for i in range(len(names))
        for j in range(len(names))
        if i != j and after[i][j] > before[i][j] + 1
    ]
    pairs.sort(key=lambda t: (-t[0], t[1], t[2]))
    if not pairs:
        return tag("p", "No confusion grew by more than one example.")
    rows: list[tuple[str | None, list[object]]] = [
        (None, [names[i], names[j], f"{before[i][j]:,}", f"{after[i][j]:,}", f"+{d:,}"]) for d, i, j in pairs[:8]
    ]
    heads = ("True class", "Taken for", "Teacher", "Shipped", "More")
    return join(
        tag("h3", "Confusions that grew most"),
        table("Confusions that grew most, in examples", heads, rows, kind="grown", figures=3),
    )
