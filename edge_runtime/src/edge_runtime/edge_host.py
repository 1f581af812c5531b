"""Facts of this machine that decide what a timing is worth. Standard library only; every reader takes the root folder.

Nothing here raises: what cannot be read is None, and says so in the report.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path("/")
ENGINES = ("onnxruntime", "onnxruntime-gpu", "ai-edge-litert", "tflite-runtime")
PACKAGES = ("numpy", *ENGINES, "onnx", "torch", "edge-runtime")

# Kernel's flag -> our name. Only what changes the choice or the speed of an integer or float kernel.
X86_FLAGS = {
    "sse4_2": "sse4_2",
    "fma": "fma",
    "f16c": "f16c",
    "avx2": "avx2",
    "avx512f": "avx512f",
    "avx512_vnni": "avx512_vnni",
    "avx_vnni": "avx_vnni",
    "amx_int8": "amx_int8",
}
ARM_FLAGS = {
    "neon": "neon",
    "asimd": "neon",
    "asimddp": "dotprod",
    "asimdhp": "fp16",
    "i8mm": "i8mm",
    "bf16": "bf16",
    "sve": "sve",
}
# Arm's "CPU part" of implementer 0x41: /proc/cpuinfo on ARM carries no model name.
ARM_PARTS = {
    0xC07: "Cortex-A7",
    0xD03: "Cortex-A53",
    0xD04: "Cortex-A35",
    0xD05: "Cortex-A55",
    0xD07: "Cortex-A57",
    0xD08: "Cortex-A72",
    0xD0A: "Cortex-A75",
    0xD0B: "Cortex-A76",
    0xD0C: "Neoverse-N1",
    0xD40: "Neoverse-V1",
    0xD42: "Cortex-A78AE",
    0xD49: "Neoverse-N2",
    0xD4F: "Neoverse-V2",
}
# Bits of `vcgencmd get_throttled` on a Raspberry Pi; the same 16 higher mean "since boot".
THROTTLE_BITS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}


def host_facts(root: Path = ROOT) -> dict[str, Any]:
    """What this machine is and the state it is in, as plain JSON data.

    cpu_features: sorted names such as avx2, avx512_vnni, dotprod. cores: how many this process may use.
    frequency_mhz, temperature_c, load_1min, memory_available_bytes, throttled_now: at this moment.
    packages: installed versions, found without importing anything. virtual: hints that this is no bare machine.
    """
    model, features = cpu_model(root), sorted(cpu_features(root))
    cpu0 = root / "sys/devices/system/cpu/cpu0/cpufreq"
    memory, bits = _memory(root), throttle_bits(root)
    current, maximum = _number(cpu0 / "scaling_cur_freq", 1e-3), _number(cpu0 / "cpuinfo_max_freq", 1e-3)
    return {
        "cpu": model,
        "machine": platform.machine(),
        "board": read_text(root / "proc/device-tree/model"),
        "cpu_features": features,
        "cores": len(usable_cores()),
        "cores_online": os.cpu_count(),
        "cpu_quota_cores": _quota(root),
        "governor": read_text(cpu0 / "scaling_governor"),
        "frequency_mhz": current if current is not None else _cpuinfo_mhz(root),
        "frequency_max_mhz": maximum,
        "temperature_c": temperature_c(root),
        "throttled_now": throttle_names(bits),
        "throttled_since_boot": throttle_names(bits, since_boot=True),
        "load_1min": load_1min(root),
        "memory_total_bytes": memory.get("MemTotal"),
        "memory_available_bytes": memory.get("MemAvailable"),
        "system": _os_name(root),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: v for name in PACKAGES if (v := package_version(name)) is not None},
        "virtual": virtual_hints(root),
    }


def package_version(name: str) -> str | None:
    """Installed version of a distribution, without importing it; None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def cpu_model(root: Path = ROOT) -> str:
    """The CPU's name; on ARM from its part numbers, e.g. "4 x Cortex-A72"."""
    info = read_text(root / "proc/cpuinfo") or ""
    if names := re.findall(r"^model name\s*:\s*(.+)$", info, re.M):
        return str(names[0]).strip()
    numbers = re.findall(r"^CPU part\s*:\s*(0x[0-9a-f]+)", info, re.M)
    parts = [ARM_PARTS.get(int(n, 16), f"ARM part {n}") for n in numbers]
    if parts:
        return " + ".join(f"{parts.count(name)} x {name}" for name in dict.fromkeys(parts))
    return platform.processor() or platform.machine() or "unknown"


