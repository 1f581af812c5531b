"""Which energy meters this machine has and lets us read, best first. Finds them; reading them is another matter."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from compress.benchmark.host import ROOT, read_text


@dataclass(frozen=True, slots=True)
class Meter:
    """kind: of interface. scope: what it measures. path: the file or tool. readable: by this user."""

    kind: str
    scope: str
    path: str
    readable: bool


def find_meters(root: Path = ROOT) -> tuple[Meter, ...]:
    """Energy counters first, then power readings that must be sampled, then the battery's own estimate.

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
            pairs = sorted(f for f in folder.glob("curr*_input") if (folder / f.name.replace("curr", "in")).exists())
            found += [_meter("INA3221", _label(folder / f.name.replace("curr", "in")), f) for f in pairs]
        powers = sorted([*folder.glob("power*_input"), *folder.glob("power*_average")])
        found += [_meter("hwmon power", _label(f), f) for f in powers]
    tool = shutil.which("vcgencmd") if root == ROOT else None
    if tool and "Raspberry Pi 5" in (read_text(root / "proc/device-tree/model") or ""):
        found.append(Meter("Pi 5 PMIC", "board without USB", tool, True))
    for folder in sorted((root / "sys/class/power_supply").glob("*")):
        if read_text(folder / "type") == "Battery":
            wanted = folder / "power_now"
            wanted = wanted if wanted.exists() else folder / "current_now"
            if wanted.exists():
                found.append(_meter("battery", f"whole device, {folder.name}", wanted))
    return tuple(found)


def _meter(kind: str, scope: str, path: Path) -> Meter:
    return Meter(kind, scope, str(path), os.access(path, os.R_OK))


def _label(path: Path) -> str:
    """The sensor's own label, or its chip's name and its file's: power1_input of ina226."""
    stem = path.name.rsplit("_", 1)[0]
    return read_text(path.with_name(f"{stem}_label")) or f"{read_text(path.parent / 'name') or 'unnamed'} {stem}"
