"""One call of the agent: a request in, frames out, over whatever pipe a transport gives."""

import json
import os
import re
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from compress.devices.agent.wire import MAGIC
from compress.errors import CompressError

# What the device's Python runs: it must parse in very old ones, so that they can say how old they are. It reads our
# modules (a JSON list of name and source) and loads them in order under their own names.
BOOT = (
    "import sys;v=sys.version_info;v<(3,9) and sys.exit('compress: Python %d.%d'%(v[0],v[1]));"
    "i=sys.stdin.buffer.raw;r=lambda n:i.read(n) or sys.exit('compress: cut');h=b''\n"
    "while h[-1:]!=b'\\n':h+=r(1)\n"
    "n=int(h);s=b''\n"
    "while len(s)<n:s+=r(n-len(s))\n"
    "import json,types\n"
    "for k,c in json.loads(s):m=sys.modules[k]=types.ModuleType(k);exec(compile(c,k,'exec'),m.__dict__)\n"
    "m.main()"
)
PARENTS = ("compress", "compress.devices", "compress.devices.agent")
MODULES = ("wire", "place", "supervisor", "look", "calls")
SILENCE_S = 8.0  # the agent says something every second; starting it may take longer
BEAT_S = 0.5  # how often a follower says that it is there
START_S = 45.0
MOST_FRAME_BYTES = 1 << 24
_LONGEST_HEADER = 64
_STDERR_BYTES = 8192
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class LinkLostError(Exception):
    """The connection broke; the device may well go on. `why` is for the log."""


class Transport(Protocol):
    """How to reach a device: `argv` starts its Python with a script; `explain` tells why that failed."""

    @property
    def name(self) -> str:
        """What messages call the device."""

    def argv(self, script: str) -> list[str]:
        """The local command whose pipes are those of `python -c script` on the device."""

    def explain(self, code: int, stderr: str) -> CompressError | LinkLostError:
        """Why a call ended without an answer, from the command's exit status and its last words."""


class RefusedError(Exception):
    """The agent said no; `facts` holds `error` and what belongs to it."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        super().__init__(str(facts.get("error")))
        self.facts = dict(facts)


def printable(text: str) -> str:
    """Without control characters: what a device says must not steer the terminal that shows it."""
    return _CONTROL.sub("", text)


def told(data: bytes) -> dict[str, Any]:
    """An answer's JSON, its texts printable.

    Raises:
        LinkLostError: it is none.
    """
    try:
        found = json.loads(data, object_hook=lambda pairs: {printable(k): _clean(v) for k, v in pairs.items()})
    except ValueError as error:
        raise LinkLostError("the device sent an answer that is no JSON") from error
    if not isinstance(found, dict):
        raise LinkLostError("the device sent an answer that is no object")
    return found


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    return [_clean(v) for v in value] if isinstance(value, list) else value


def agent_source() -> bytes:
    """The agent's modules as BOOT wants them."""
    folder = Path(__file__).parent / PARENTS[-1].rpartition(".")[2]
    sources = [(name, "") for name in PARENTS]
    sources += [(f"{PARENTS[-1]}.{name}", (folder / f"{name}.py").read_text()) for name in MODULES]
    return json.dumps(sources).encode()


