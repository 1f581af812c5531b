"""`--set a.b=c`: change a recipe from the command line, before it is checked."""

import re
from collections.abc import Sequence
from typing import Any

from compress.recipe.document import Document, KeyPath, Problem, read_yaml, spell
from compress.recipe.problems import is_free, known_keys, listed, nearest, show
from compress.recipe.schema import KINDS

_INDEX = re.compile(r"\[(\d+)\]")


def apply_overrides(document: Document, overrides: Sequence[str]) -> tuple[Document, list[Problem]]:
    """The document with every `path=value` applied in order, and what was wrong with some of them.

    A path is keys and list indices joined by dots, e.g. stages.0.distill.epochs; stages[0].distill.epochs works too.
    A value is YAML: 2, true, null, [a, b], {epochs: 3}. An index one past the end of a list appends.
    """
    problems: list[Problem] = []
    for text in overrides:
        left, equals, right = text.partition("=")
        keys = _INDEX.sub(r".\1", left.strip()).strip(".").split(".")
        if not equals or not all(keys):
            problems.append(_problem(text, "want PATH=VALUE, such as stages.0.distill.epochs=2"))
            continue
        parsed = read_yaml(right)
        if parsed.problems:
            problems += [_problem(text, f"its value: {p.text}") for p in parsed.problems]
            continue
        try:
            value, path = _replaced(document.value, tuple(keys), parsed.value, ())
        except _NoPlaceError as error:
            problems.append(_problem(text, str(error)))
            continue
        sets = {p: s for p, s in document.sets.items() if p[: len(path)] != path}
        lines = {p: n for p, n in document.lines.items() if p[: len(path)] != path}
        document = Document(value, lines, {**sets, path: text}, document.problems)
    return document, problems


def _problem(text: str, what: str) -> Problem:
    return Problem(None, what, override=text)


class _NoPlaceError(Exception):
    """The path leads nowhere; says what there is instead."""


def _replaced(node: Any, keys: tuple[str, ...], new: Any, at: KeyPath) -> tuple[Any, KeyPath]:
    """A copy of node with the value at keys replaced, and the full path of that value."""
    if not keys:
        return new, at
    key, rest = keys[0], keys[1:]
    if isinstance(node, tuple):
        if not key.isdecimal() or int(key) > len(node) or (int(key) == len(node) and rest):
            entries = ", ".join(f"{i} ({_name(v)})" for i, v in enumerate(node)) or "none"
            raise _NoPlaceError(f"{spell(at)} is a list, {key!r} is no index of it; its entries are {entries}")
        i = int(key)
        old = node[i] if i < len(node) else None
        value, path = _replaced(old, rest, new, (*at, i))
        return (*node[:i], value, *node[i + 1 :]), path
    known = known_keys(at)
    if node is None and known is None and not is_free(at):
        raise _NoPlaceError(f"there is nothing at {spell(at)} to look into")
    if node is not None and not isinstance(node, dict):
        raise _NoPlaceError(f"{spell(at)} is {show(node)}; there is nothing inside it")
    inside = node or {}
    if key not in inside and (rest or _is_stage(at)) and key not in (known or ()) and not is_free(at):
        have = sorted({*inside, *(known or ())}) if not _is_stage(at) else list(inside)
        raise _NoPlaceError(f"{spell(at)} has no {key!r}{nearest(key, have) or f'; it has {listed(have)}'}")
    if _is_stage(at) and inside and key not in inside:
        raise _NoPlaceError(f"{spell(at)} is a {_name(inside)} stage, not {key}")
    value, path = _replaced(inside.get(key), rest, new, (*at, key))
    return {**inside, key: value}, path


def _is_stage(path: KeyPath) -> bool:
    return len(path) == 2 and path[0] == "stages"


def _name(value: Any) -> str:
    """A list entry in a word: a stage's kind, else the value."""
    if isinstance(value, dict) and len(value) == 1 and next(iter(value)) in KINDS:
        return str(next(iter(value)))
    return show(value)
