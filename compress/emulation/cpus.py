"""CPUs that are not here, by the names people use, as qemu's user mode emulates them.

`max` is missing on purpose: it gives wrong answers for LiteRT's int8 kernels.
"""

from dataclasses import dataclass

from compress.errors import UsageError


@dataclass(frozen=True, slots=True)
class Cpu:
    """model: qemu's name. machine: as uname says it. part: Arm's part number; features: the words of /proc/cpuinfo.

    about: where it is found. vnni: whether 8-bit products are summed in 32 bits, so that nothing saturates.
    """

    name: str
    machine: str
    model: str
    about: str
    part: str = ""
    features: str = ""
    vnni: bool = True


_A32 = "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm"
_A53 = "fp asimd evtstrm crc32 cpuid"
_A76 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
CPUS = {
    cpu.name: cpu
    for cpu in (
        Cpu("haswell", "x86_64", "Haswell", "AVX2 without VNNI: Intel 2013 to 2018, AMD until Zen 3", vnni=False),
        Cpu("nehalem", "x86_64", "Nehalem", "SSE4.2 without AVX: old and low-power x86", vnni=False),
        Cpu("cortex-a53", "aarch64", "cortex-a53", "Raspberry Pi 3, many gateways and phones", "0xd03", _A53),
        Cpu("cortex-a72", "aarch64", "cortex-a72", "Raspberry Pi 4", "0xd08", _A53),
        Cpu("cortex-a76", "aarch64", "cortex-a76", "Raspberry Pi 5", "0xd0b", _A76),
        Cpu("cortex-a7", "armv7l", "cortex-a7", "Raspberry Pi 2, 32-bit systems", "0xc07", _A32),
    )
}
QEMU_NAMES = {"x86_64": "x86_64", "aarch64": "aarch64", "armv7l": "arm"}


def cpu_named(name: str) -> Cpu:
    """The CPU of this name.

    Raises:
        UsageError: it is unknown, or `max`.
    """
    if found := CPUS.get(name.strip().lower()):
        return found
    import difflib

    near = difflib.get_close_matches(name.lower(), CPUS, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    if name.lower() == "max":
        hint = ": qemu's `max` gives wrong answers for LiteRT's int8 kernels"
    raise UsageError(f"CPU {name!r} is not offered{hint}", "--cpu", f"take some of {','.join(CPUS)}")


def cpuinfo(cpu: Cpu, cores: int = 4) -> str:
    """/proc/cpuinfo of an ARM board with this CPU. It promises no more than the emulator has.

    Engines read their kernels from it; the host's own text makes them crash or choose what is not there.
    """
    architecture = "7" if cpu.machine == "armv7l" else "8"
    block = (
        "processor\t: {core}\n"
        "BogoMIPS\t: 108.00\n"
        f"Features\t: {cpu.features}\n"
        "CPU implementer\t: 0x41\n"
        f"CPU architecture: {architecture}\n"
        "CPU variant\t: 0x0\n"
        f"CPU part\t: {cpu.part}\n"
        "CPU revision\t: 3\n\n"
    )
    return "".join(block.format(core=core) for core in range(cores))