class Call:
    """One running call; use as a context manager, which leaves no process behind.

    Ctrl-C does not reach the process itself (it has a session of its own): the caller decides what to end first.
    stop: once it is set, waiting for the device ends as by Ctrl-C.
    """

    def __init__(self, transport: Transport, request: Mapping[str, Any], stop: threading.Event | None = None) -> None:
        source = agent_source()
        self._transport, self._rest, self._started, self._stop = transport, b"", False, stop
        self._process = subprocess.Popen(  # noqa: S603 - an argument list of ours, no shell on this side
            transport.argv(BOOT),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, "LC_ALL": "C"},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._stderr, self._beaten = bytearray(), 0.0
        self._reader = threading.Thread(target=self._collect, daemon=True)
        self._reader.start()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._stdout, selectors.EVENT_READ)
        try:
            self.send(b"%d\n" % len(source) + source + json.dumps(request).encode() + b"\n")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the local process; what runs detached on the device is not touched."""
        self._process.kill()
        self._process.wait()
        self._selector.close()
        self._reader.join(5)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            try:
                if pipe:
                    pipe.close()
            except BrokenPipeError:
                pass

    def send(self, data: bytes) -> None:
        """Bytes to the agent. A broken pipe is silent here: the next answer tells what happened."""
        try:
            self._stdin.write(data)
            self._stdin.flush()
        except BrokenPipeError:
            pass

    def answer(self, silence_s: float = SILENCE_S) -> dict[str, Any]:
        """The next JSON frame.

        Raises:
            LinkLostError, RefusedError, CompressError: as frames.
        """
        for kind, data in self.frames(silence_s):
            if kind == "J":
                return told(data)
        raise self._ended()

    def frames(self, silence_s: float = SILENCE_S, beat: bool = False) -> Iterator[tuple[str, bytes]]:
        """(kind, bytes) as they come; heartbeats are swallowed. With `beat` the agent hears from us twice a second.

        Raises:
            LinkLostError: nothing came for silence_s, or the connection broke.
            RefusedError: the agent refused the request.
            CompressError: what the transport makes of its end.
        """
        while True:
            header = self._until(b"\n", silence_s, beat)
            kind, size = header[:1].decode("latin-1"), int(header[1:]) if header[1:].isdigit() else -1
            if kind not in "JDHX" or not 0 <= size <= MOST_FRAME_BYTES:
                raise LinkLostError(f"the device sent {header[:40]!r}, which is no answer of ours")
            data = self._exactly(size, silence_s, beat)
            if kind == "X":
                raise RefusedError(told(data))
            if kind != "H":
                yield kind, data

    def _until(self, mark: bytes, silence_s: float, beat: bool) -> bytes:
        if not self._started:  # login scripts may print something first
            while MAGIC not in self._rest:
                self._rest = self._rest[-(1 << 16) :] + self._more(START_S, beat)
            self._rest, self._started = self._rest.partition(MAGIC)[2], True
        while mark not in self._rest[:_LONGEST_HEADER]:
            if len(self._rest) > _LONGEST_HEADER:
                raise LinkLostError(f"the device sent {self._rest[:40]!r}, which is no answer of ours")
            self._rest += self._more(silence_s, beat)
        line, _, self._rest = self._rest.partition(mark)
        return line

    def _exactly(self, size: int, silence_s: float, beat: bool) -> bytes:
        while len(self._rest) < size:
            self._rest += self._more(silence_s, beat)
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def _more(self, silence_s: float, beat: bool) -> bytes:
        limit = time.monotonic() + silence_s
        while (left := limit - time.monotonic()) > 0:
            if beat and time.monotonic() - self._beaten > BEAT_S:  # however much there is to read
                self.send(b".")
                self._beaten = time.monotonic()
            if self._stop is not None and self._stop.is_set():
                raise KeyboardInterrupt
            if self._selector.select(min(left, BEAT_S)):
                data = os.read(self._stdout.fileno(), 1 << 16)
                if data:
                    return data
                raise self._ended()
        raise LinkLostError(f"nothing heard for {silence_s:g} s")

    def _ended(self) -> Exception:
        try:
            code = self._process.wait(10)
        except subprocess.TimeoutExpired:
            return LinkLostError("the connection closed")
        self._reader.join(5)
        return self._transport.explain(code, printable(self._stderr.decode(errors="replace")).strip())

    def _collect(self) -> None:
        assert self._process.stderr
        while data := self._process.stderr.read1(4096):  # type: ignore[attr-defined]
            self._stderr += data
            del self._stderr[:-_STDERR_BYTES]


class Local:
    """This machine, through the same agent and the same code."""

    def __init__(self, name: str, python: str | None = None) -> None:
        self.name, self._python = name, python or sys.executable

    def argv(self, script: str) -> list[str]:
        """Python itself."""
        return [self._python, "-c", script]

    def explain(self, code: int, stderr: str) -> CompressError | LinkLostError:
        """A local agent has no link to lose."""
        from compress.devices.ssh import explain_python

        found = explain_python(self.name, self._python, code, stderr)
        return found or LinkLostError(f"the agent ended with {code}: {stderr[-300:]}")
