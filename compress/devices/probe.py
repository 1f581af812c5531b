"""What a device is and has, read there by the very code that reads it here."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime import edge_host, edge_meters, errors

from compress.devices.schema import Device

ENGINES = {"onnx": ("onnxruntime", "onnxruntime-gpu"), "tflite": ("ai-edge-litert", "tflite-runtime")}
_MODULES = {m.__name__: Path(str(m.__file__)).read_text() for m in (errors, edge_host, edge_meters)}
_METERS = """
import dataclasses
from edge_runtime.edge_meters import find_meters
def found():
    return [dataclasses.asdict(meter) for meter in find_meters()]
"""
PROBE_REQUEST: dict[str, Any] = {
    "modules": {**_MODULES, "compress.devices.probed": _METERS},
    "facts": {"host": ("edge_runtime.edge_host", "host_facts"), "meters": ("compress.devices.probed", "found")},
}


@dataclass(frozen=True, slots=True)
class Probe:
    """host: as edge_runtime.edge_host.host_facts. meters: kind, scope, path, readable. held: who measures there now.

    sites: unpacked wheels on the device. emulated: an emulator was seen, or devices.yaml says so.
    """

    name: str
    python: str
    machine: str
    bits: int
    libc: str
    boot_id: str
    emulated: bool
    free_bytes: int | None
    held: Mapping[str, Any] | None
    sites: tuple[str, ...]
    host: Mapping[str, Any]
    meters: tuple[Mapping[str, Any], ...]

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any], device: Device) -> "Probe":
        """From the agent's answer."""
        return cls(
            name=device.name,
            python=facts["python"],
            machine=facts["machine"],
            bits=facts["bits"],
            libc=facts["libc"],
            boot_id=facts["boot_id"],
            emulated=bool(facts["emulated"] or device.emulated),
            free_bytes=facts["free_bytes"],
            held=facts["held"],
            sites=tuple(facts["sites"]),
            host=facts["host"],
            meters=tuple(facts["meters"]),
        )

    @property
    def platform(self) -> str:
        """The machine as wheels name it: a 32-bit Python on a 64-bit kernel takes 32-bit wheels."""
        return "armv7l" if self.bits == 32 and self.machine in ("aarch64", "armv8l") else self.machine

    def engines(self) -> dict[str, str]:
        """format -> "name version" of the engine that would run it there."""
        packages, out = self.host["packages"], {}
        for form, names in ENGINES.items():
            if name := next((n for n in names if n in packages), None):
                out[form] = f"{name} {packages[name]}"
        return out
