"""What a server allows, and what it refuses to start with."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.errors import EdgeError

TOKEN_VARIABLE = "EDGE_RUNTIME_TOKEN"  # noqa: S105 (the variable's name)
_SHORTEST_TOKEN = 16
_LARGEST_TOKEN_FILE = 1 << 16


class ServeError(EdgeError):
    """The server cannot start as asked."""

    exit_code = 2


@dataclass(frozen=True)
class Settings:
    """Limits and addresses of one server.

    tokens: any of them opens the door; empty only on loopback, or where `open_door` says so.
    max_queue: examples that may wait for the model. max_per_client: requests of one address at a time.
    request_timeout_s: for a whole request, from its first byte to the last of the answer.
    batch_latency_ms: how long one batch may keep the model; batch_wait_ms: how long a batch may wait to fill up.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    tokens: tuple[str, ...] = ()
    open_door: bool = False
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    max_body_bytes: int = 8 << 20
    max_queue: int = 512
    max_per_client: int = 256
    max_connections: int = 1024
    request_timeout_s: float = 30.0
    batch_latency_ms: float = 50.0
    batch_wait_ms: float = 0.0
    drain_s: float = 30.0

    def __post_init__(self) -> None:
        """Raises ServeError for what must not be started."""
        if not self.tokens and not self.open_door and not is_loopback(self.host):
            what = f"{self.host} can be reached from other machines, and no token is set"
            fix = f"set {TOKEN_VARIABLE} or --token-file (python -c 'import secrets; print(secrets.token_urlsafe())'), "
            raise ServeError(what, "--host", fix + "or insist with --no-token")
        if any(len(t) < _SHORTEST_TOKEN or not t.isascii() or not t.isprintable() for t in self.tokens):
            fix = "make one: python -c 'import secrets; print(secrets.token_urlsafe())'"
            raise ServeError(f"a token is shorter than {_SHORTEST_TOKEN} characters, or not plain text", "token", fix)
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ServeError("TLS needs a certificate and its key", "--tls-cert", "give --tls-cert and --tls-key")
        for path in (self.tls_certificate, self.tls_key):
            if path is not None and not path.is_file():
                raise ServeError("no such file", str(path), "give the PEM file's path")
        least = {"port": 0, "batch_wait_ms": 0, "drain_s": 0}
        for name in ("port", "max_body_bytes", "max_queue", "max_per_client", "max_connections", "request_timeout_s",
                     "batch_latency_ms", "batch_wait_ms", "drain_s"):  # fmt: skip
            value = getattr(self, name)
            low, high = least.get(name, 1e-9), 65535 if name == "port" else 1e12
            if not low <= value <= high:  # NaN neither
                fix = "give a smaller number" if value > high else "give a larger number"
                raise ServeError(f"{value} is out of range", f"--{name.replace('_', '-')}", fix)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address. A name other than localhost counts as reachable."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def read_tokens(path: Path | None) -> tuple[str, ...]:
    """Tokens of a file, one a line (two while one replaces the other), else the one of the environment.

    Raises:
        ServeError: the file cannot be read or holds none.
    """
    if path is None:
        token = os.environ.get(TOKEN_VARIABLE, "").strip()
        return (token,) if token else ()
    try:
        with path.open("rb") as file:
            lines = file.read(_LARGEST_TOKEN_FILE).decode("ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ServeError(f"no token can be read: {error}", str(path), "give a file that holds the token") from error
    tokens = tuple(line.strip() for line in lines if line.strip())
    if not tokens:
        raise ServeError("the file holds no token", str(path), "write one into it")
    return tokens
