"""What a device is."""

from __future__ import annotations
import __future__

import os
import platform
import subprocess
import sys
import time
import types
from typing import Any

from compress.devices.agent.place import Place, boot_id, free_bytes, take_lock
from compress.devices.agent.wire import Refused, Wire


def probe(wire: Wire, request: dict[str, Any]) -> None:
    """What this device is. `modules`: sources of ours that read such facts, run here so that there is one reader."""

    place, flags = Place(request), __future__.annotations.compiler_flag
    sys.path[:0] = [str(p) for p in sorted(place.root.glob("site-*"))]
    facts = {"python": platform.python_version(), "machine": os.uname().machine, "boot_id": boot_id(),
             "executable": sys.executable, "emulated": is_emulated(), "held": None, "wall_s": time.time(),
             "free_bytes": free_bytes(place.root), "bits": 64 if sys.maxsize > 1 << 32 else 32,
             "libc": _libc(), "sites": sorted(p.name for p in place.root.glob("site-*"))}  # fmt: skip
    for name, source in request.get("modules", {}).items():
        module = types.ModuleType(name)
        parent = ""
        for part in name.split(".")[:-1]:
            parent = parent + "." + part if parent else part
            sys.modules.setdefault(parent, types.ModuleType(parent))
        sys.modules[name] = module
        exec(compile(source, name, "exec", flags=flags), module.__dict__)  # noqa: S102 - our own source, sent by us
    for key, (name, function) in request.get("facts", {}).items():
        facts[key] = getattr(sys.modules[name], function)()
    try:
        os.close(take_lock())
    except Refused as refused:
        facts["held"] = refused.facts["holder"]
    wire.send(b"J", facts)


def _libc() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, ValueError, OSError):
        return ""


def is_emulated() -> bool:
    """Whether this process runs in qemu's user mode: another process sees the emulator as our program."""
    try:
        code = "import os; print(os.readlink(f'/proc/{os.getppid()}/exe'))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)  # noqa: S603 - ourselves
        return os.path.basename(done.stdout.strip()).startswith("qemu-")
    except (OSError, subprocess.SubprocessError):
        return False
