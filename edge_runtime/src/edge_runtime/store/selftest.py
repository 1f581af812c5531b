"""A bundle's self-test on this device, in a process of its own.

An engine that meets a model it cannot run may die instead of raising: a missing CPU instruction, a bug, no memory.
That must end the test, not the process that updates.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_runtime.errors import EdgeError

if TYPE_CHECKING:
    from pathlib import Path


_FAULTS = tuple(getattr(signal, f"SIG{name}", None) for name in ("ILL", "ABRT", "BUS", "FPE", "SEGV", "TRAP", "SYS"))


@dataclass(frozen=True)
class Outcome:
    """reason: why the bundle failed, "" if it passed. lasting: it would fail again, so it is known to be bad."""

    reason: str = ""
    lasting: bool = False


def self_test(bundle: Path, *, engine: str | None, timeout_s: float) -> Outcome:
    """Run `check` on an installed bundle. A missing engine or a slow machine is not held against it for good."""
    command = [sys.executable, "-m", "edge_runtime", "check", str(bundle), "--json"]
    command += ["--engine", engine] if engine else []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    try:
        done = subprocess.run(  # noqa: S603
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return Outcome(f"the self-test took longer than {timeout_s:g} s")
    except OSError:  # no Python program to start: a frozen app, an emulator without binfmt
        return _in_this_process(bundle, engine)
    if done.returncode == 0:
        return Outcome()
    if -done.returncode in _FAULTS:
        return Outcome(f"the engine died in the self-test (signal {-done.returncode})", lasting=True)
    if done.returncode < 0:  # by whoever stops the service, or by the kernel where memory is short for a while
        return Outcome(f"the self-test was stopped (signal {-done.returncode})")
    try:
        models = json.loads(done.stdout)["models"]
        failed = [f"{k}: {m['message']}" for k, m in models.items() if m["ok"] is False]
        return Outcome("; ".join(failed), lasting=True)
    except (ValueError, KeyError, TypeError):
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return Outcome((lines[0] if lines else f"the self-test exited with {done.returncode}")[:300])


def _in_this_process(bundle: Path, engine: str | None) -> Outcome:
    from edge_runtime.model import load

    try:
        with load(bundle, engine=engine) as model:
            report = model.check()
    except EdgeError as error:
        return Outcome(error.what)
    return Outcome("" if report.ok else report.message, lasting=not report.ok)
