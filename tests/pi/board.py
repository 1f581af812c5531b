"""An emulated Raspberry Pi: a real ARM system behind a real sshd on loopback. Nothing of this machine changes.

The board is a set of namespaces of its own (users, mounts, processes): its `init` is killed to pull the plug, its disk
is an overlay over the cached system, and every program in it is ARM code that the kernel hands to qemu. It runs as root
or not; it needs Linux with user namespaces, and binfmt_misc in them (kernel 6.7).
"""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from pi.sshd import Sshd

from compress.devices.schema import Device
from compress.emulation.cpus import CPUS, Cpu, cpuinfo
from compress.emulation.qemu import find_qemu
from compress.emulation.system import SITE, arm_system, python_of

_HEADS = {"aarch64": (2, 0xB7), "armv7l": (1, 0x28)}  # ELF class and machine
_ENTER = """
export QEMU_CPU={model} PYTHONPATH=/{site}:/opt/tests HOME=/root TMPDIR=/tmp LANG=C.UTF-8
export PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
unset OMP_NUM_THREADS
pid=$(cat {folder}/init.pid) || exit 255
exec nsenter --target "$pid" --user --mount --pid --preserve-credentials --wd=/ \\
    chroot {root} /bin/sh -c "cd; $SSH_ORIGINAL_COMMAND"
"""
# Run in the new namespaces, as their root. The first program started is the board's init: it waits, and reaps.
_BOOT = r"""
set -e
folder=$1 system=$2 qemu=$3 magic=$4
root=$folder/root
mkdir -p $root $folder/disk $folder/work $folder/binfmt
mount -t overlay overlay -o userxattr,lowerdir=$system,upperdir=$folder/disk,workdir=$folder/work $root
mkdir -p $root/proc $root/sys $root/dev $root/tmp $root/root
mount -t proc proc $root/proc
mount --bind $folder/cpuinfo $root/proc/cpuinfo
cat /proc/sys/kernel/random/uuid > $folder/boot_id
mount --bind $folder/boot_id $root/proc/sys/kernel/random/boot_id
mount --rbind /dev $root/dev
mount --bind $folder/sys $root/sys
[ -z "$DISK_BYTES" ] || { mkdir -p $root/root/small; mount -t tmpfs -o size=$DISK_BYTES none $root/root/small; }
mount -t binfmt_misc none $folder/binfmt
printf ':arm:M::%s:%s:F' "$magic" "$qemu" > $folder/binfmt/register
echo ready > $folder/ready
exec python3 -c 'import signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
while True: time.sleep(1000)'
"""


def why_not() -> str:
    """Why no board can run here; empty where one can."""
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        return "unshare and nsenter (util-linux) are not installed"
    probe = "mount -t binfmt_misc none /proc/sys/fs/binfmt_misc && test -w /proc/sys/fs/binfmt_misc/register"
    done = subprocess.run(["unshare", "-Urmpf", "sh", "-c", probe], capture_output=True, text=True)
    return "" if done.returncode == 0 else f"no namespaces with binfmt_misc here: {done.stderr.strip()[-200:]}"


def _magic(machine: str) -> str:
    """What the kernel knows the programs by: the ELF header, with the parts that vary masked out."""
    bits, number = _HEADS[machine]
    head = b"\x7fELF" + bytes([bits, 1, 1]) + bytes(9) + b"\x02\x00" + bytes([number, 0])
    mask = b"\xff" * 7 + b"\x00" + b"\xff" * 8 + b"\xfe\xff\xff\xff"
    return "".join(f"\\x{b:02x}" for b in head) + ":" + "".join(f"\\x{b:02x}" for b in mask)


class Board:
    """cpu: a name of compress.emulation.cpus. disk_bytes: size of a small disk at ~/small, none without."""

    def __init__(self, folder: Path, cpu: str = "cortex-a72", disk_bytes: int | None = None) -> None:
        self.cpu: Cpu = CPUS[cpu]
        self.folder, self._disk_bytes = folder / "board", disk_bytes
        self.system = arm_system(self.cpu.machine)
        self.folder.mkdir(parents=True)
        (self.folder / "cpuinfo").write_text(cpuinfo(self.cpu))
        self._write_sys()
        self._init: subprocess.Popen[bytes] | None = None
        self.boot()
        enter = _ENTER.format(model=self.cpu.model, site=SITE, folder=self.folder, root=self.folder / "root")
        self.sshd = Sshd(folder / "sshd", enter)

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, *_: object) -> None:
        self.sshd.stop()
        self.pull_the_plug()

    def _write_sys(self) -> None:
        """A few files of /sys, as a Pi has them."""
        cpu = "devices/system/cpu/"
        files = {cpu + "possible": "0-3\n", cpu + "present": "0-3\n", cpu + "online": "0-3\n",
                 cpu + "cpu0/cpufreq/scaling_governor": "ondemand\n",
                 cpu + "cpu0/cpufreq/scaling_cur_freq": "1500000\n", cpu + "cpu0/cpufreq/cpuinfo_max_freq": "1800000\n",
                 "class/thermal/thermal_zone0/temp": "48312\n"}  # fmt: skip
        for name, text in files.items():
            path = self.folder / "sys" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def boot(self) -> None:
        ready = self.folder / "ready"
        ready.unlink(missing_ok=True)
        arguments = [str(self.folder), str(self.system), str(find_qemu(self.cpu.machine)), _magic(self.cpu.machine)]
        with (self.folder / "boot.log").open("wb") as log:
            self._init = subprocess.Popen(
                ["unshare", "-Urmpf", "--propagation", "private", "bash", "-c", _BOOT, "boot", *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "DISK_BYTES": str(self._disk_bytes or "")})  # fmt: skip
        limit = time.monotonic() + 30
        while not ready.exists():
            if self._init.poll() is not None or time.monotonic() > limit:
                raise RuntimeError((self.folder / "boot.log").read_text())
            time.sleep(0.05)
        (child,) = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children").read_text().split()
        (self.folder / "init.pid").write_text(child)

    def pull_the_plug(self) -> None:
        """Every process of the board is gone at once; its disk stays."""
        if self._init is not None:
            pid = int((self.folder / "init.pid").read_text())
            (self.folder / "init.pid").unlink()
            os.kill(pid, signal.SIGKILL)
            self._init.wait()
            self._init = None

    def reboot(self, down_s: float = 1.0) -> None:
        """Off, for so long that nobody can log in, and on again."""
        self.sshd.stop()
        self.pull_the_plug()
        time.sleep(down_s)
        self.boot()
        self.sshd.start()

    def processes(self) -> list[str]:
        """The command lines of what runs on the board, its init left out."""
        init = int((self.folder / "init.pid").read_text())
        space = os.readlink(f"/proc/{init}/ns/pid")
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(path / "ns/pid") == space and int(path.name) != init:
                    found.append((path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip())
            except OSError:
                continue
        return found

    @property
    def python(self) -> str:
        return f"/usr/bin/{python_of(self.system).name}"

    def device(self, name: str = "pi4", *, port: int | None = None, **fields: object) -> Device:
        """An entry of devices.yaml that leads here, through a port in front if one is given."""
        return self.sshd.device(name, port=port, **{"python": self.python, **fields})

    def home(self) -> Path:
        """The board's home folder, seen from here."""
        return self.folder / "disk" / "root"
