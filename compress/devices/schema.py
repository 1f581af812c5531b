"""What devices.yaml says about one device. Plain data: nothing is opened or looked up here."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

_ADDRESS = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*)@)?"
    r"(?P<host>[A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
_PASSWORD = re.compile(r"[^@:]*:[^@]*@")
Word = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f\x7f-]?[^\x00-\x1f\x7f]*$")]
DEFAULT_PYTHON = "python3"
LIMITS = {"threads": (1, 256), "timeout_s": (1.0, 7 * 86400.0), "grace_s": (5.0, 86400.0)}
Threads = Annotated[int, Field(ge=LIMITS["threads"][0], le=LIMITS["threads"][1])]
Limit = Annotated[float, Field(ge=LIMITS["timeout_s"][0], le=LIMITS["timeout_s"][1])]
Grace = Annotated[float, Field(ge=LIMITS["grace_s"][0], le=LIMITS["grace_s"][1])]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]


class Device(BaseModel):
    """One entry of devices.yaml; every key but `ssh` has a default that works.

    A name given in `ssh` may be an alias of ~/.ssh/config, which is honoured. There is no key for a password: logging
    in goes by key alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Name
    kind: Literal["local", "gpu", "ssh"] = Field("local", description="Where it is; `ssh` follows from the key ssh.")
    ssh: str | None = Field(None, description="[user@]host[:port] or an alias of ~/.ssh/config.")
    ssh_config: Word | None = Field(None, description="Another file than ~/.ssh/config.")
    identity: Word | None = Field(None, description="Private key file; else what ssh tries by itself.")
    python: Word = Field(DEFAULT_PYTHON, description="Python 3.9 or newer on the device; ~/ is its home folder.")
    threads: Threads | None = Field(None, description="Threads to measure with; else what the command says.")
    energy: Word = Field("auto", description="auto, none, or the name of a meter.")
    workdir: Word = Field("~/.cache/compress-device", description="Folder on the device; safe to delete.")
    wheelhouse: Word | None = Field(None, description="Local folder of wheels to push; else made by `devices prepare`.")
    timeout_s: Limit = Field(3600.0, description="Longest that one job may run.")
    grace_s: Grace = Field(90.0, description="How long a job goes on with nobody following it.")
    emulated: bool = Field(False, description="An emulator: its times are never shown as latency.")

    @field_validator("ssh")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if _PASSWORD.match(value):
            raise ValueError("it holds a password; remove it: compress logs in by key alone (ssh-copy-id)")
        match = _ADDRESS.fullmatch(value)
        if match is None or not 0 < int(match["port"] or 22) < 65536:
            raise ValueError(f"{value!r} is no address; want [user@]host[:port], as in pi@raspberrypi.local")
        return value

    @model_validator(mode="after")
    def _kind_fits(self) -> "Device":
        if (self.kind == "ssh") != (self.ssh is not None):
            raise ValueError("kind: ssh and an address under `ssh` go together")
        return self

    @property
    def host(self) -> str | None:
        """The host or alias alone, an IPv6 address without its brackets."""
        return self._part("host", "").strip("[]") or None

    @property
    def user(self) -> str | None:
        """The user to log in as, if the address names one."""
        return self._part("user", "") or None

    @property
    def port(self) -> int | None:
        """The port, if the address names one."""
        port = self._part("port", "")
        return int(port) if port else None

    def _part(self, name: str, default: str) -> str:
        match = _ADDRESS.fullmatch(self.ssh or "")
        return (match[name] if match else None) or default

    @property
    def ssh_target(self) -> str:
        """user@host or host, as the ssh command takes it."""
        return f"{self.user}@{self.host}" if self.user else self.host or ""

    def local_path(self, text: str) -> Path:
        """A path on this machine that an entry names."""
        return Path(text).expanduser()


CPU = Device(name="cpu")
GPU = Device(name="gpu", kind="gpu")
