"""The run folder: what a user finds after a run. All in it is replaced whole, so an earlier result stays intact."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from compress.errors import CacheError, UsageError

_FOLDERS = ("artefacts", "bundle", "checkpoints", "predictions")  # of a run: replaced whole


class RunFolder:
    """runs/<name>/ with plan.json, checkpoints/, artefacts/, bundle/, result.json, reports and run.json."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __repr__(self) -> str:
        return f"RunFolder({str(self.root)!r})"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder and keep every other run out of it.

        Raises:
            UsageError: another run is writing here, it is a file, or it holds folders of somebody else's that the run
                would replace.
            CacheError: the folder cannot be written.
        """
        if self.root.is_file():
            raise UsageError("it is a file, not a folder", str(self.root), "choose another folder with --out")
        if not any((self.root / mark).exists() for mark in (".lock", "plan.json")):
            for name in _FOLDERS:
                if (self.root / name).exists():
                    what = f"it holds {name}, which no run wrote and this one would replace"
                    raise UsageError(what, str(self.root), "choose another folder with --out")
        with _clear_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            handle = (self.root / ".lock").open("a+")
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                handle.seek(0)
                holder = handle.read().strip() or "unknown"
                fix = "wait for it, or give this run another folder with --out"
                raise UsageError(f"another run (process {holder}) is writing here", str(self.root), fix) from error
            handle.truncate(0)
            handle.write(str(os.getpid()))
            handle.flush()
            yield

    def write_text(self, name: str, text: str) -> Path:
        """Replace one file at once."""
        path = self.root / name
        with _clear_errors(path):
            temporary = path.with_name(f".{path.name}.new")
            temporary.write_text(text)
            temporary.replace(path)
        return path

    def place(self, source: Path, name: str, *, without: tuple[str, ...] = ()) -> Path:
        """Replace one folder by a copy of another; a reader sees the old one or the new one, or for an instant none."""
        target = self.root / name
        with _clear_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            new, old = target.with_name(f".{target.name}.new"), target.with_name(f".{target.name}.old")
            for leftover in (new, old):
                shutil.rmtree(leftover, ignore_errors=True)
            _copy(source, new, without)
            if target.exists():
                target.rename(old)
            new.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        return target

    def place_files(self, sources: Mapping[str, Path], name: str) -> Path:
        """Replace one folder by copies of single files, name -> source."""
        target = self.root / name
        with _clear_errors(target), tempfile.TemporaryDirectory(dir=self.root, prefix=f".{name}.") as scratch:
            for file, source in sources.items():
                shutil.copy2(source, Path(scratch) / file)
            return self.place(Path(scratch), name)

    def keep_only(self, name: str, children: set[str]) -> None:
        """Remove what an earlier run with other steps left in a folder of this one."""
        for child in (self.root / name).glob("*"):
            if child.name not in children:
                shutil.rmtree(child, ignore_errors=True)


def _copy(source: Path, target: Path, without: tuple[str, ...]) -> None:
    """A folder with all that is in it; stops at the first error, where shutil.copytree would gather them in a list."""
    target.mkdir()
    for child in sorted(source.iterdir()):
        if child.name not in without:
            (_copy(child, target / child.name, without) if child.is_dir() else shutil.copy2(child, target / child.name))


@contextlib.contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = f"cannot write: {error.strerror or error}"
        fix = "free some space or choose another folder with --out; finished steps are in the cache"
        raise CacheError(what, str(error.filename2 or error.filename or path), fix) from error
