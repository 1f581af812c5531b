"""Energy meters: which this machine has, best first, and how each is read. Standard library only, any root folder.

A counter gives joules since some moment, a gauge watts at a moment. Formats: the kernel's hwmon and powercap
documentation; `vcgencmd pmic_read_adc` of the Raspberry Pi 5; NVML's nvmlDeviceGetTotalEnergyConsumption.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, List, Tuple

from edge_runtime.edge_host import ROOT, read_text
from edge_runtime.errors import EdgeError

COUNTER_HZ, GAUGE_HZ, PMIC_HZ, BATTERY_HZ = 10.0, 20.0, 10.0, 1.0
# Chips whose power readings are those of another part than the one that computes.
OTHER_PARTS = ("amdgpu", "nouveau", "nvme", "xe", "i915", "iwlwifi", "ucsi_source_psy", "BAT", "AC")
BOARD_INPUTS = ("VDD_IN", "POM_5V_IN")  # of a Jetson: what flows into the board; the other rails are parts of it
_RAIL = re.compile(r"^\s*(\S+?)_([AV])\s+(?:current|volt)\(\d+\)=(-?[\d.]+)[AV]\s*$")


Samples = List[Tuple[float, float]]  # when on time.monotonic's clock, and joules or watts


class MeterError(EdgeError):
    """A meter that cannot be read, or stopped."""


@dataclass(frozen=True)
class Meter:
    """kind: of interface. scope: what it measures. path: the file or tool. readable: by this user."""

    kind: str
    scope: str
    path: str
    readable: bool


@dataclass(frozen=True)
class Source:
    """A meter ready to be read. poll: what is new since it was last asked, joules so far ("J") or watts ("W").

    scope: everything that its figure contains. rate_hz: how often to poll. gap_s: silence after which it has stopped.
    """

    kind: str
    scope: str
    quantity: str
    rate_hz: float
    gap_s: float
    poll: Callable[[], Samples]


def find_meters(root: Path = ROOT) -> tuple[Meter, ...]:
    """Energy counters first, then power readings that must be sampled, then the battery's own estimate, then GPUs.

    Of RAPL only top zones count: the zones inside a package measure parts of it.
    """
    found = []
    hwmon = sorted((root / "sys/class/hwmon").glob("hwmon*"))
    for folder in hwmon:
        found += [_meter("hwmon energy", _label(f), f) for f in sorted(folder.glob("energy*_input"))]
    for zone in sorted((root / "sys/class/powercap").glob("*:*")):
        if zone.name.count(":") == 1 and (zone / "energy_uj").exists():
            found.append(_meter("RAPL", read_text(zone / "name") or zone.name, zone / "energy_uj"))
    for folder in hwmon:
        if read_text(folder / "name") == "ina3221":
            pairs = sorted(f for f in folder.glob("curr*_input") if _volts(f).exists())
            found += [_meter("INA3221", _label(_volts(f)), f) for f in pairs]
        powers = sorted([*folder.glob("power*_input"), *folder.glob("power*_average")])
        found += [_meter("hwmon power", _label(f), f) for f in powers]
    tool = shutil.which("vcgencmd") if root == ROOT else _planted(root / "usr/bin/vcgencmd")
    if tool and "Raspberry Pi 5" in (read_text(root / "proc/device-tree/model") or ""):
        found.append(Meter("Pi 5 PMIC", "board without USB", tool, True))
    for folder in sorted((root / "sys/class/power_supply").glob("*")):
        if read_text(folder / "type") == "Battery":
            wanted = folder / "power_now"
            wanted = wanted if wanted.exists() else folder / "current_now"
            if wanted.exists():
                found.append(_meter("battery", f"whole device, {folder.name}", wanted))
    if (root / "proc/driver/nvidia/version").exists():
        found.append(Meter("NVML", "GPU 0", "libnvidia-ml.so.1", True))
    return tuple(found)


def open_meter(wanted: str = "auto", root: Path = ROOT) -> Source | None:
    """The best meter of this machine, or the wanted kind; None if "none", or "auto" and there is none.

    wanted: auto, none, a kind such as "RAPL", "csv:FILE" (a log that an external meter writes), or "serial:TTY[@BAUD]"
    (one that sends lines). A GPU's meter is never chosen by itself: it does not see the CPU.

    Raises:
        MeterError: there is no such meter, or this user may not read it.
    """
    if wanted == "none":
        return None
    if wanted.partition(":")[0] in ("csv", "serial"):
        from edge_runtime.edge_logs import open_log

        return open_log(wanted)
    meters = find_meters(root)
    kinds = dict.fromkeys(m.kind for m in meters)
    if wanted != "auto":
        kind = next((k for k in kinds if k.lower() == wanted.lower()), None)
        if kind is None:
            have = ", ".join(kinds) or "none"
            what = f"there is no meter {wanted!r} here; found: {have}"
            raise MeterError(what, "energy", "give auto, none, one of those, csv:FILE or serial:TTY@BAUD")
        return _open(kind, _of_kind(kind, meters), root)
    for kind in (k for k in kinds if k != "NVML"):
        mine = _of_kind(kind, meters)
        if mine and all(m.readable for m in mine):
            return _open(kind, mine, root)
    return None


def why_none(root: Path = ROOT) -> str:
    """Why `auto` found no meter, and what would help."""
    closed = [m for m in find_meters(root) if not m.readable]
    if closed:
        return f"{closed[0].kind} {closed[0].scope} is there but not readable: sudo chmod a+r {closed[0].path}"
    return "this machine has no meter of its own; an external one can be read with csv:FILE or serial:TTY@BAUD"


def _of_kind(kind: str, meters: tuple[Meter, ...]) -> list[Meter]:
    """Those meters of a kind that may be added up: nothing counted twice, nothing that is another part's."""
    mine = [m for m in meters if m.kind == kind]
    if kind == "hwmon energy":
        mine = [m for m in mine if "socket" in m.scope.lower()] or mine[:1]
    elif kind == "RAPL":
        mine = [m for m in mine if m.scope == "psys"] or [m for m in mine if m.scope.startswith("package")] or mine[:1]
    elif kind == "INA3221":
        mine = [m for m in mine if m.scope in BOARD_INPUTS] or mine
    elif kind == "hwmon power":
        mine = [m for m in mine if not (_chip(m) or "").startswith(OTHER_PARTS)][:1]
    return mine[:1] if kind == "battery" else mine


