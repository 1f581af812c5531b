"""One step of a run: looked up in the cache, made if absent, shown and recorded; alone or under torchrun."""

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from compress.errors import CacheError
from compress.result import StepRow
from compress.run.cache import Cache, Entry
from compress.run.progress import Display
from compress.run.world import World


class Recorder:
    """Makes steps or finds them; `rows` records what ran, in order.

    before: called before each step that has work to do.
    """

    def __init__(self, cache: Cache, display: Display, world: World, before: Callable[[], None]) -> None:
        self.cache, self.display, self.world = cache, display, world
        self.rows: list[StepRow] = []
        self._before = before
        self._unshown = 0.0  # seconds made since the last line, by steps that have none

    def step(
        self,
        name: str,
        kind: str,
        key: str,
        write: Callable[[Path, Any], Mapping[str, Any]],
        describe: Callable[[Mapping[str, Any]], str] = lambda _: "",
        *,
        collective: bool = False,
        shown: bool = True,
    ) -> Entry:
        """The cached entry of a step, made by `write(folder, progress)` where it is absent.

        collective: every process of a torchrun takes part in the making; the others discard what they wrote. All
            other steps are rank 0's alone.
        shown: whether the finished step gets a line of its own, with the seconds of those before it that have none;
            it is recorded in any case.
        """
        if not self.world.main:
            return self._follow(key, write)
        entry = self.cache.get(key)
        cached = entry is not None
        if collective:
            self.world.agree(cached)
        started = time.perf_counter()
        if entry is None:
            self._before()
            with self.cache.lock(key), self.display.step(name) as progress:
                entry = None if self.world.size > 1 else self.cache.get(key)  # another run may have made it meanwhile
                entry = entry or self.cache.put(key, lambda folder: self._timed(write, folder, progress))
        seconds = time.perf_counter() - started
        if collective:
            self.world.agree(True)  # it is written
        facts = entry.record
        self.rows.append(
            StepRow(
                name=name,
                kind=kind,
                key=key,
                cached=cached,
                seconds=facts.get("seconds", seconds),
                metrics=dict(facts.get("metrics", {})),
                kept=dict(facts.get("kept", {})),
            )
        )
        self._unshown += 0.0 if cached else seconds
        if shown:
            self.display.done(name, describe(facts), self._unshown or None)
            self._unshown = 0.0
        return entry

    def _timed(self, write: Callable[[Path, Any], Mapping[str, Any]], folder: Path, progress: Any) -> dict[str, Any]:
        started = time.perf_counter()
        facts = dict(write(folder, progress))
        return {**facts, "seconds": round(time.perf_counter() - started, 3)}

    def _follow(self, key: str, write: Callable[[Path, Any], Mapping[str, Any]]) -> Entry:
        """What the other processes of a torchrun do: take part if rank 0 has to train, then read what it wrote."""
        if not self.world.agree(None):
            with tempfile.TemporaryDirectory() as scratch:
                write(Path(scratch), lambda done, total, note="": None)
        self.world.agree(None)
        entry = self.cache.get(key)
        if entry is None:
            fix = "give all processes the same cache folder"
            raise CacheError("rank 0 wrote it, but it is not here", f"step {key[:12]}", fix)
        return entry
