"""YAML -> Recipe. Reports every problem of a file in one go, each with its line; nothing else ever escapes."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from compress.errors import RecipeError
from compress.recipe.check import Parts, check
from compress.recipe.document import MAX_BYTES, Document, KeyPath, Problem, read_yaml, spell
from compress.recipe.override import apply_overrides
from compress.recipe.problems import explain, show
from compress.recipe.schema import Recipe, Stage

_FIX = "correct the lines above; nothing has run"
_LAST = 1_000_000  # overrides are listed after all lines


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe file. Paths inside it are relative to the current directory.

    overrides: `--set` texts such as "stages.0.distill.epochs=2", applied before anything is checked.

    Raises:
        RecipeError: with every problem found, one per line.
    """
    try:
        with path.open("rb") as f:
            data = f.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise RecipeError("there is no such file", str(path), "give the path of a recipe (.yaml)") from error
    except IsADirectoryError as error:
        raise RecipeError("it is a folder", str(path), "give the path of a recipe (.yaml)") from error
    except (OSError, ValueError) as error:
        raise RecipeError(f"it cannot be read: {error}", str(path), "check the path and its permissions") from error
    return parse_recipe(data, str(path), overrides)


def parse_recipe(text: str | bytes, where: str, overrides: Sequence[str] = ()) -> Recipe:
    """The same from text; `where` names it in messages."""
    document = read_yaml(text)
    problems = list(document.problems)
    if not isinstance(document.value, dict):
        if not problems:
            value = document.value
            what = "it is empty" if value is None else f"want a mapping of keys, got {show(value)}"
            problems.append(Problem(None, what, 1))
        raise _failure(problems, document, where)
    document, more = apply_overrides(document, overrides)
    problems += more
    recipe, more = _validate(document.value)
    problems += more
    parts = _parts(document.value) if recipe is None else Parts.of(recipe)
    problems += check(parts)
    if problems or recipe is None:
        raise _failure(problems, document, where, overrides)
    return recipe


def recipe_from_json(doc: Mapping[str, Any], where: str) -> Recipe:
    """A recipe that compress itself wrote, from model_dump(mode="json"). Files it names are not looked for.

    Raises:
        RecipeError: it is no recipe of this version.
    """
    value = _as_tuples(doc)
    recipe, problems = _validate(value)
    if recipe is None:
        raise _failure(problems, Document(value), where)
    return recipe


def _validate(value: Any) -> tuple[Recipe | None, list[Problem]]:
    try:
        return Recipe.model_validate(value), []
    except ValidationError as error:
        return None, explain(error, value)


def _parts(value: Mapping[str, Any]) -> Parts:
    """What of a faulty recipe is sound by itself, so that the rest can still be checked."""
    parts: dict[str, Any] = {}
    for name, field in Recipe.model_fields.items():
        if name == "stages" or name not in value:
            continue
        parts[name] = _one(field.annotation, value[name])
    entries = value.get("stages")
    stages = [_one(Stage, entry) for entry in entries] if isinstance(entries, (tuple, list)) else []
    return Parts(stages=stages, has_student=value.get("student") is not None, **_known(parts))


def _known(parts: dict[str, Any]) -> dict[str, Any]:
    names = {f.name for f in fields(Parts)} - {"stages", "has_student"}
    return {k: parts.get(k) for k in names}


def _one(hint: Any, value: Any) -> Any:
    try:
        return _adapter(hint).validate_python(value)
    except ValidationError:
        return None


@cache
def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint)


def _as_tuples(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _as_tuples(v) for k, v in value.items()}
    return tuple(_as_tuples(v) for v in value) if isinstance(value, (list, tuple)) else value


def _failure(problems: Sequence[Problem], document: Document, where: str, overrides: Sequence[str] = ()) -> RecipeError:
    placed: dict[str, int] = {}
    for problem in problems:
        line, prefix = _place(problem, document, overrides)
        text = (
            f"{prefix}: {problem.text}" if problem.path is None else f"{prefix}: {spell(problem.path)}: {problem.text}"
        )
        placed.setdefault(_one_line(text), line)
    texts = sorted(placed, key=lambda t: placed[t])
    count = "1 problem" if len(texts) == 1 else f"{len(texts)} problems"
    return RecipeError(f"{count}\n    " + "\n    ".join(texts), where, _FIX)


def _one_line(text: str) -> str:
    """With line breaks and other control characters of --set texts escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _place(problem: Problem, document: Document, overrides: Sequence[str]) -> tuple[int, str]:
    """Where a problem stands: a number to sort by, and `line N` or the --set that brought it."""
    if problem.override is not None:
        return _LAST + overrides.index(problem.override), f"--set {problem.override}"
    if problem.line is not None:
        return problem.line, f"line {problem.line}"
    path: KeyPath = problem.path or ()
    while True:
        if path in document.sets:
            return _LAST + overrides.index(document.sets[path]), f"--set {document.sets[path]}"
        if path in document.lines or not path:
            line = document.lines.get(path, 1)
            return line, f"line {line}"
        path = path[:-1]
