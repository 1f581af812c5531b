"""Store of step results, addressed by everything that could change them.

<root>/<2 hex>/<key>/      a finished entry: its files and entry.json, which lists each file's sha256
<root>/work/<key>/         what an unfinished step keeps to resume from
<root>/locks/<key>         held (flock) while a process computes the entry; the kernel frees it when the process dies
<root>/temporary/          entries being written; renamed into place when whole

Only finished results enter. A damaged entry is reported, removed and counts as absent. Processes may share a cache:
the second to want a key waits for the first and then reads what it wrote.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.errors import CacheError, UsageError

ENTRY = "entry.json"


def make_key(
    kind: str, config: Any, *, version: int, inputs: Mapping[str, str], seed: int, tools: Mapping[str, str]
) -> str:
    """Hash of config, step code version, input digests, seed and library versions; not of the order of dict keys.

    >>> a = make_key("prune", {"x": 1, "y": 2}, version=1, inputs={}, seed=0, tools={})
    >>> a == make_key("prune", {"y": 2, "x": 1}, version=1, inputs={}, seed=0, tools={})
    True
    """
    facts = [kind, config, version, dict(inputs), seed, dict(tools)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Entry:
    """A finished step: its folder and the record that was stored with it (seconds, metrics, output digest, ...)."""

    folder: Path
    record: Mapping[str, Any]


class Cache:
    """One folder per key. Readers never see half an entry.

    report: told in a sentence about anything unusual, such as a damaged entry.
    """

    def __init__(self, root: Path, report: Callable[[str], None]) -> None:
        self.root, self._report = root, report
        if root.exists() and not root.is_dir():
            raise UsageError("it is a file, not a folder", str(root), "choose another folder with --cache")
        with self._writing(root):
            for name in ("work", "locks", "temporary"):
                (root / name).mkdir(parents=True, exist_ok=True)

    def __repr__(self) -> str:
        return f"Cache({str(self.root)!r}, {sum(1 for _ in self.root.glob('??/*'))} entries)"

    def get(self, key: str) -> Entry | None:
        """The entry, or None. Every file is checked against its sha256; a damaged entry is removed."""
        folder = self._folder(key)
        if not folder.exists():
            return None
        try:
            doc = json.loads((folder / ENTRY).read_text())
            files, record = doc["files"], doc["record"]
            bad = [n for n, digest in files.items() if sha256_file(folder / n) != digest]
            why = f"{', '.join(bad)} does not match its checksum" if bad else ""
        except OSError as error:
            why = f"{Path(error.filename or folder).name}: {error.strerror or error}"
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            why = f"{ENTRY}: {type(error).__name__}: {error}"
        if why:
            self._report(f"cache entry {key[:12]} is damaged ({why}); it is removed and made again")
            if folder.is_dir():
                shutil.rmtree(folder, ignore_errors=True)
            else:  # something else stands in its place
                folder.unlink(missing_ok=True)
            return None
        return Entry(folder, record)

    def put(self, key: str, write: Callable[[Path], Mapping[str, Any]]) -> Entry:
        """Let `write` fill a temporary folder and return the record, then move it into place whole.

        Raises:
            CacheError: the disk is full or the cache cannot be written. Nothing is left behind.
        """
        folder = self._folder(key)
        temporary = self.root / "temporary" / f"{key[:12]}-{os.getpid()}-{secrets.token_hex(4)}"
        try:
            with self._writing(self.root):
                temporary.mkdir()  # not mkdtemp: its 0700 would travel into the run folder
                record = dict(write(temporary))
                files = sorted(p for p in temporary.rglob("*") if p.is_file())
                digests = {p.relative_to(temporary).as_posix(): sha256_file(p) for p in files}
                text = json.dumps({"files": digests, "record": record}, indent=1, sort_keys=True)
                (temporary / ENTRY).write_text(text + "\n")
                for path in (*files, temporary / ENTRY):
                    _sync(path)
                folder.parent.mkdir(exist_ok=True)
                try:
                    temporary.rename(folder)
                except OSError as error:
                    if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                        raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(self.workdir(key), ignore_errors=True)
        return Entry(folder, record)

    def workdir(self, key: str) -> Path:
        """Where an unfinished step keeps its state; it is the caller's to create, and gone once the entry is put."""
        return self.root / "work" / key

    @contextlib.contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Held by one process at a time; others wait. A process that dies frees it; what it left half made goes."""
        with self._writing(self.root):
            handle = (self.root / "locks" / key).open("w")
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._report(f"another process is making {key[:12]}; waiting for it")
                fcntl.flock(handle, fcntl.LOCK_EX)
            for leftover in (self.root / "temporary").glob(f"{key[:12]}-*"):  # of a process that died at it
                shutil.rmtree(leftover, ignore_errors=True)
            yield

    def _folder(self, key: str) -> Path:
        return self.root / key[:2] / key

    @contextlib.contextmanager
    def _writing(self, root: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR):
                raise
            fix = "free some space or choose another folder with --cache; finished steps are kept"
            raise CacheError(f"cannot write: {os.strerror(error.errno)}", str(error.filename or root), fix) from error


def sha256_file(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _sync(path: Path) -> None:
    with path.open("rb") as handle:
        os.fsync(handle.fileno())
