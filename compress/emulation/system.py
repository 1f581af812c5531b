"""An ARM system in a folder: Debian's Python and the real ARM wheels of numpy and the engines. Built once, then cached.

Nothing of it is installed or run as root; about 250 MB and less than a minute for aarch64.
"""

import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from compress.emulation.apt import fetch_packages
from compress.emulation.cpus import Cpu, cpuinfo
from compress.emulation.qemu import cache_folder
from compress.errors import CompressError

VERSION = 2  # of what a system holds; raised when the lists below change
SITE = "opt/site"  # where the wheels lie
_BASE = ("python3-minimal", "libpython3-stdlib", "libstdc++6", "libgomp1", "dash", "coreutils", "procps")
_DEBIAN = {"aarch64": "arm64", "armv7l": "armhf"}
_PACKAGES = {"aarch64": _BASE, "armv7l": (*_BASE, "python3-numpy", "libatomic1")}
# 32-bit ARM: one engine, and numpy is Debian's: neither has wheels elsewhere.
_WHEELS = {"aarch64": ("numpy", "onnxruntime", "ai-edge-litert"), "armv7l": ("tflite-runtime",)}
_GLIBC_MINORS = range(36, 16, -1)
_TRIM = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/i18n", "usr/share/zoneinfo",
         "usr/share/info", "usr/share/perl", "usr/share/perl5", "usr/share/bash-completion", "usr/share/lintian",
         "var/cache")  # fmt: skip
_TRIM_PATTERNS = ("usr/lib/*/gconv", "usr/lib/*/perl*", "usr/lib/python3*/test", f"{SITE}/**/__pycache__",
                  f"{SITE}/numpy/**/tests", f"{SITE}/onnxruntime/transformers", f"{SITE}/onnxruntime/tools",
                  "usr/lib/python3/dist-packages/numpy/**/tests", f"{SITE}/ml_dtypes", f"{SITE}/bin")  # fmt: skip


def arm_system(machine: str) -> Path:
    """The root folder of the system for aarch64 or armv7l, built if it is not there.

    Raises:
        CompressError: apt or pip cannot bring what it is made of.
    """
    folder = cache_folder() / f"{machine}-{VERSION}"
    with _one_builder(folder):
        if not (folder / "built.json").exists():
            _build(machine, folder)
    return folder


@contextmanager
def _one_builder(folder: Path) -> Iterator[None]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(machine: str, folder: Path) -> None:
    started = time.monotonic()
    fetch_packages(_PACKAGES[machine], folder, architecture=_DEBIAN[machine])
    for library in ("blas", "lapack"):  # what Debian's alternatives would have linked
        for path in folder.glob(f"usr/lib/*/{library}/lib{library}.so.3"):
            path.parent.parent.joinpath(path.name).symlink_to(f"{library}/{path.name}")
    fetched = time.monotonic()
    install_wheels(machine, folder, SITE, _WHEELS[machine])
    if machine == "aarch64":  # for text; what it asks for serves its downloads, which nobody here makes
        install_wheels(machine, folder, SITE, ["tokenizers"], alone=True)
    for name in _TRIM:
        shutil.rmtree(folder / name, ignore_errors=True)
    for pattern in _TRIM_PATTERNS:
        for path in list(folder.glob(pattern)):
            shutil.rmtree(path, ignore_errors=True)
    for name in ("proc", "sys", "dev", "tmp", "root", "run", "opt"):
        (folder / name).mkdir(exist_ok=True)
    facts = {"machine": machine, "python": python_of(folder).name, "wheels": wheel_versions(folder / SITE),
             "packages_s": round(fetched - started, 1), "wheels_s": round(time.monotonic() - fetched, 1),
             "size_bytes": folder_bytes(folder)}  # fmt: skip
    (folder / "built.json").write_text(json.dumps(facts, indent=1) + "\n")


def install_wheels(machine: str, folder: Path, site: str, packages: Sequence[str], alone: bool = False) -> None:
    """Wheels of packages, and unless `alone` of what they need, for the system in a folder, into its folder `site`.

    Raises:
        CompressError: pip finds none.
    """
    version = python_of(folder).name.removeprefix("python")
    tag = "cp" + version.replace(".", "")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input",
               "--no-compile", "--only-binary=:all:", "--target", str(folder / site), "--implementation", "cp",
               "--python-version", version, "--abi", tag, "--abi", "abi3", "--abi", "none"]  # fmt: skip
    for minor in _GLIBC_MINORS:
        command += ["--platform", f"manylinux_2_{minor}_{machine}"]
    command += ["--platform", f"manylinux2014_{machine}"]
    if alone or machine == "armv7l":  # there numpy is Debian's
        command.append("--no-deps")
    done = subprocess.run([*command, *packages], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        errors = [x for x in done.stderr.splitlines() if x.startswith("ERROR")] or [done.stderr.strip()[-300:]]
        raise CompressError(f"pip: {errors[0]}", f"emulated {machine}", "is there a network, and a package index?")


def python_of(folder: Path) -> Path:
    """The system's Python, the program itself."""
    return min(p for p in (folder / "usr/bin").glob("python3.*") if p.name.count(".") == 1 and "-" not in p.name)


def folder_bytes(folder: Path) -> int:
    """What all files of a folder take."""
    return sum(p.lstat().st_size for p in folder.rglob("*") if not p.is_dir())


def wheel_versions(site: Path) -> dict[str, str]:
    """Of the wheels in a folder."""
    found = (p.name.removesuffix(".dist-info").partition("-") for p in sorted(site.glob("*.dist-info")))
    return {name: version for name, _, version in found}


def built_facts(machine: str) -> dict[str, Any]:
    """What the build took and holds."""
    found: dict[str, Any] = json.loads((arm_system(machine) / "built.json").read_text())
    return found


def prefix_for(cpu: Cpu) -> Path:
    """A folder for qemu's -L: links into the system, and this CPU's own /proc/cpuinfo and list of cores."""
    system = arm_system(cpu.machine)
    prefix = system.with_name(f"{system.name}.{cpu.name}")
    with _one_builder(prefix):
        for entry in system.iterdir():
            link = prefix / entry.name
            if entry.name in ("proc", "sys", "dev", "tmp", "root", "run", "built.json") or link.is_symlink():
                continue
            prefix.mkdir(exist_ok=True)
            link.symlink_to(os.path.relpath(entry, prefix))
        write_cpu_files(cpu, prefix)
    return prefix


def write_cpu_files(cpu: Cpu, root: Path) -> None:
    """What an engine reads of the machine, so that it does not see the host's."""
    files = {"proc/cpuinfo": cpuinfo(cpu), "sys/devices/system/cpu/possible": "0-3\n",
             "sys/devices/system/cpu/present": "0-3\n"}  # fmt: skip
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def is_native(machine: str) -> bool:
    """Whether this host runs programs of a machine by itself."""
    return platform.machine() == machine
