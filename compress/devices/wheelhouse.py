"""Wheels for a device that has no internet: found for its machine and Python here, pushed, and unpacked there.

Nothing is installed into the device's own Python: the wheels lie in a folder that only our jobs have on their path.
"""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from compress.devices.connection import Connection
from compress.devices.probe import ENGINES, Probe
from compress.devices.session import Output
from compress.errors import DeviceError

_OLDEST_GLIBC_MINOR = 17
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


def requirements(probe: Probe, formats: Sequence[str] = tuple(ENGINES)) -> list[str]:
    """What a bundle needs there besides Python. On 32-bit ARM there is one engine and no numpy wheel."""
    if probe.platform == "armv7l":
        return ["tflite-runtime>=2.14"]
    return ["numpy", *(ENGINES[form][0] for form in formats)]


def device_tags(probe: Probe) -> list[Tag]:
    """The wheel tags that the device's Python takes, best first.

    Raises:
        DeviceError: its C library is not glibc, for which alone the engines have wheels.
    """
    where = f"device {probe.name}"
    match = re.fullmatch(r"glibc 2\.(\d+)", probe.libc)
    if match is None:
        what = f"its C library is {probe.libc or 'not glibc'}; the engines have wheels for glibc alone"
        raise DeviceError(what, where, "use a system with glibc, such as Raspberry Pi OS or Debian")
    arch, platforms = probe.platform, []
    for minor in range(int(match[1]), _OLDEST_GLIBC_MINOR - 1, -1):
        platforms += [f"manylinux_2_{minor}_{arch}"] + ([f"{_LEGACY[minor]}_{arch}"] if minor in _LEGACY else [])
    platforms.append(f"linux_{arch}")
    version = tuple(int(p) for p in probe.python.split(".")[:2])
    interpreter = f"cp{version[0]}{version[1]}"
    return [*cpython_tags(version, platforms=platforms), *compatible_tags(version, interpreter, platforms)]


def check_wheels(files: Sequence[Path], probe: Probe) -> None:
    """Every wheel must fit the device.

    Raises:
        DeviceError: naming those that do not, and what the device is.
    """
    tags, wrong = set(device_tags(probe)), []
    for file in files:
        try:
            *_, found = parse_wheel_filename(file.name)
        except InvalidWheelFilename:
            wrong.append(f"{file.name} is no wheel's name")
            continue
        if not tags & found:
            wrong.append(f"{file.name} is for {', '.join(sorted({f'{t.interpreter} {t.platform}' for t in found}))}")
    if wrong:
        machine = f"{probe.platform}, Python {probe.python}, {probe.libc}"
        what = f"wheels that do not fit it ({machine}): " + "; ".join(wrong)
        fix = f"`compress devices prepare {probe.name}` without `wheelhouse` fetches the right ones"
        raise DeviceError(what, f"device {probe.name}", fix)


def download(probe: Probe, wanted: Sequence[str], folder: Path) -> list[Path]:
    """Wheels of `wanted` and what they need, for the device, by pip of this Python.

    Raises:
        DeviceError: pip finds no such wheels, or is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.whl"):
        old.unlink()
    python = "".join(probe.python.split(".")[:2])
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input",
               "--only-binary=:all:", "--dest", str(folder), "--implementation", "cp",
               "--python-version", ".".join(probe.python.split(".")[:2]),
               "--abi", f"cp{python}", "--abi", "abi3", "--abi", "none"]  # fmt: skip
    for platform in dict.fromkeys(t.platform for t in device_tags(probe) if t.platform != "any"):
        command += ["--platform", platform]
    if probe.platform == "armv7l":
        command.append("--no-deps")  # its numpy is the system's
    done = subprocess.run([*command, *wanted], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr.strip()[-300:]]
        what = f"pip found no wheels for {probe.platform} and Python {probe.python}: {lines[-1]}"
        fix = (
            "is there a network here? is that Python too new for the engine? or fill a folder and name it: wheelhouse:"
        )
        raise DeviceError(what, f"device {probe.name}", fix)
    return sorted(folder.glob("*.whl"))


def prepare(
    connection: Connection, write: Output, formats: Sequence[str] = tuple(ENGINES), extra: Sequence[str] = ()
) -> Probe:
    """Give a device what bundles need; its facts afterwards.

    Raises:
        DeviceError: it cannot be reached or filled, or the wheels do not fit it.
    """
    device, probe = connection.device, connection.probe()
    if probe.platform == "armv7l" and not probe.host["packages"].get("numpy", "").startswith("1."):
        what = "32-bit ARM: numpy below 2 must come from the system, there are no wheels"
        raise DeviceError(what, f"device {device.name}", "`sudo apt install python3-numpy` on the device")
    if device.wheelhouse:
        folder = device.local_path(device.wheelhouse)
        files = sorted(folder.glob("*.whl"))
        if not files:
            what = f"wheelhouse {folder} holds no wheels"
            raise DeviceError(what, f"device {device.name}", "fill it, or leave the key out")
    else:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "compress" / "wheels"
        folder = cache / f"{probe.platform}-py{probe.python.rpartition('.')[0]}"
        wanted = [*requirements(probe, formats), *extra]
        write(f"fetching {', '.join(wanted)} for {probe.platform}, Python {probe.python}\n")
        files = download(probe, wanted, folder)
    check_wheels(files, probe)
    site = "site-" + _digest(files)
    if site in probe.sites:
        write(f"{len(files)} wheels are there already\n")
        return probe
    size = sum(f.stat().st_size for f in files)
    if probe.free_bytes is not None and probe.free_bytes < 4 * size:  # the wheels, and what they unpack to
        what = f"{probe.free_bytes / 1e6:.0f} MB free, the engines need about {4 * size / 1e6:.0f}"
        raise DeviceError(
            what, f"device {device.name}", "make room, or workdir: on another disk, or one --engine alone"
        )
    write(f"pushing {len(files)} wheels, {size / 1e6:.1f} MB\n")
    connection.install({f.name: f for f in files}, site)
    return connection.probe()


def require_engine(probe: Probe, formats: Sequence[str]) -> None:
    """At least one of a bundle's formats must have its engine there.

    Raises:
        DeviceError: naming what lacks and the command that brings it.
    """
    packages: Mapping[str, str] = probe.host["packages"]
    engines = probe.engines()
    if "numpy" in packages and any(form in engines for form in formats):
        return
    lacks = [] if "numpy" in packages else ["numpy"]
    if not any(form in engines for form in formats):
        lacks.append("an engine for " + " or ".join(formats))
    fix = f"`compress devices prepare {probe.name}` brings them, or pip install edge-runtime with its engine there"
    raise DeviceError(f"its Python has no {' and no '.join(lacks)}", f"device {probe.name}", fix)


def _digest(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:12]
