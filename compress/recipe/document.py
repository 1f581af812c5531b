"""YAML text -> plain values, each with its line. Built from parser events: no tags, no aliases, no recursion.

Plain scalars follow YAML 1.2 (so `yes` is text and 1e-3 a number) plus 100_000 for long whole numbers.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml import events as ev

KeyPath = tuple[str | int, ...]

MAX_BYTES, MAX_DEPTH, MAX_VALUES, MAX_DIGITS = 256 * 1024, 24, 10_000, 18
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*(?:_[0-9]+)*)")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+(?:_[0-9]+)*\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_WORDS = {"": None, "~": None, "null": None, "Null": None, "NULL": None,
          "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: at a path in the recipe, on a line of the text, or in a --set."""

    path: KeyPath | None
    text: str
    line: int | None = None
    override: str | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """value: what the text holds, lists as tuples. lines: path -> line. sets: path -> the --set that put it there."""

    value: Any
    lines: dict[KeyPath, int] = field(default_factory=dict)
    sets: dict[KeyPath, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


def spell(path: KeyPath) -> str:
    """A path as people write it: stages[0].distill.epochs."""
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).removeprefix(".") or "recipe"


def read_yaml(data: bytes | str) -> Document:
    """Parse one YAML document. Never raises: what is wrong comes back as problems, with what could still be read."""
    if len(data) > MAX_BYTES:
        return _failed(f"{len(data):,} bytes; a recipe has at most {MAX_BYTES:,}")
    if isinstance(data, bytes):
        try:
            data = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            return _failed(f"byte {error.start} is not UTF-8; save the file as UTF-8", line)
    builder = _Builder()
    try:
        builder.build(yaml.parse(data, Loader=yaml.SafeLoader))
    except _Stop:
        pass
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(filter(None, (error.context, error.problem)))
        hint = "; indent with spaces, not tabs" if "'\\t'" in what else ""
        builder.report(f"it is no YAML: {what}{hint}", mark.line + 1 if mark else 1)
    except yaml.reader.ReaderError as error:
        line = data[: error.position].count("\n") + 1
        builder.report(f"it is no YAML: character U+{int(error.character):04X} is not allowed", line)
    except (ValueError, OverflowError) as error:  # PyYAML on some escapes and directives
        builder.report(f"it is no YAML: {error}", 1)
    return Document(builder.root, builder.lines, {}, tuple(builder.problems))


def plain(text: str) -> Any:
    """The value of an unquoted scalar: nothing, true or false, a number, or else the text itself."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text.replace("_", ""))
    if _FLOAT.fullmatch(text) and not text.lstrip("+-").replace("_", "").isdigit():
        return float(text.replace("_", ""))
    return text


def _failed(text: str, line: int = 1) -> Document:
    return Document(None, problems=(Problem(None, text, line),))


class _Stop(Exception):
    """Reading on is pointless or dangerous."""


_NO_KEY, _DROPPED = object(), object()


@dataclass(slots=True)
class _Frame:
    container: Any  # dict or list
    path: KeyPath | None  # None: inside something that was reported and is dropped
    key: Any = _NO_KEY  # dict only: the key that waits for its value

    def next_path(self) -> KeyPath | None:
        if self.path is None or self.key is _DROPPED:
            return None
        return (*self.path, len(self.container) if isinstance(self.container, list) else self.key)


class _Builder:
    def __init__(self) -> None:
        self.root: Any = None
        self.lines: dict[KeyPath, int] = {}
        self.problems: list[Problem] = []
        self.stack: list[_Frame] = []
        self.documents = self.values = 0

    def report(self, text: str, line: int, path: KeyPath | None = None) -> None:
        self.problems.append(Problem(path, text, line))

    def build(self, events: Iterator[ev.Event]) -> None:
        for event in events:
            line = event.start_mark.line + 1 if event.start_mark else 1
            if isinstance(event, ev.DocumentStartEvent):
                self.documents += 1
                if self.documents > 1:
                    self.report("a second document starts here; one recipe a file", line)
                    raise _Stop
            elif isinstance(event, ev.AliasEvent):
                self.report(f"alias *{event.anchor}: recipes have no aliases, write the value out", line)
                self.put(None, line)
            elif isinstance(event, ev.NodeEvent):
                self.node(event, line)
            elif isinstance(event, ev.CollectionEndEvent):
                frame = self.stack.pop()
                if isinstance(frame.container, list):
                    frame.container = tuple(frame.container)
                self.attach(frame.container)

    def node(self, event: Any, line: int) -> None:
        self.values += 1
        if self.values > MAX_VALUES:
            self.report(f"more than {MAX_VALUES:,} values; this is no recipe", line)
            raise _Stop
        if event.anchor is not None:
            self.report(f"anchor &{event.anchor}: recipes have no anchors, write the value out", line)
        if event.tag is not None:
            self.report(f"tag {event.tag!r}: recipes have no tags, only plain values", line)
        if isinstance(event, ev.ScalarEvent):
            self.put(self.scalar(event, line), line)
            return
        if len(self.stack) >= MAX_DEPTH:
            self.report(f"nested more than {MAX_DEPTH} levels deep", line)
            raise _Stop
        if self.stack and isinstance(self.stack[-1].container, dict) and self.stack[-1].key is _NO_KEY:
            self.report("a key is text, not a list or a mapping", line)
            self.stack.append(_Frame([], None, _DROPPED))
            return
        path = self.stack[-1].next_path() if self.stack else ()
        if path is not None:
            self.lines.setdefault(path, line)
        self.stack.append(_Frame({} if isinstance(event, ev.MappingStartEvent) else [], path))

    def scalar(self, event: ev.ScalarEvent, line: int) -> Any:
        text: str = event.value
        value = plain(text) if event.implicit[0] else text
        if isinstance(value, int) and len(text) > MAX_DIGITS:
            self.report(f"a number of {len(text)} digits", line)
            return None
        if isinstance(value, str) and not value.isprintable():
            self.report(f"text with a control character: {value[:40]!r}", line)
            return None
        return value

    def put(self, value: Any, line: int) -> None:
        """A scalar: a key if one is wanted, else a value."""
        frame = self.stack[-1] if self.stack else None
        if frame is None or not isinstance(frame.container, dict) or frame.key is not _NO_KEY:
            path = frame.next_path() if frame else ()
            if path is not None:
                self.lines.setdefault(path, line)
            self.attach(value)
        elif not isinstance(value, str):
            self.report(f"key {value!r} is not text; put it in quotes", line)
            frame.key = _DROPPED
        elif value in frame.container:
            before = self.lines.get((*frame.path, value)) if frame.path is not None else None
            self.report(f"key {value!r} stands here twice" + (f", first on line {before}" if before else ""), line)
            frame.key = _DROPPED
        else:
            frame.key = value
            if frame.path is not None:
                self.lines[(*frame.path, value)] = line

    def attach(self, value: Any) -> None:
        """Give a finished value to what it stands in."""
        if not self.stack:
            self.root = value
            return
        frame = self.stack[-1]
        if isinstance(frame.container, list):
            frame.container.append(value)
        elif frame.key is _NO_KEY:  # a collection used as a key, already reported
            frame.key = _DROPPED
        else:
            if frame.key is not _DROPPED:
                frame.container[frame.key] = value
            frame.key = _NO_KEY
