"""Debian packages of any architecture, downloaded and unpacked into a folder; the system itself is not touched.

apt checks the archive's signatures and each package's sum; it works on a state of its own, against an empty list of
installed packages, so that it finds everything a program needs.
"""

import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from compress.errors import CompressError

TRIES, PAUSE_S = 3, 5.0
_WORTH_A_RETRY = ("Mirror sync in progress", "File has unexpected size", "Hash Sum mismatch", "Temporary failure")


def fetch_packages(
    packages: Sequence[str], folder: Path, *, architecture: str | None = None, only: Sequence[str] = ()
) -> None:
    """Unpack packages into folder; with an architecture, they and all they depend on, from a private apt state.

    only: patterns of tar; nothing else of the packages is kept.

    Raises:
        CompressError: apt is not here, or cannot bring them.
    """
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        what = f"{', '.join(packages)} must be fetched, and there is no apt-get here"
        raise CompressError(what, "emulation", "use Debian or Ubuntu, or install qemu-user-static by hand")
    partial = folder.with_name(folder.name + ".new")
    shutil.rmtree(partial, ignore_errors=True)
    debs = partial.with_name(partial.name + ".debs")
    shutil.rmtree(debs, ignore_errors=True)
    debs.mkdir(parents=True)
    partial.mkdir(parents=True)
    try:
        if architecture is None:
            _apt(["download", *packages], debs)
        else:
            _with_dependencies(packages, architecture, debs)
        for deb in sorted(debs.rglob("*.deb")):
            _unpack(deb, partial, only)
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    finally:
        shutil.rmtree(debs, ignore_errors=True)
        shutil.rmtree(partial, ignore_errors=True)


def _with_dependencies(packages: Sequence[str], architecture: str, debs: Path) -> None:
    state, cache, status = debs / "state", debs / "cache", debs / "status"
    (state / "lists" / "partial").mkdir(parents=True)
    (cache / "archives" / "partial").mkdir(parents=True)
    status.write_text("")
    options = [f"APT::Architecture={architecture}", f"APT::Architectures={architecture}", f"Dir::State={state}",
               f"Dir::State::status={status}", f"Dir::Cache={cache}", "Dpkg::Use-Pty=0", "Acquire::Languages=none",
               "Debug::NoLocking=1"]  # fmt: skip
    flags = [part for option in options for part in ("-o", option)]
    try:
        _apt([*flags, "update"], debs)
    except CompressError as error:  # one list of several may stay broken for hours; the others may do
        update: CompressError | None = error
    else:
        update = None
    try:
        _apt([*flags, "-y", "--no-install-recommends", "--download-only", "install", *packages], debs)
    except CompressError as error:
        raise (update or error) from error


def _apt(arguments: Sequence[str], folder: Path) -> None:
    """apt-get, tried again while a mirror is being renewed."""
    for attempt in range(TRIES):
        command = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
        said = done.stdout + done.stderr
        failed = done.returncode != 0 or "Some index files failed to download" in said
        if not failed:
            return
        if attempt + 1 == TRIES or not any(sign in said for sign in _WORTH_A_RETRY):
            break
        time.sleep(PAUSE_S)
    lines = [line for line in said.splitlines() if line.startswith(("E:", "Err:", "W:"))] or [said.strip()[-300:]]
    raise CompressError(f"apt-get failed: {lines[-1]}", "emulation", "is there a network, and a package source?")


def _unpack(deb: Path, folder: Path, only: Sequence[str]) -> None:
    tar = ["tar", "-x", "-C", str(folder), "--no-same-owner"]
    command = [*tar, "--wildcards", *only] if only else tar
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as stream:  # noqa: S603, S607
        done = subprocess.run(command, stdin=stream.stdout, capture_output=True, text=True, check=False)  # noqa: S603
    if stream.returncode or done.returncode:
        what = f"{deb.name} cannot be unpacked: {done.stderr.strip()[-200:]}"
        raise CompressError(what, "emulation", "is the disk full?")