def _open(kind: str, meters: list[Meter], root: Path) -> Source:
    if not meters:
        fix = "give auto, or an external meter: csv:FILE or serial:TTY@BAUD"
        raise MeterError(f"{kind} measures other parts of this machine only", "energy", fix)
    for m in meters:
        if not m.readable:
            raise MeterError(f"{kind} {m.scope} may not be read by this user", m.path, f"sudo chmod a+r {m.path}")
    scope = " + ".join(m.scope for m in meters)
    paths = [Path(m.path) for m in meters]
    quantity, rate_hz = "W", GAUGE_HZ
    read: Callable[[], float]
    if kind in ("hwmon energy", "RAPL"):
        counters = [Counter(p) for p in paths]
        quantity, rate_hz, read = "J", COUNTER_HZ, lambda: sum(c.joules() for c in counters)
    elif kind == "INA3221":
        read = lambda: sum(_int(_volts(p)) * _int(p) * 1e-6 for p in paths)  # noqa: E731 - mV x mA
    elif kind == "hwmon power":
        read = lambda: sum(_int(p) * 1e-6 for p in paths)  # noqa: E731
    elif kind == "Pi 5 PMIC":
        rate_hz, read = PMIC_HZ, lambda: pmic_watts(_ask(meters[0].path, "pmic_read_adc"))
    elif kind == "battery":
        rate_hz, read = BATTERY_HZ, lambda: battery_watts(paths[0].parent)
    else:
        quantity, rate_hz, read = "J", COUNTER_HZ, _nvml()
    read()  # what cannot be read now is told now
    return Source(kind, scope, quantity, rate_hz, max(1.0, 3 / rate_hz), lambda: [(time.monotonic(), read())])


