"""A real sshd on loopback with keys of its own. Whoever logs in lands in one command: the device.

    with Sshd(folder, device_command) as sshd:
        device = sshd.device("pi5", workdir=...)

Works as root or not, and changes nothing outside its folder.
"""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from compress.devices.schema import Device

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "compress-pi"
_CONFIG = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/hostkey
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PrintMotd no
ForceCommand {command}
"""
# sshd as root wants an account and a folder that a machine without the server package lacks: given in a mount
# namespace of its own.
_AS_ROOT = """
set -e
mount --bind "$1/passwd" /etc/passwd
mount -t tmpfs none /run
mkdir -p /run/sshd
shift
exec "$@"
"""


def find_sshd() -> tuple[Path, dict[str, str]]:
    """sshd and the environment it needs; fetched by apt, which checks signatures, where none is installed."""
    installed = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:" + os.environ.get("PATH", ""))
    if installed:
        return Path(installed), {}
    folder = CACHE / "sshd"
    sshd = folder / "usr/sbin/sshd"
    if not sshd.exists():
        partial = folder.with_name(f"sshd.{os.getpid()}")
        partial.mkdir(parents=True)
        subprocess.run(["apt-get", "download", "-qq", "openssh-server", "libwrap0"], cwd=partial, check=True)
        for package in partial.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, partial], check=True)
            package.unlink()
        if not folder.exists():
            partial.rename(folder)
    return sshd, {"LD_LIBRARY_PATH": ":".join(map(str, folder.glob("usr/lib/*-linux-gnu")))}


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Sshd:
    """command: a shell script; it finds what was asked for in SSH_ORIGINAL_COMMAND."""

    def __init__(self, folder: Path, command: str) -> None:
        self.folder, self.port = folder, free_port()
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("hostkey", "key", "stranger"):
            self._keygen(name)
        (folder / "authorized_keys").write_bytes((folder / "key.pub").read_bytes())
        script = folder / "device.sh"
        script.write_text("#!/bin/sh\n" + command)
        script.chmod(0o755)
        (folder / "sshd_config").write_text(_CONFIG.format(port=self.port, folder=folder, command=script))
        passwd = Path("/etc/passwd").read_text()
        if "\nsshd:" not in passwd:
            passwd += "sshd:x:64999:65534::/run/sshd:/usr/sbin/nologin\n"
        (folder / "passwd").write_text(passwd)
        self.trust(folder / "hostkey.pub")
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def __enter__(self) -> "Sshd":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _keygen(self, name: str) -> None:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name], check=True)

    def start(self) -> None:
        sshd, environment = find_sshd()
        command = [str(sshd), "-D", "-e", "-f", str(self.folder / "sshd_config")]
        if os.geteuid() == 0:
            command = ["unshare", "-m", "--propagation", "private",
                       "sh", "-c", _AS_ROOT, "sh", str(self.folder), *command]  # fmt: skip
        with (self.folder / "sshd.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                            env={**os.environ, **environment}, start_new_session=True)  # fmt: skip
        limit = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if time.monotonic() > limit or self.process.poll() is not None:
                    raise RuntimeError((self.folder / "sshd.log").read_text()) from None
                time.sleep(0.05)

    def stop(self) -> None:
        """No new connections; those that are there end too."""
        if self.process is not None:
            subprocess.run(["pkill", "-P", str(self.process.pid)], check=False)
            self.process.terminate()
            self.process.wait()
            self.process = None

    def trust(self, public_key: Path, port: int | None = None) -> None:
        """Make this the host key the client knows, for a port (its own if none is given)."""
        kind, key = public_key.read_text().split()[:2]
        ports = {self.port, port or self.port}
        lines = "".join(f"[127.0.0.1]:{p} {kind} {key}\n" for p in ports)
        (self.folder / "known_hosts").write_text(lines)

    def device(self, name: str = "board", *, port: int | None = None, key: str = "key", **fields: object) -> Device:
        """An entry of devices.yaml that leads here, through a port in front if one is given."""
        if port:
            self.trust(self.folder / "hostkey.pub", port)
        config = self.folder / f"config-{name}"
        config.write_text(f"UserKnownHostsFile {self.folder}/known_hosts\nGlobalKnownHostsFile /dev/null\n")
        return Device.model_validate({
            "name": name, "kind": "ssh", "ssh": f"127.0.0.1:{port or self.port}",
            "identity": str(self.folder / key), "ssh_config": str(config), **fields,
        })  # fmt: skip
