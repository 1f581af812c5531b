"""Compare found files: refuse what cannot be compared, say what was not, and work out the rest."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from compress.compare.conditions import conditions_of
from compress.compare.sides import Found
from compress.comparison import Comparison
from compress.errors import CompressError, DataError, UsageError
from compress.evaluate.contrast import contrast
from compress.recipe.schema import Recipe
from compress.versus import Side, Versus, unlike

PERMUTATIONS = 8  # as a recipe's `attribution` by default


def versus(found: Sequence[Found], explained: int = 0) -> Versus:
    """Every file against the first. explained: so many of the changed answers of each pair get an attribution.

    Raises:
        UsageError: fewer than two, the same one twice, or judged on different test sets or classes.
        DataError: the predictions of one are missing or damaged.
        MissingExtraError: explanations are wanted, and Captum is not installed.
    """
    if len(found) < 2:
        raise UsageError("there is nothing to compare with", "compare", "name two or more files")
    names = _names(found)
    _same_test(found, names)
    first = found[0]
    logits, labels = [f.logits() for f in found], first.labels()
    for name, f, scores in zip(names, found, logits, strict=True):
        if len(scores) != len(labels) or not np.array_equal(f.labels(), labels):
            what = f"{name} was judged by other labels than {names[0]}, though both name the same data"
            raise DataError(what, str(f.folder), "run its recipe again")
    notes: list[str] = []
    examples, columns, recipe = _examples(first, notes)
    if len(examples) != len(labels):
        raise DataError(f"{len(examples)} examples for {len(labels)} labels", str(first.folder), "run it again")
    comparisons = tuple(
        contrast((names[0], name), (logits[0], other), labels, examples, first.result.data.classes,
                 columns=columns, conditions=conditions_of(recipe) if recipe else (),
                 sensitive=recipe.sensitive if recipe else (), seed=first.result.seed,
                 task=recipe.task if recipe else None)
        for name, other in zip(names[1:], logits[1:], strict=True)
    )  # fmt: skip
    if explained and recipe is not None:
        comparisons = tuple(_explained(c, examples, first, f, explained, recipe.task)
                            for c, f in zip(comparisons, found[1:], strict=True))  # fmt: skip
    sides = tuple(_side(n, f) for n, f in zip(names, found, strict=True))
    notes += _latency_notes(sides)
    notes += _version_notes(found, names)
    return Versus(
        data=first.result.data.name,
        fingerprint=first.result.data.fingerprint,
        sides=sides,
        comparisons=comparisons,
        notes=tuple(notes),
    )


def _explained(c: Comparison, examples: Any, first: Found, other: Found, count: int, task: str) -> Comparison:
    from compress.evaluate.attribution import explain

    told = explain(c.flips, examples, c.classes, (first.bundle, other.bundle), count=count,
                   permutations=PERMUTATIONS, seed=first.result.seed, task=task)  # fmt: skip
    return c.model_copy(update={"flips": told})


def _names(found: Sequence[Found]) -> list[str]:
    """The artefact's id where all are of one run, else with the run's folder name."""
    one_run = len({f.folder.resolve() for f in found}) == 1
    names = [f.artefact.id if one_run else f"{f.folder.resolve().name}:{f.artefact.id}" for f in found]
    if len(set(names)) < len(names):
        names = [f"{f.folder}:{f.artefact.id}" for f in found]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{name} is named twice", "compare", "name different files")
    return names


def _same_test(found: Sequence[Found], names: Sequence[str]) -> None:
    """What must be equal for accuracies to be comparable."""
    first = found[0].result.data
    for name, f in zip(names[1:], found[1:], strict=True):
        data = f.result.data
        for what, a, b in (
            ("classes", first.classes, data.classes),
            ("data set", first.name, data.name),
            ("number of test examples", first.counts.get("test"), data.counts.get("test")),
            ("data or split", first.fingerprint[:12], data.fingerprint[:12]),
        ):
            if a != b:
                text = f"{names[0]} and {name} were judged on different tests: {what} {_short(a)} against {_short(b)}"
                fix = "run both recipes with the same data settings and seed"
                raise UsageError(text, "compare", fix)


def _short(value: Any) -> str:
    text = ", ".join(value) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _examples(first: Found, notes: list[str]) -> tuple[Any, Mapping[str, Any], Recipe | None]:
    """The test examples themselves and their columns, for slices and pictures, and the recipe that wants slices; a
    stand-in of equal length where they are not here."""
    from compress.recipe.load import recipe_from_json
    from compress.tokenized import open_for

    try:
        recipe = recipe_from_json(first.result.recipe, str(first.folder / "result.json"))
        data = open_for(recipe).load()
        if data.fingerprint != first.result.data.fingerprint:
            raise DataError("it has changed since the run", first.result.data.name, "")
        return data.test.x, data.test.columns, recipe
    except (CompressError, ModuleNotFoundError) as error:
        why = error.what if isinstance(error, CompressError) else f"this needs {error.name}"
        notes.append(f"Examples are not shown and not sliced by their looks: the data cannot be read here ({why}).")
        return np.zeros((first.result.data.counts["test"], 1), np.uint8), {}, None


def _latency_notes(sides: Sequence[Side]) -> list[str]:
    """Why latencies of different runs do not stand side by side."""
    first, *others = sides
    found = [(side.name, unlike(first, side)) for side in others]
    return [f"Latency of {name} is not compared with that of {first.name}: {why}." for name, why in found if why]


def _version_notes(found: Sequence[Found], names: Sequence[str]) -> list[str]:
    """Versions that differ: no obstacle, but worth knowing."""
    out, mine = [], found[0].result.versions
    for name, f in zip(names[1:], found[1:], strict=True):
        theirs = f.result.versions
        names_of = sorted({*mine, *theirs})
        differ = [f"{k} {mine.get(k, '-')} / {theirs.get(k, '-')}" for k in names_of if mine.get(k) != theirs.get(k)]
        if differ:
            out.append(f"{names[0]} and {name} were made with different versions: {'; '.join(differ[:6])}.")
    return out


def _side(name: str, f: Found) -> Side:
    steps = {s.name: s for s in f.result.steps}
    order = [s.name for s in f.result.steps if s.kind in ("teacher", "train", "distill", "prune", "quantize")]
    until = order[: order.index(f.artefact.step) + 1] if f.artefact.step in order else order
    return Side(
        name=name,
        run=f.result.name,
        seed=f.result.seed,
        versions=f.result.versions,
        host=f.result.host,
        training_seconds=sum(steps[s].seconds for s in until),
        artefact=f.artefact,
    )
