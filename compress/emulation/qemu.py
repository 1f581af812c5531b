"""qemu's user mode: found on this machine, or fetched by apt into the cache."""

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from compress.emulation.apt import fetch_packages
from compress.emulation.cpus import QEMU_NAMES
from compress.errors import CompressError

OLDEST = (7, 2)  # the first whose x86 emulation has AVX2


def cache_folder() -> Path:
    """Where emulators and systems are kept; it may be deleted at any time."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "compress" / "emulation"


def find_qemu(machine: str) -> Path:
    """The static emulator for programs of a machine (x86_64, aarch64, armv7l).

    Raises:
        CompressError: there is none that is new enough, and apt cannot bring one.
    """
    name = f"qemu-{QEMU_NAMES[machine]}-static"
    found = shutil.which(name)
    path = Path(found) if found else cache_folder() / "qemu" / "usr" / "bin" / name
    if not path.exists():
        if platform.system() != "Linux":
            what = f"emulation needs Linux, this is {platform.system()}"
            raise CompressError(what, "emulation", "run it on a Linux machine, or measure on the device itself")
        fetch_packages(["qemu-user-static"], cache_folder() / "qemu", only=["./usr/bin/qemu-*-static"])
    version = _version(path)
    if version < OLDEST:
        what = f"{path} is version {'.'.join(map(str, version))}; want {'.'.join(map(str, OLDEST))} or newer, with AVX2"
        raise CompressError(what, "emulation", "install a newer qemu-user-static")
    return path


def _version(path: Path) -> tuple[int, ...]:
    done = subprocess.run([str(path), "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    match = re.search(r"version (\d+)\.(\d+)", done.stdout)
    return (int(match[1]), int(match[2])) if match else (0, 0)
