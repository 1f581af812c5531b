"""The store: one folder on the device that holds versions of a bundle and says which one runs.

    STORE/state.json     the current version and everything else that decides (state.py); replaced as a whole
          versions/<id>  bundles; complete and verified before they get this name, never changed after
          incoming/      downloads under way, resumed by the next update; may be deleted
          marks/         which processes are inside a call of a version on trial (trial.py)
          history.jsonl  what happened, for people; comparison.sqlite: what shadow and canary runs found

Two locks: `install.lock` lets one process download at a time, `state.lock` is held for the moment of a switch, so that
a rollback never waits for a download.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_runtime.errors import StoreError
from edge_runtime.files import verify_files
from edge_runtime.manifest import read_manifest
from edge_runtime.store.deployed import Deployed
from edge_runtime.store.durable import remove_whole, sync_folder
from edge_runtime.store.history import add_event, read_events
from edge_runtime.store.install import install, installed_versions, read_source
from edge_runtime.store.lock import Lock
from edge_runtime.store.selftest import self_test
from edge_runtime.store.sources import open_source
from edge_runtime.store.state import (
    FILE_NAME,
    MODES,
    Beside,
    Limits,
    State,
    is_version,
    parse_state,
    read_bytes,
    write_state,
)  # fmt: skip
from edge_runtime.store.trial import clear_crashes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_runtime.signing import TrustedKeys

_FOLDERS = ("versions", "incoming", "marks")


@dataclass(frozen=True)
class Updated:
    """What an update did. previous: what ran before. changed: False if there was nothing to do."""

    version: str
    previous: str | None
    changed: bool
    message: str


@dataclass(frozen=True)
class Version:
    """One version of a store. state: current, trial, previous, shadow, canary, bad, or "" for one not in use."""

    version: str
    state: str
    size_bytes: int
    note: str


class Store:
    """A model store on this machine. Safe to use from several processes and threads."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Open a store that exists.

        Raises:
            StoreError: there is none, or it is of a newer format.
        """
        self.folder = Path(folder)
        read_bytes(self.folder)

    @classmethod
    def create(cls, folder: str | os.PathLike[str]) -> Store:
        """Open a store, after making it where there is none.

        Raises:
            StoreError: the folder holds something else, or cannot be written.
        """
        root = Path(folder)
        try:
            root.mkdir(parents=True, exist_ok=True)
            strangers = {p.name for p in root.iterdir() if not p.name.startswith(".")} - {*_FOLDERS, "state.lock"}
            if strangers and not (root / FILE_NAME).exists():
                what = f"the folder holds other things ({', '.join(sorted(strangers)[:3])}) and no {FILE_NAME}"
                raise StoreError(what, str(root), "give a folder of its own to the store")
            for name in _FOLDERS:
                (root / name).mkdir(exist_ok=True)
            with Lock(root / "state.lock", 10.0):
                if not (root / FILE_NAME).exists():
                    write_state(root, State())
            with contextlib.suppress(OSError):  # a folder that this user may not read
                sync_folder(root.parent)
        except OSError as error:
            fix = "give a folder that this user may write"
            raise StoreError(f"cannot be made: {error.strerror}", str(root), fix) from error
        return cls(root)

    def __repr__(self) -> str:
        return f"Store({str(self.folder)!r})"

    def state(self) -> State:
        """Which version runs, what is on trial or bad. Raises StoreError if the state is damaged."""
        return parse_state(read_bytes(self.folder), str(self.folder / FILE_NAME))

    def path(self, version: str) -> Path:
        """The bundle folder of an installed version. Raises StoreError if it is not installed."""
        if not self.has(version):
            has = ", ".join(installed_versions(self.folder)[:5]) or "none"
            raise StoreError(f"version {ascii(version)[:80]} is not installed", str(self.folder), f"it has {has}")
        return self.folder / "versions" / version

    def has(self, version: str) -> bool:
        """Whether this version is installed."""
        return is_version(version) and (self.folder / "versions" / version).is_dir()

    def open(self, **options: Any) -> Deployed:
        """The current version, ready to run; see Deployed for the options.

        Raises:
            StoreError: the store is empty, or no version of it can be loaded.
        """
        return Deployed(self, **options)

    def update(
        self,
        source: str | os.PathLike[str],
        *,
        mode: str = "current",
        share: float = 0.1,
        limits: Limits | None = None,
        engine: str | None = None,
        token: str | None = None,
        trusted_keys: TrustedKeys = None,
        force: bool = False,
        keep: int = 3,
        max_size_bytes: int = 1 << 30,
        self_test_timeout_s: float = 300.0,
        timeout_s: float = 30.0,
        wait_s: float = 0.0,
    ) -> Updated:
        """Install the bundle at `source` (a folder or an http(s) URL), test it on this device, and switch to it.

        mode: "current" switches; "shadow" and "canary" let it run beside the current one for `share` of the calls.
        limits: of the trial that follows. force: also a version that was rolled back before.
        trusted_keys: as edge_runtime.load; a bundle that none of them has signed is refused before it is fetched.
        keep: accepted versions to keep; older ones are deleted. wait_s: for another update that is under way.

        Raises:
            BundleError: the bundle is damaged, or not what its manifest promises.
            StoreError: it fails its self-test, is known to be bad, or cannot be fetched or stored.
            In every case the version that ran before still runs.
        """
        with Lock(self.folder / "install.lock", wait_s):
            manifest, data, version = read_source(origin := open_source(source, token=token, timeout_s=timeout_s))
            state = self.state()
            if version in state.bad and not force:
                what = f"version {version} was rejected before ({state.bad[version]})"
                raise StoreError(what, origin.name, "bring another version, or insist with --force")
            folder = install(
                origin, manifest, data, version, self.folder, largest_bytes=max_size_bytes, trusted_keys=trusted_keys
            )
            if mode == "current" and version == state.current:
                return Updated(version, version, False, "this version is the current one already")
            self._test(version, folder, engine, self_test_timeout_s, keep=version in state.recent)
            done = self._put(version, mode, share, limits or Limits())
            self._prune(keep)
            return done

    def switch(
        self,
        version: str,
        *,
        mode: str = "current",
        share: float = 0.1,
        limits: Limits | None = None,
        engine: str | None = None,
        trusted_keys: TrustedKeys = None,
        force: bool = False,
        self_test_timeout_s: float = 300.0,
    ) -> Updated:
        """As update, for a version that is installed.

        Raises:
            BundleError: it was damaged since.
            StoreError: it is not installed, is known to be bad, or fails its self-test.
        """
        folder, state = self.path(version), self.state()
        if version in state.bad and not force:
            what = f"version {version} was rejected before ({state.bad[version]})"
            raise StoreError(what, str(self.folder), "choose another version, or insist with --force")
        if mode == "current" and version == state.current:
            return Updated(version, version, False, "this version is the current one already")
        verify_files(folder, read_manifest(folder, trusted_keys=trusted_keys).files)
        self._test(version, folder, engine, self_test_timeout_s, keep=True)
        return self._put(version, mode, share, limits or Limits())

    def rollback(self, to: str | None = None, *, reason: str = "rolled back by hand") -> Updated:
        """Go back to the version accepted before, or to `to`; the one that ran is not tried again by itself.

        Also mends a damaged state.json where `to` is given.

        Raises:
            StoreError: there is no other version, or `to` is not installed.
        """
        if to is not None:
            self.path(to)
        with self._changing(fresh=to is not None) as state:
            target = to or state.way_back(installed_versions(self.folder))
            if target is None:
                raise StoreError(
                    "there is no version to go back to", str(self.folder), "install one: edge-runtime update"
                )
            left = state.current
            if left is not None and left != target:
                state = state.marked_bad(left, reason)
            self._write(state.forgiven(target).with_current(target).accepted(), f"rollback from {left}: {reason}")
        return Updated(target, left, left != target, f"back to {target}")

    def stop_beside(self) -> None:
        """End the shadow or canary run, if there is one; its version stays installed."""
        with self._changing() as state:
            if state.beside is not None:
                self._write(replace(state, beside=None), f"{state.beside.mode} of {state.beside.version} ended")

    def accept(self, version: str) -> None:
        """The current version has passed its trial."""
        with self._changing() as state:
            if state.current == version and state.trial is not None:
                self._write(state.accepted(), "trial passed")
        clear_crashes(self.folder / "marks", version)

    def give_up(self, version: str, reason: str) -> None:
        """A version on trial, or beside the current one, has failed: back to what ran before; it is marked as bad."""
        with self._changing() as state:
            if state.beside is not None and state.beside.version == version:
                mode = state.beside.mode
                self._write(replace(state, beside=None).marked_bad(version, reason), f"{mode} of {version}: {reason}")
            elif state.current == version:
                target = state.way_back(installed_versions(self.folder))
                if target is None:  # the first version of all: a bad one is better than none
                    self._write(replace(state, trial=None), f"no way back from {version}: {reason}")
                else:
                    back = state.marked_bad(version, reason).with_current(target)
                    self._write(back.accepted(), f"automatic rollback from {version}: {reason}")
        clear_crashes(self.folder / "marks", version)

    def versions(self) -> list[Version]:
        """All that is installed and all that is known to be bad, in order of last use."""
        state, installed = self.state(), installed_versions(self.folder)
        order = [*(v for v in state.recent if v in installed), *(v for v in installed if v not in state.recent)]
        names: dict[str | None, str] = dict.fromkeys(state.bad, "bad")
        names[state.way_back(installed)] = "previous"
        names[state.current] = "trial" if state.trial else "current"
        if state.beside is not None:
            names[state.beside.version] = state.beside.mode
        out = []
        for version in [*order, *(v for v in state.bad if v not in installed)]:
            size_bytes = 0
            with contextlib.suppress(OSError):  # another process may be deleting it
                files = (self.folder / "versions" / version).rglob("*")
                size_bytes = sum(p.stat().st_size for p in files if p.is_file())
            out.append(Version(version, names.get(version, ""), size_bytes, state.bad.get(version, "")))
        return out

    def history(self) -> list[dict[str, str]]:
        """What happened, oldest first: time, current version, event. A line that a power cut tore is left out."""
        return read_events(self.folder)

    def _test(self, version: str, folder: Path, engine: str | None, timeout_s: float, *, keep: bool) -> None:
        outcome = self_test(folder, engine=engine, timeout_s=timeout_s)
        if not outcome.reason:
            return
        with self._changing() as state:
            if outcome.lasting:
                self._write(state.marked_bad(version, outcome.reason), f"self-test of {version}: {outcome.reason}")
            runs = f"{state.current} still runs" if state.current else "nothing runs"
            if not keep and state.current != version:
                remove_whole(folder, self.folder / "incoming")
        what = f"version {version} is not fit for this device: {outcome.reason}; {runs}"
        raise StoreError(what, str(self.folder), "mend the bundle or this device, then bring it again")

    def _put(self, version: str, mode: str, share: float, limits: Limits) -> Updated:
        if mode not in ("current", *MODES):
            raise StoreError(f"mode is {mode!r}", "update", "use current, shadow or canary")
        clear_crashes(self.folder / "marks", version)
        with self._changing() as state:
            self.path(version)
            state = state.forgiven(version)
            if mode != "current":
                if not 0.0 < share <= 1.0 or state.current in (None, version):
                    fix = "give 0 < share <= 1, and a version that is not the current one"
                    raise StoreError(f"cannot run {version} as {mode} for {share} of the calls", str(self.folder), fix)
                self._write(replace(state, beside=Beside(version, mode, share, limits)), f"{mode} of {version}")
                return Updated(version, state.current, True, f"{version} runs as {mode} for {share:.1%} of the calls")
            before = state.current
            state = state.with_current(version, limits)
            on_trial = limits.calls > 0 and state.way_back(installed_versions(self.folder)) is not None
            self._write(state if on_trial else state.accepted(), f"switch from {before}")
        rest = f"on trial for {limits.calls} calls" if on_trial else "accepted at once"
        return Updated(version, before, True, f"{version} is current, {rest}")

    def _prune(self, keep: int) -> None:
        with self._changing() as state:
            installed = installed_versions(self.folder)
            needed = {state.current, state.way_back(installed), *state.recent[-max(keep, 1) :]}
            needed |= {state.beside.version} if state.beside else set()
            for version in installed:
                if version not in needed:
                    with contextlib.suppress(OSError):
                        remove_whole(self.folder / "versions" / version, self.folder / "incoming")
        for left in (self.folder / "incoming").iterdir():  # of downloads given up, or of a process that was killed
            shutil.rmtree(left, ignore_errors=True)

    @contextlib.contextmanager
    def _changing(self, *, fresh: bool = False) -> Iterator[State]:
        """The state under its lock. fresh: an unreadable one counts as empty."""
        with Lock(self.folder / "state.lock", 30.0):
            try:
                state = self.state()
            except StoreError:
                if not fresh:
                    raise
                state = State()
            yield state

    def _write(self, state: State, event: str) -> None:
        try:
            write_state(self.folder, state)
        except OSError as error:
            fix = "free some room or check the permissions; what ran before still runs"
            raise StoreError(f"the state cannot be written: {error.strerror}", str(self.folder), fix) from error
        add_event(self.folder, state.current, event)