class Counter:
    """A file with microjoules that grow, and begin again at zero beyond a RAPL zone's max_energy_range_uj."""

    def __init__(self, path: Path) -> None:
        self.path = path
        limit = read_text(path.with_name("max_energy_range_uj"))
        self._range = int(limit) if limit and limit.isdigit() else 0
        self._last, self._turns = _int(path), 0

    def joules(self) -> float:
        """Since the machine's own zero, wraps added; to be asked at least once a turn (a minute at 4 kW, for RAPL).

        Raises:
            MeterError: unreadable, or it fell without a range to wrap at.
        """
        now = _int(self.path)
        if now < self._last:
            if not self._range:
                raise MeterError("the counter went backwards", str(self.path), "use another meter")
            self._turns += 1
        self._last = now
        return (now + self._turns * self._range) * 1e-6


def pmic_watts(text: str) -> float:
    """Sum over the rails that `vcgencmd pmic_read_adc` gives both a current and a voltage of.

    >>> pmic_watts(" VDD_CORE_A current(7)=2.0A\\n VDD_CORE_V volt(15)=0.8V\\n EXT5V_V volt(24)=5.1V")
    1.6

    Raises:
        MeterError: there are none.
    """
    amps: dict[str, float] = {}
    volts: dict[str, float] = {}
    for line in text.splitlines():
        if match := _RAIL.match(line):
            (amps if match[2] == "A" else volts)[match[1]] = float(match[3])
    if not amps.keys() & volts.keys():
        raise MeterError(
            f"no rail in its answer: {text.strip()[:80]!r}", "vcgencmd pmic_read_adc", "update the firmware"
        )
    return sum(amps[rail] * volts[rail] for rail in amps if rail in volts)


def battery_watts(folder: Path) -> float:
    """What the battery gives; only while it gives.

    Raises:
        MeterError: it is charging or full, and then the wall socket feeds the device.
    """
    status = read_text(folder / "status") or "unknown"
    if status != "Discharging":
        raise MeterError(
            f"the battery is {status.lower()}: it does not feed the device", str(folder), "unplug the charger"
        )
    if (folder / "power_now").exists():
        return abs(_int(folder / "power_now")) * 1e-6
    return abs(_int(folder / "current_now")) * _int(folder / "voltage_now") * 1e-12


def _nvml() -> Callable[[], float]:
    """Joules of GPU 0 since the driver was loaded (Volta and later)."""
    fix = "install the NVIDIA driver; GPUs before Volta do not count their energy"
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError as error:
        raise MeterError(f"NVML cannot be loaded: {error}", "energy", fix) from error
    device = ctypes.c_void_p()
    if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)):
        raise MeterError("NVML finds no GPU", "energy", fix)

    def joules() -> float:
        millijoules = ctypes.c_ulonglong()
        if code := nvml.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(millijoules)):
            raise MeterError(f"NVML gives no energy (code {code})", "GPU 0", fix)
        return millijoules.value * 1e-3

    joules()
    return joules


def _ask(tool: str, *arguments: str) -> str:
    try:
        return subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=5, check=False).stdout  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MeterError(f"it does not answer: {error}", tool, "see whether it works by hand") from error


def _int(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError) as error:
        raise MeterError(f"the meter gives no number: {error}", str(path), "see whether it is still there") from error


def _meter(kind: str, scope: str, path: Path) -> Meter:
    return Meter(kind, scope, str(path), _readable(path))


def _readable(path: Path) -> bool:
    try:
        with path.open("rb") as f:  # os.access is not the whole story: the kernel may refuse the read itself
            return bool(f.read(1))
    except OSError:
        return False


def _planted(path: Path) -> str | None:
    return str(path) if path.exists() else None


def _volts(current: Path) -> Path:
    """in1_input beside curr1_input."""
    return current.with_name(current.name.replace("curr", "in"))


def _chip(meter: Meter) -> str | None:
    return read_text(Path(meter.path).parent / "name")


def _label(path: Path) -> str:
    """The sensor's own label, or its chip's name and its file's: power1_input of ina226."""
    stem = path.name.rsplit("_", 1)[0]
    return read_text(path.with_name(f"{stem}_label")) or f"{read_text(path.parent / 'name') or 'unnamed'} {stem}"