def cpu_features(root: Path = ROOT) -> frozenset[str]:
    """Which instructions that matter here every core has, by our names (values of X86_FLAGS and ARM_FLAGS)."""
    info = read_text(root / "proc/cpuinfo") or ""
    cores = []
    for key, table in (("flags", X86_FLAGS), ("Features", ARM_FLAGS)):
        for line in re.findall(rf"^{key}\s*:\s*(.*)$", info, re.M):
            cores.append({table[flag] for flag in line.split() if flag in table})
    return frozenset(set.intersection(*cores)) if cores else frozenset()


def usable_cores() -> tuple[int, ...]:
    """Core numbers this process may run on; all of them where the system cannot say."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def choose_cores(threads: int, root: Path = ROOT, usable: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """The best `threads` cores to pin to, or fewer where fewer exist.

    Fast ones first, then one hardware thread a core before a second one, then high numbers: most interrupts land on 0.
    """
    seen: dict[str, int] = {}
    ranked = []
    for core in sorted(usable_cores() if usable is None else usable, reverse=True):
        folder = root / f"sys/devices/system/cpu/cpu{core}"
        capacity = _number(folder / "cpu_capacity") or _number(folder / "cpufreq/cpuinfo_max_freq") or 0.0
        siblings = read_text(folder / "topology/thread_siblings_list") or str(core)
        seen[siblings] = seen.get(siblings, 0) + 1
        ranked.append((-capacity, seen[siblings], -core))
    return tuple(sorted(-core for *_, core in sorted(ranked)[:threads]))


def load_1min(root: Path = ROOT) -> float | None:
    """Average number of processes that wanted to run in the last minute."""
    text = read_text(root / "proc/loadavg")
    return float(text.split()[0]) if text else None


def busy_seconds(cores: Sequence[int] = (), root: Path = ROOT) -> float | None:
    """Seconds of work that these cores (all of them if none is named) have done since the start of the machine.

    Everything in /proc/stat but idle and iowait; guests are in user already. None where the kernel does not tell.
    """
    names = {f"cpu{core}" for core in cores} or {"cpu"}
    found = []
    for line in (read_text(root / "proc/stat") or "").splitlines():
        name, *fields = line.split()
        if name in names and len(fields) >= 8:
            user, nice, system, _idle, _iowait, irq, softirq, steal = (int(f) for f in fields[:8])
            found.append(user + nice + system + irq + softirq + steal)
    return sum(found) / os.sysconf("SC_CLK_TCK") if len(found) == len(names) else None


@dataclass(frozen=True)
class Moment:
    """The machine at one moment, for comparison with another. None where it does not tell.

    wall_s jumps when the clock is set, monotonic_s never does but stops in sleep, boottime_s does neither.
    throttled: bits of a Raspberry Pi, now and since boot. throttle_count: of an x86 CPU since boot.
    """

    wall_s: float
    monotonic_s: float
    boottime_s: float
    busy_s: float | None
    frequency_mhz: float | None
    temperature_c: float | None
    load_1min: float | None
    throttled: int | None
    throttle_count: int | None


def moment(cores: Sequence[int], root: Path = ROOT) -> Moment:
    """Read it now; busy_s and frequency_mhz are those of the cores to be timed on."""
    monotonic = time.monotonic()
    boottime = time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else monotonic
    folders = [root / f"sys/devices/system/cpu/cpu{core}/cpufreq" for core in cores]
    speeds = [mhz for f in folders if (mhz := _number(f / "scaling_cur_freq", 1e-3)) is not None]
    return Moment(
        wall_s=time.time(),
        monotonic_s=monotonic,
        boottime_s=boottime,
        busy_s=busy_seconds(cores, root),
        frequency_mhz=min(speeds) if speeds else _cpuinfo_mhz(root),
        temperature_c=temperature_c(root),
        load_1min=load_1min(root),
        throttled=throttle_bits(root),
        throttle_count=throttle_count(root),
    )


def temperature_c(root: Path = ROOT) -> float | None:
    """The hottest thermal zone or CPU sensor, in degrees Celsius."""
    files = [*(root / "sys/class/thermal").glob("thermal_zone*/temp")]
    for name in (root / "sys/class/hwmon").glob("hwmon*/name"):
        if read_text(name) in ("coretemp", "k10temp", "cpu_thermal", "zenpower"):
            files += name.parent.glob("temp*_input")
    found = [t for f in files if (t := _number(f, 1e-3)) is not None and -40 < t < 150]
    return max(found) if found else None


def throttle_count(root: Path = ROOT) -> int | None:
    """How often cores were slowed down for heat since boot (x86); None where the kernel does not count."""
    cpu = root / "sys/devices/system/cpu"
    found = [_number(f) for f in cpu.glob("cpu[0-9]*/thermal_throttle/core_throttle_count")]
    return int(sum(n for n in found if n is not None)) if found else None


def throttle_bits(root: Path = ROOT) -> int | None:
    """What `vcgencmd get_throttled` says on a Raspberry Pi: bits 0-3 now, 16-19 since boot. None on other machines."""
    tool = shutil.which("vcgencmd") if root == ROOT else None
    if tool is None:
        return None
    try:
        done = subprocess.run([tool, "get_throttled"], capture_output=True, text=True, timeout=2, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_throttled(done.stdout)


def parse_throttled(text: str) -> int | None:
    """The number in vcgencmd's answer.

    >>> hex(parse_throttled("throttled=0x50005"))
    '0x50005'
    """
    match = re.search(r"throttled=(0x[0-9a-fA-F]+)", text)
    return int(match[1], 16) if match else None


def throttle_names(bits: int | None, *, since_boot: bool = False) -> list[str] | None:
    """Bits in words: those of this moment, or those since boot.

    >>> throttle_names(0x50005), throttle_names(0x20000, since_boot=True)
    (['under-voltage', 'throttled'], ['frequency capped'])
    """
    if bits is None:
        return None
    return [name for bit, name in THROTTLE_BITS.items() if bits >> (bit + 16 * since_boot) & 1]


def virtual_hints(root: Path = ROOT) -> list[str]:
    """Signs that neighbours may disturb a timing: "virtual machine", "container", "WSL"."""
    hints = []
    if re.search(r"^flags\s*:.*\bhypervisor\b", read_text(root / "proc/cpuinfo") or "", re.M):
        hints.append("virtual machine")
    groups = read_text(root / "proc/1/cgroup") or ""
    marks = (root / ".dockerenv", root / "run/.containerenv")
    if any(m.exists() for m in marks) or re.search(r"docker|kubepods|containerd|lxc", groups):
        hints.append("container")
    if "microsoft" in (read_text(root / "proc/sys/kernel/osrelease") or "").lower():
        hints.append("WSL")
    return hints


def _quota(root: Path) -> float | None:
    """CPU time a control group may use, in cores; None without a limit."""
    words = (read_text(root / "sys/fs/cgroup/cpu.max") or "max").split()
    return int(words[0]) / int(words[1]) if len(words) == 2 and words[0].isdigit() else None


def _memory(root: Path) -> dict[str, int]:
    found = re.findall(r"^(\w+):\s+(\d+) kB$", read_text(root / "proc/meminfo") or "", re.M)
    return {name: int(kib) * 1024 for name, kib in found}


def _cpuinfo_mhz(root: Path) -> float | None:
    found = re.findall(r"^cpu MHz\s*:\s*([\d.]+)$", read_text(root / "proc/cpuinfo") or "", re.M)
    return max(map(float, found)) if found else None


def _os_name(root: Path) -> str:
    match = re.search(r'^PRETTY_NAME="?([^"\n]+)"?$', read_text(root / "etc/os-release") or "", re.M)
    return match[1] if match else platform.system()


def read_text(path: Path) -> str | None:
    """A small text file's content without the end's blanks and NULs; None where it cannot be read."""
    try:
        return path.read_text(errors="replace").strip().strip("\0")
    except OSError:
        return None


def _number(path: Path, factor: float = 1.0) -> float | None:
    text = read_text(path)
    try:
        return float(text) * factor if text else None
    except ValueError:
        return None
