"""Who may come in: a bearer token; without one, only requests that name this machine."""

from __future__ import annotations

import hmac

from edge_runtime.serve.problems import Problem
from edge_runtime.serve.settings import is_loopback


class Door:
    """Checks a request's headers.

    tokens: any of them is good. local: without tokens, whether only Host names of this machine are served. A web page
    from elsewhere can make a browser send requests to 127.0.0.1: under a name of its own that resolves to it (Host),
    or straight, without reading the answer (Origin).
    """

    def __init__(self, tokens: tuple[str, ...], *, local: bool) -> None:
        self._tokens, self._local = [t.encode() for t in tokens], local

    def check(self, headers: dict[bytes, bytes]) -> None:
        """Raises Problem for those who may not."""
        if self._tokens:
            kind, _, given = headers.get(b"authorization", b"").partition(b" ")
            given = given.strip()
            # All tokens are compared, each in constant time, so that the time taken says nothing about any of them.
            known = [hmac.compare_digest(given, token) for token in self._tokens]
            if kind.lower() != b"bearer" or not any(known):
                raise Problem(401, "no valid token", "Authorization", "send Authorization: Bearer TOKEN")
        elif self._local:
            for header in (b"host", b"origin"):
                value = headers.get(header, b"").decode("latin-1")
                host = value.rpartition("//")[2]
                if value and not is_loopback(host[: host.rindex("]") + 1] if "]" in host else host.partition(":")[0]):
                    fix = "use http://localhost, or start the server with a token"
                    word = header.decode().title()
                    raise Problem(403, f"the {word} {ascii(value)[:80]} is not this machine", word, fix)
