"""What pydantic finds wrong, in a reader's words: what is there, what is wanted, and the nearest right spelling."""

import difflib
import types
import typing
from collections.abc import Collection, Iterable
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from compress.recipe.document import KeyPath, Problem
from compress.recipe.schema import KINDS, Recipe

_RANGE = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
_WANTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "dict_type": "a mapping of keys",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
    "finite_number": "a finite number",
}
_UNION_TAGS = ("literal['all']", "tuple[str, ...]")  # pydantic's names for the two spellings of layer patterns


def nearest(word: Any, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing if no known word is near."""
    near = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def listed(words: Collection[str], most: int = 40) -> str:
    """Words in a row, a long row cut."""
    return ", ".join(list(words)[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")


def show(value: Any) -> str:
    """A value as the recipe's author sees it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        return f"the text {_cut(value)!r}"
    return "a mapping of keys" if isinstance(value, dict) else "a list"


def _cut(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def known_keys(path: KeyPath) -> tuple[str, ...] | None:
    """The keys the recipe may have at a path; None where keys are free or there are none."""
    if len(path) == 2 and path[0] == "stages":
        return tuple(KINDS)
    hint = _hint(path)
    return tuple(hint.model_fields) if isinstance(hint, type) and issubclass(hint, BaseModel) else None


def is_free(path: KeyPath) -> bool:
    """True where the recipe has a mapping with keys of the author's choice."""
    return typing.get_origin(_hint(path)) is dict


def _hint(path: KeyPath) -> Any:
    """The schema's type at a path, None if it has none."""
    hint: Any = Recipe
    for i, part in enumerate(path):
        if i == 2 and path[0] == "stages":
            hint = KINDS.get(str(part))
        elif isinstance(hint, type) and issubclass(hint, BaseModel):
            hint = _inner(hint.model_fields[part].annotation) if part in hint.model_fields else None
        elif typing.get_origin(hint) is tuple and isinstance(part, int):
            hint = _inner(typing.get_args(hint)[0])
        else:
            return None
    return hint


def _inner(hint: Any) -> Any:
    """The part of an optional or annotated type that has structure."""
    if typing.get_origin(hint) is typing.Annotated:
        return _inner(typing.get_args(hint)[0])
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        some = [h for h in typing.get_args(hint) if h is not type(None)]
        return _inner(some[0]) if len(some) == 1 else some
    return hint


def explain(error: ValidationError, value: Any) -> list[Problem]:
    """One problem per place, in pydantic's order; `value` is what was validated."""
    out: dict[tuple[KeyPath, str], Problem] = {}
    unions: dict[KeyPath, None] = {}
    for detail in error.errors(include_url=False):
        path, union = _path(detail)
        if union:
            unions[path] = None
            continue
        text = _text(detail, path)
        out.setdefault((path, text), Problem(path, text))
    for path in unions:
        text = _patterns_text(_at(value, path))
        out.setdefault((path, text), Problem(path, text))
    return _without_echoes(list(out.values()))


def _path(detail: ErrorDetails) -> tuple[KeyPath, bool]:
    """The place in the recipe, without what pydantic adds for its own types; and whether it is a pattern's union."""
    loc: list[str | int] = list(detail["loc"])
    if loc[:1] == ["stages"] and len(loc) > 2:
        del loc[2]  # the tag, the same word as the key that follows
    for i, part in enumerate(loc):
        if part in _UNION_TAGS:
            return tuple(loc[:i]), True
    return tuple(loc), False


def _at(value: Any, path: KeyPath) -> Any:
    for part in path:
        value = value[part]
    return value


def _patterns_text(value: Any) -> str:
    if isinstance(value, str):
        return f"want `all` or a list of layer names and `re:` patterns; write [{_cut(value)}]"
    if isinstance(value, (tuple, list)):
        wrong = [show(v) for v in value if not isinstance(v, str)]
        return f"want texts in this list, got {wrong[0]}; put it in quotes if it is meant"
    return f"want `all` or a list of layer names and `re:` patterns, got {show(value)}"


def _text(detail: ErrorDetails, path: KeyPath) -> str:
    kind, value, ctx = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "missing":
        return "missing; add it"
    if kind == "extra_forbidden":
        known = known_keys(path[:-1]) or ()
        return f"unknown key{nearest(path[-1], known) or f'; known here: {listed(known)}'}"
    if kind == "stage":
        return _stage_text(value)
    if kind == "literal_error":
        if path == ("version",):
            return f"recipe version {show(value)}; this compress reads version 1"
        choices = ctx["expected"].replace(" or ", ", ").replace("'", "")
        return f"{show(value)} is none of {choices}{nearest(value, choices.split(', '))}"
    if kind in _RANGE:
        key, words = _RANGE[kind]
        limit = ctx[key]
        return f"{value} is out of range; want {words} {int(limit) if limit == int(limit) else limit}"
    if kind == "string_pattern_mismatch" and path[-1:] == ("python",):
        return f"{show(value)}; want pkg.module:function"
    if kind == "string_pattern_mismatch":
        return f"{show(value)}; want lower-case letters, digits, - and _, 64 at most, beginning with a letter or digit"
    if kind == "too_short":
        return "want at least one entry"
    if kind == "value_error":
        return str(ctx["error"])
    if kind in _WANTED:
        hint = ""
        if kind == "string_type" and isinstance(value, (int, float)):
            hint = "; put it in quotes"
        if kind == "tuple_type" and isinstance(value, (str, int, float)):
            hint = f"; write [{value}]"
        return f"want {_WANTED[kind]}, got {show(value)}{hint}"
    return detail["msg"]


def _stage_text(value: Any) -> str:
    kinds = ", ".join(KINDS)
    if isinstance(value, str):
        if value in KINDS:
            return f"write `{value}: {{}}`, a stage with its options"
        return f"{show(value)} is no stage; want one of {kinds}{nearest(value, KINDS)}"
    if not isinstance(value, dict) or not value:
        return f"want a stage such as `distill: {{epochs: 10}}`, got {show(value)}; the kinds are {kinds}"
    if len(value) == 1:
        (key,) = value
        return f"{key!r} is no kind of stage{nearest(key, KINDS) or f'; want one of {kinds}'}"
    named = [k for k in value if k in KINDS]
    if len(named) > 1:
        return f"one stage an entry, got {' and '.join(named)}; begin each with its own `-`"
    if named:
        strays = [repr(k) for k in value if k not in KINDS]
        return f"{listed(strays, 5)} beside {named[0]!r}; indent a stage's options below it"
    return f"want one of {kinds} with its options, got the keys {listed(list(value), 5)}"


def _without_echoes(problems: list[Problem]) -> list[Problem]:
    """Leave out "missing" where a misspelt key beside it already says so."""
    meant = {
        (*p.path[:-1], p.text.split("'")[1]) for p in problems if p.path and p.text.startswith("unknown key; did you")
    }
    return [p for p in problems if not (p.text == "missing; add it" and p.path in meant)]
