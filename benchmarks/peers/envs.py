"""One virtual environment a tool, with every distribution pinned in envs/NAME.txt."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

PINS = Path(__file__).parent / "envs"
NAMES = tuple(sorted(p.stem for p in PINS.glob("*.txt")))
HOME = Path(os.environ.get("COMPRESS_PEERS") or Path.home() / ".cache" / "compress-peers")
_LIST = "import json, sys; from importlib.metadata import distributions as d; " \
        "json.dump({x.metadata['Name']: x.version for x in d()}, sys.stdout)"  # fmt: skip


class EnvironmentFailed(Exception):
    """pip could not make it; its last lines."""


def clean_environment() -> dict[str, str]:
    """For other Pythons: nothing of ours on their path, one thread, nothing fetched behind the user's back."""
    mine = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME")}
    return {**mine, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore",
            "OLIVE_DISABLE_TELEMETRY": "1", "NNCF_TELEMETRY_DISABLED": "1"}  # fmt: skip


def normal(name: str) -> str:
    """A distribution's name as packaging.python.org spells equal ones equally.

    >>> normal("Ruamel.yaml_clib")
    'ruamel-yaml-clib'
    """
    return name.lower().replace("_", "-").replace(".", "-")


def pins(name: str) -> dict[str, str]:
    """distribution -> version."""
    lines = [line.strip() for line in (PINS / f"{name}.txt").read_text().splitlines()]
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def wrong(wanted: dict[str, str], found: dict[str, str]) -> list[str]:
    """What an environment lacks or has in another version; local parts such as +cpu do not count."""
    have = {normal(k): v.partition("+")[0] for k, v in found.items()}
    return [f"{k} {have.get(normal(k), 'missing')}, not {v}" for k, v in wanted.items() if have.get(normal(k)) != v]


def installed(python: Path) -> dict[str, str]:
    done = subprocess.run([python, "-c", _LIST], capture_output=True, text=True, env=clean_environment(), check=False)
    found: dict[str, str] = json.loads(done.stdout) if done.returncode == 0 else {}
    return found


def ready(name: str, home: Path = HOME) -> Path:
    """The Python of an environment with exactly the pinned versions; built on the first call, mended on later ones.

    Raises:
        EnvironmentFailed: pip refused.
    """
    folder = home / name
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if python.exists() and not wrong(pins(name), installed(python)):
        return python
    print(f"building the environment {name} in {folder}", file=sys.stderr)
    if not python.exists():
        venv.create(folder, with_pip=True)
    # torch by its exact version and first: a plain `torch` would pull CUDA packages on Linux
    first = [f"torch=={pins(name)['torch']}"] if "torch" in pins(name) else []
    for what in ([first] if first else []) + [["--no-deps", "-r", str(PINS / f"{name}.txt")]]:
        command = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *what]
        done = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), check=False)
        if done.returncode:
            raise EnvironmentFailed("; ".join(done.stderr.strip().splitlines()[-3:]))
    if left := wrong(pins(name), installed(python)):
        raise EnvironmentFailed(f"pip left {', '.join(left)}")
    return python
