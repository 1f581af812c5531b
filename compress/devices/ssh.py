"""Reaching a device by the OpenSSH client, and its complaints in words that say what to do."""

import re
import shlex

from compress.devices.call import LinkLostError
from compress.devices.schema import Device
from compress.errors import CompressError, DeviceError

OLDEST_PYTHON = "3.9"
# Never a question, never a password, only known host keys; a dead link is noticed within 10 s. What a user's own
# configuration says about routes and keys stays in force; what would share or forward the connection does not.
OPTIONS = {
    "BatchMode": "yes", "StrictHostKeyChecking": "yes", "PasswordAuthentication": "no",
    "KbdInteractiveAuthentication": "no", "ConnectTimeout": "10", "ServerAliveInterval": "3",
    "ServerAliveCountMax": "3", "ControlMaster": "no", "ControlPath": "none", "ClearAllForwardings": "yes",
    "ForwardAgent": "no", "ForwardX11": "no", "PermitLocalCommand": "no", "RemoteCommand": "none",
    "RequestTTY": "no", "LogLevel": "ERROR",
}  # fmt: skip
_LOST = re.compile(
    r"Connection (to|closed|reset|timed out)|Timeout, server|Broken pipe|client_loop|banner exchange|kex_exchange"
)


class Ssh:
    """A device behind ssh."""

    def __init__(self, device: Device) -> None:
        self.device, self.name = device, device.name

    def argv(self, script: str) -> list[str]:
        """ssh with its options, and the device's Python; the script is quoted once, for the device's shell."""
        device = self.device
        assert device.host is not None
        out = ["ssh", "-T"]
        if device.ssh_config:
            out += ["-F", str(device.local_path(device.ssh_config))]
        if device.identity:
            out += ["-i", str(device.local_path(device.identity)), "-o", "IdentitiesOnly=yes"]
        for key, value in OPTIONS.items():
            out += ["-o", f"{key}={value}"]
        if device.user:
            out += ["-l", device.user]
        if device.port:
            out += ["-p", str(device.port)]
        return [*out, "--", device.host, f"exec {_home(device.python)} -c {shlex.quote(script)}"]

    def explain(self, code: int, stderr: str) -> CompressError | LinkLostError:
        """OpenSSH's exit status 255 is its own; anything else comes from the device."""
        found = explain_python(self.name, self.device.python, code, stderr)
        if found is not None:
            return found
        if code == 255:
            return explain_ssh(self.device, stderr)
        return LinkLostError(f"the agent ended with {code}: {stderr[-300:]}")


class UnreachableError(DeviceError):
    """No connection could be made. Worth another try only if there has been one before."""


def explain_ssh(device: Device, stderr: str) -> CompressError | LinkLostError:
    """What ssh's own failure means."""
    target, last = f"device {device.name}", _last_line(stderr)
    host = device.host or ""
    login = " ".join(filter(None, ["ssh", f"-p {device.port}" if device.port else "", device.ssh_target]))
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in stderr:
        what = f"the host key of {host} has changed: a new system was installed there, or somebody is in between"
        name = f"[{host}]:{device.port}" if device.port and device.port != 22 else host
        fix = (
            f"find out which; if it is yours, `ssh-keygen -R {shlex.quote(name)}`, then `{login}` once and compare keys"
        )
        return DeviceError(what, target, fix)
    if "Host key verification failed" in stderr or "host key is known" in stderr:
        what = f"the host key of {host} is not known here, so it could be anybody"
        fix = f"`{login}` once, compare the fingerprint it shows with the device's own, and answer yes"
        return DeviceError(what, target, fix)
    if "Permission denied" in stderr and "(" in stderr:
        what = f"{host} accepts none of your keys: {last}"
        key = f" -i {device.identity}" if device.identity else ""
        fix = f"`ssh-copy-id{key} {device.ssh_target}` (and load the key into ssh-agent if it has a passphrase)"
        return DeviceError(what, target, fix)
    if "Too many authentication failures" in stderr:
        return DeviceError("the device refused after too many keys", target, "name the right key: identity: FILE")
    if "UNPROTECTED PRIVATE KEY" in stderr:
        return DeviceError("your private key can be read by others", target, "chmod 600 the key file")
    if "Could not resolve hostname" in stderr:
        what = f"no host is called {host!r}"
        return UnreachableError(what, target, "check the name, or give the device's address (`hostname -I` on it)")
    if "banner exchange" in stderr:  # connected, and then silence
        return LinkLostError(last)
    if match := re.search(r"Connection refused|No route to host|Network is unreachable|timed out|Host is down", stderr):
        what = f"{host} cannot be reached: {match[0].lower()}"
        fix = f"is it on, on this network, and does sshd run there? try `{login}`"
        return UnreachableError(what, target, fix)
    if _LOST.search(stderr) or not stderr:
        return LinkLostError(last or "the connection closed")
    return DeviceError(f"ssh failed: {last}", target, f"try `{login}`")


def explain_python(name: str, python: str, code: int, stderr: str) -> CompressError | None:
    """What is wrong with the device's Python, None if it is not that."""
    target = f"device {name}"
    if match := re.search(r"compress: Python (\d+\.\d+)", stderr):
        what = f"{python} is Python {match[1]} there; edge_runtime needs {OLDEST_PYTHON} or newer"
        return DeviceError(what, target, "install one and name it in devices.yaml, as in python: ~/venv/bin/python")
    if code in (126, 127):
        what = f"there is no {python!r} on the device: {_last_line(stderr)}"
        fix = f"install Python {OLDEST_PYTHON} or newer there (apt install python3), or name yours: python: PATH"
        return DeviceError(what, target, fix)
    if re.search(r"Traceback|SyntaxError|MemoryError", stderr):
        what = f"our part failed there: {_last_line(stderr)}"
        return DeviceError(what, target, f"this is a bug, or a broken Python; the last words were\n{stderr[-1500:]}")
    return None


def _home(path: str) -> str:
    """A path quoted for a POSIX shell, with a leading ~/ left to it."""
    return "~/" + shlex.quote(path[2:]) if path.startswith("~/") else shlex.quote(path)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
