"""state.json of a store: which version runs, which ran before, what is on trial, what is known to be bad.

All of it in one small file that is replaced as a whole, so that no power cut can leave a current version that
contradicts the trial or the way back.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from edge_runtime._fields import Fields
from edge_runtime.errors import StoreError
from edge_runtime.store.durable import write_durable

if TYPE_CHECKING:
    from collections.abc import Container
    from pathlib import Path

FORMAT, FORMAT_VERSION = "edge-store", 1
FILE_NAME = "state.json"
MODES = ("shadow", "canary")
_VERSION = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")
_LARGEST_BYTES = 1 << 20
_MOST_BAD, _MOST_RECENT = 100, 1000


@dataclass(frozen=True)
class Limits:
    """What a version on trial may do before it is rolled back.

    calls: length of the trial, in examples answered; 0 means no trial.
    errors: failures of the engine (also NaN or infinite outputs) that are tolerated.
    latency_ms: median per example over the newest 1,000 calls, preprocessing included; None sets no limit.
    crashes: times the process may die inside a call of this version.
    """

    calls: int = 200
    errors: int = 0
    latency_ms: float | None = None
    crashes: int = 1

    def __post_init__(self) -> None:
        """Raises StoreError for limits that make no sense."""
        for name, least in (("calls", 0), ("errors", 0), ("crashes", 0)):
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= 10_000_000:
                raise StoreError(f"{name} is {value!r}", "limits", "give a whole number from 0 to 10,000,000")
        if self.latency_ms is not None and not 0 < self.latency_ms < 1e9:
            raise StoreError(
                f"latency_ms is {self.latency_ms!r}", "limits", "give milliseconds above 0, or leave it out"
            )


@dataclass(frozen=True)
class Beside:
    """A second version that runs next to the current one. share: of the calls, 0 < share <= 1."""

    version: str
    mode: str
    share: float
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class State:
    """Everything about a store but the bundles themselves.

    trial: limits that `current` must still keep; None once it is accepted.
    recent: accepted versions in order of last use, newest last. bad: version -> why it was rolled back.
    """

    current: str | None = None
    trial: Limits | None = None
    beside: Beside | None = None
    recent: tuple[str, ...] = ()
    bad: dict[str, str] = field(default_factory=dict)

    def accepted(self) -> State:
        """With the trial of the current version passed."""
        others = tuple(v for v in self.recent if v != self.current)[1 - _MOST_RECENT :]
        return replace(self, trial=None, recent=(*others, self.current) if self.current else others)

    def with_current(self, version: str, trial: Limits | None = None) -> State:
        """With another current version; if it ran beside the old one, that run ends."""
        beside = None if self.beside is not None and self.beside.version == version else self.beside
        return replace(self, current=version, trial=trial, beside=beside)

    def way_back(self, installed: Container[str]) -> str | None:
        """Where a rollback goes: the version accepted last that is not the current one, not bad, and still there."""
        fit = [v for v in self.recent if v != self.current and v not in self.bad and v in installed]
        return fit[-1] if fit else None

    def marked_bad(self, version: str, reason: str) -> State:
        """With a version that is not to be tried again."""
        kept = [(k, v) for k, v in self.bad.items() if k != version][1 - _MOST_BAD :]
        return replace(self, bad=dict([*kept, (version, f"{utc_now()}: {reason}"[:500])]))

    def forgiven(self, version: str) -> State:
        """With that version's bad mark gone."""
        return replace(self, bad={k: v for k, v in self.bad.items() if k != version})


def is_version(text: str) -> bool:
    """Whether a text can be the name of a version's folder."""
    return _VERSION.fullmatch(text) is not None


def utc_now() -> str:
    """For people and logs; nothing is decided by the clock, which may jump."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_state(folder: Path, state: State) -> None:
    """Replace state.json.

    Raises:
        OSError: the disk is full or read-only; the old state stands.
    """
    doc = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(state), "recent": list(state.recent)}
    text = json.dumps(doc, indent=1, ensure_ascii=False) + "\n"
    write_durable(folder / FILE_NAME, text.encode("utf-8", "backslashreplace"))  # a reason may hold what is no text


def read_bytes(folder: Path) -> bytes:
    """Content of state.json.

    Raises:
        StoreError: the folder is no store.
    """
    try:
        with (folder / FILE_NAME).open("rb") as file:
            return file.read(_LARGEST_BYTES + 1)
    except FileNotFoundError as error:
        fix = "give the store's folder, or make one: edge-runtime update STORE BUNDLE"
        raise StoreError("no model store: it holds no state.json", str(folder), fix) from error
    except OSError as error:
        raise StoreError(
            f"cannot be read: {error.strerror}", str(folder / FILE_NAME), "check its permissions"
        ) from error


def parse_state(data: bytes, where: str) -> State:
    """The state in a file's content.

    Raises:
        StoreError: it is damaged or of a newer format.
    """
    fix = "name the version that is to run, which writes it anew: edge-runtime rollback STORE --to VERSION"
    try:
        doc = json.loads(data.decode("utf-8")) if len(data) <= _LARGEST_BYTES else None
    except (ValueError, RecursionError) as error:
        raise StoreError(f"the state is damaged: {error}", where, fix) from error
    if isinstance(doc, dict) and type(doc.get("format_version")) is int and doc["format_version"] > FORMAT_VERSION:
        what = f"the store has format_version {doc['format_version']}, this edge_runtime reads up to {FORMAT_VERSION}"
        raise StoreError(what, where, "pip install --upgrade edge-runtime")
    problems: list[str] = []
    keys = ("current", "trial", "beside", "recent", "bad")
    top = Fields(doc, "", problems, ("format", "format_version", *keys))
    top.text("format", one_of=(FORMAT,))
    state = _read(top) if all(top.has(k) for k in keys) and not problems else None
    if problems or state is None:
        raise StoreError(f"the state is damaged: {'; '.join(problems[:5])}", where, fix)
    return state


def _read(top: Fields) -> State:
    current = top.text("current") if top.doc["current"] is not None else None
    recent = top.items("recent", fewest=0, most=10_000)
    bad = top.doc["bad"] if isinstance(top.doc["bad"], dict) else {}
    if bad is not top.doc["bad"]:
        top.note("bad", "is not an object")
    for version in [*([current] if current else []), *recent, *bad]:
        if not isinstance(version, str) or not is_version(version):
            top.note("", f"{ascii(version)[:80]} is no version")
    if not all(isinstance(reason, str) for reason in bad.values()):
        top.note("bad", "want a reason for each version")
    trial = _limits(top.doc["trial"], "trial", top.problems)
    beside = None
    if top.doc["beside"] is not None:
        fields = Fields(top.doc["beside"], "beside", top.problems, ("version", "mode", "share", "limits"))
        version, mode = fields.text("version"), fields.text("mode", one_of=MODES)
        if version and not is_version(version):
            fields.note("version", "is no version")
        limits = _limits(fields.doc.get("limits"), "beside.limits", top.problems)
        beside = Beside(version, mode, fields.number("share", 0.0, 1.0) or 0.0, limits or Limits())
    return State(current, trial, beside, tuple(recent), dict(bad))


def _limits(doc: Any, where: str, problems: list[str]) -> Limits | None:
    if doc is None:
        return None
    fields = Fields(doc, where, problems, ("calls", "errors", "latency_ms", "crashes"))
    calls, errors, crashes = (fields.integer(k, 0, 10_000_000) or 0 for k in ("calls", "errors", "crashes"))
    return Limits(calls, errors, fields.number("latency_ms", 1e-9, 1e8, optional=True), crashes)
