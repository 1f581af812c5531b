"""One pair of exported files in depth: everything that `compress.comparison` holds, worked out from their logits."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.comparison import Comparison, InvarianceRow
from compress.evaluate import invariance
from compress.evaluate.calibration import calibration, softmax
from compress.evaluate.classes import class_pairs, costs
from compress.evaluate.gallery import flips
from compress.evaluate.groups import gaps, group_rows
from compress.evaluate.metrics import Labels, Logits, predictions
from compress.evaluate.paired import compare, examples_needed
from compress.evaluate.slices import (
    FEWEST,
    Column,
    Condition,
    Group,
    by_class,
    by_condition,
    by_metadata,
    by_quarter,
    image_values,
    judge,
    text_values,
    window_values,
)

Measured = Mapping[str, NDArray[np.float64]]  # of each example, by name
Answers = Callable[[Any], tuple[Logits, Logits]]  # raw examples -> logits of (before, after)


def contrast(
    names: tuple[str, str],
    logits: tuple[Logits, Logits],
    y: Labels,
    examples: Any,
    classes: Sequence[str],
    *,
    columns: Mapping[str, Column] | None = None,
    conditions: Sequence[Condition] = (),
    sensitive: Sequence[str] = (),
    cost_matrix: NDArray[np.float64] | None = None,
    rows: Sequence[InvarianceRow] = (),
    seed: int = 0,
    task: str | None = None,
) -> Comparison:
    """Before against after on the same examples.

    logits: each (n, classes). examples: n raw ones (array or texts), for slices and pictures. columns: metadata of each
    example, by name, to slice by. conditions: slices of the user's own. sensitive: columns whose groups are compared.
    cost_matrix: (classes, classes), truth by answer. rows: of `invariances`. task: as of invariance.kind_of.

    Raises:
        ShapeError, DataError: as metrics.predictions.
    """
    before, after = (predictions(v, y, where=n) for v, n in zip(logits, names, strict=True))
    paired = compare(*logits, y, seed, reference=names[0])
    facts = columns or {}
    measured = _values(examples, task)
    chosen = _chosen(conditions, logits[0], y, measured, classes, facts)
    apart = {name: facts[name] for name in sensitive if name in facts}
    return Comparison(
        before=names[0],
        after=names[1],
        count=len(y),
        classes=tuple(classes),
        paired=paired,
        examples_needed=examples_needed(paired.lost, paired.gained, paired.count),
        before_calibration=calibration(logits[0], y),
        after_calibration=calibration(logits[1], y),
        class_pairs=class_pairs(before, after, y, classes),
        slices=judge([*groups(logits[0], y, measured, classes, facts), *chosen], before, after, y, seed),
        flips=flips(*logits, y, examples, classes),
        invariance=tuple(rows),
        costs=None if cost_matrix is None else costs(before, after, y, cost_matrix, seed),
        groups=group_rows(apart, before, after, y, classes),
        gaps=gaps(apart, before, after, y, classes, seed),
        notes=tuple(_left_out(chosen, len(y))),
    )


def _chosen(
    conditions: Sequence[Condition], before: Logits, y: Labels, values: Measured, classes: Sequence[str],
    columns: Mapping[str, Column],
) -> list[Group]:  # fmt: skip
    """The user's own slices, of metadata or of what is measured on the examples."""
    if not conditions:
        return []
    measured = {**values, "confidence": softmax(before).max(axis=1)}
    known = {**measured, "class": [classes[c] for c in y.tolist()], **columns}
    return [by_condition(c, known) for c in conditions if c.column in known]


def _left_out(chosen: Sequence[Group], count: int) -> list[str]:
    """Why a slice that the user asked for is not in the table."""
    out = []
    for group in chosen:
        size = int(group.members.sum())
        if size < FEWEST:
            out.append(f"Slice {group.name!r} holds {size} test examples; fewer than {FEWEST} say nothing.")
        elif size == count:
            out.append(f"Slice {group.name!r} holds all test examples: it is no slice.")
    return out


def _values(examples: Any, task: str | None) -> Measured:
    """What is measured on examples of this kind, by name."""
    kind = invariance.kind_of(examples, task)
    if kind == "vector":  # what its numbers mean is not known
        return {}
    if kind == "text":
        return text_values(examples)
    return window_values(examples) if kind == "window" else image_values(examples)


def groups(
    before: Logits, y: Labels, values: Measured, classes: Sequence[str], columns: Mapping[str, Column]
) -> list[Group]:
    """The automatic slices: by class, by how sure the reference was, by what the examples look like, by column."""
    out = by_class(y, classes)
    out += by_quarter("confidence of the reference", softmax(before).max(axis=1))
    for family, found in values.items():
        out += by_quarter(family, found) if family != "characters" else []  # words say much the same
    for family, labels in columns.items():
        out += by_metadata(family, labels)
    return out


def invariances(
    wanted: Mapping[str, Sequence[float]],
    swaps: Sequence[tuple[str, str]],
    logits: tuple[Logits, Logits],
    y: Labels,
    examples: Any,
    answers: Answers,
    seed: int = 0,
    task: str | None = None,
) -> tuple[InvarianceRow, ...]:
    """Consistency under every transformation and strength that the recipe names.

    wanted: transformation -> strengths. swaps: pairs of words to swap (texts). answers: runs both files.
    """
    out = []
    for name, strengths in wanted.items():
        for strength in strengths:
            changed = answers(invariance.transform(examples, name, strength, seed, task))
            unit = invariance.TRANSFORMATIONS[name].unit
            out.append(invariance.row(name, strength, unit, logits, changed, y, seed))
    if swaps:
        swapped = invariance.swap_words(swaps).apply(list(examples), 1.0, np.random.default_rng(seed))
        touched = np.array([a != b for a, b in zip(examples, swapped, strict=True)])
        if touched.any():  # sentences without such words say nothing about them
            rows = np.flatnonzero(touched)
            plain = (logits[0][rows], logits[1][rows])
            changed = answers([swapped[i] for i in rows.tolist()])
            out.append(invariance.row("swapped words", 1.0, "", plain, changed, y[rows], seed))
    return tuple(out)
