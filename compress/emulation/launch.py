"""Run a Python script as on another CPU."""

import os
import platform
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import edge_runtime

from compress.emulation.cpus import Cpu
from compress.emulation.qemu import find_qemu
from compress.emulation.system import SITE, arm_system, is_native, prefix_for, python_of
from compress.errors import CompressError


def python_command(cpu: Cpu | None) -> tuple[list[str], dict[str, str]]:
    """The command that is `python` on a CPU, and the environment it needs; None is this machine itself.

    Raises:
        CompressError: the emulator or the system for it cannot be had.
    """
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "QEMU", "LD_"))}
    keep |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "ORT_DISABLE_TELEMETRY": "1"}
    ours = str(Path(edge_runtime.__file__).parents[1])
    if cpu is None or cpu.machine == "x86_64":  # the same programs, on other instructions
        here = [ours, sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
        environment = {**keep, "PYTHONPATH": os.pathsep.join(dict.fromkeys(here))}
        if cpu is not None and not is_native(cpu.machine):
            what = f"x86 CPUs are emulated on x86 machines only, with their own programs; this is {platform.machine()}"
            raise CompressError(what, "emulation", "run it on an x86 machine, or name ARM CPUs alone")
        python = str(Path(sys.executable).resolve())
        if cpu is None:
            return [python], environment
        return [str(find_qemu(cpu.machine)), "-cpu", cpu.model, python], environment
    prefix, system = prefix_for(cpu), arm_system(cpu.machine)
    path = os.pathsep.join([ours, str(system / SITE)])
    command = [str(find_qemu(cpu.machine)), "-cpu", cpu.model, "-L", str(prefix), str(python_of(system))]
    return command, {**keep, "PYTHONPATH": path}


def run_python(cpu: Cpu | None, arguments: Sequence[str], timeout_s: float = 3600.0) -> str:
    """Standard output of `python arguments` on a CPU.

    Raises:
        CompressError: it failed, crashed or took too long; the last words are in the text.
    """
    command, environment = python_command(cpu)
    where = f"emulated {cpu.name}" if cpu else "this machine"
    try:
        done = subprocess.run(  # noqa: S603 - an argument list of ours
            [*command, *arguments], capture_output=True, text=True, timeout=timeout_s, env=environment, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise CompressError(f"no answer within {timeout_s:g} s", where, "use fewer examples: --limit") from error
    if done.returncode:
        words = done.stderr.strip().splitlines()[-3:]
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        raise CompressError(f"the engine failed with {how}: {' | '.join(words)}", where, "the file cannot run there")
    return done.stdout
