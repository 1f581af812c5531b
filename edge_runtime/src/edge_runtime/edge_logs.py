"""External meters: a log file that grows while one measures, or a serial line. Standard library only.

A log is CSV: time, volts, amps or time, watts; with a header the columns may stand in any order and others beside
them. Times are unix seconds or ISO 8601, from this machine's clock. A serial meter sends a line a reading:
`volts,amps`; with more numbers the last two count. Its readings are stamped when they arrive.
"""

from __future__ import annotations

import contextlib
import os
import time
from datetime import datetime
from pathlib import Path

from edge_runtime.edge_meters import MeterError, Samples, Source

POLL_HZ = 20.0
GAP_S = 3.0
_NAMES = {"t": "t", "time": "t", "timestamp": "t", "v": "v", "volt": "v", "volts": "v", "voltage": "v", "a": "a",
          "amp": "a", "amps": "a", "current": "a", "w": "w", "watt": "w", "watts": "w", "power": "w"}  # fmt: skip
_WITHOUT_HEADER = {2: ("t", "w"), 3: ("t", "v", "a")}
_MOST_PENDING = 1 << 20  # bytes of a line that never ends
_FIX = "see docs/measuring.md for what a log and a serial line look like"


def open_log(wanted: str) -> Source:
    """ "csv:FILE" or "serial:TTY[@BAUD]" as a source.

    Raises:
        MeterError: it cannot be opened, or is no log.
    """
    kind, _, rest = wanted.partition(":")
    if kind == "csv":
        log = CsvLog(Path(rest))
        return Source("external log", rest, "W", POLL_HZ, GAP_S, log.poll)
    path, _, baud = rest.partition("@")
    line = SerialLine(path, baud or "115200")
    return Source("serial meter", path, "W", POLL_HZ, GAP_S, line.poll)


class CsvLog:
    """Reads what was appended since it was opened."""

    def __init__(self, path: Path) -> None:
        self.path, self._pending = path, b""
        self._offset_s = time.time() - time.monotonic()
        try:
            with path.open("rb") as f:
                first = f.readline(4096)
                self._at = f.seek(0, os.SEEK_END)
        except OSError as error:
            raise MeterError(f"the log cannot be read: {error}", str(path), _FIX) from error
        cells = _cells(first)
        self._columns = columns(cells, str(path))

    def poll(self) -> Samples:
        """The new lines; half a line waits for its end.

        Raises:
            MeterError: a line that is no reading, or a log that got shorter.
        """
        try:
            with self.path.open("rb") as f:
                if f.seek(0, os.SEEK_END) < self._at:
                    raise MeterError("the log got shorter while it was read", str(self.path), "let the logger append")
                f.seek(self._at)
                data = f.read()
        except OSError as error:
            raise MeterError(f"the log cannot be read: {error}", str(self.path), _FIX) from error
        self._at += len(data)
        *whole, self._pending = (self._pending + data).split(b"\n")
        return [self._sample(line) for line in whole if line.strip()]

    def _sample(self, line: bytes) -> tuple[float, float]:
        try:
            found = {name: cell for name, cell in zip(self._columns, _cells(line)) if name}
            watts = float(found["w"]) if "w" in found else float(found["v"]) * float(found["a"])
            return _seconds(found["t"]) - self._offset_s, watts
        except (ValueError, KeyError) as error:
            what = f"a line that is no reading: {line[:60].decode(errors='replace')!r}"
            raise MeterError(what, str(self.path), _FIX) from error


class SerialLine:
    """A character device that sends lines."""

    def __init__(self, path: str, baud: str) -> None:
        self.path, self._pending, self._bad = path, b"", 0
        try:
            self._handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError as error:
            fix = "is it plugged in, and is this user in its group (dialout)?"
            raise MeterError(f"the serial line cannot be opened: {error}", path, fix) from error
        if os.isatty(self._handle):
            self._raw(baud)

    def _raw(self, baud: str) -> None:
        import termios

        speed = getattr(termios, f"B{baud}", None)
        if speed is None:
            raise MeterError(
                f"no such speed: {baud} baud", self.path, "give serial:TTY@115200, or what the meter sends at"
            )
        mode = termios.tcgetattr(self._handle)
        mode[0] = mode[1] = mode[3] = 0  # no translation, no echo, no line editing
        mode[2] = termios.CS8 | termios.CREAD | termios.CLOCAL
        mode[4] = mode[5] = speed
        termios.tcsetattr(self._handle, termios.TCSANOW, mode)

    def poll(self) -> Samples:
        """The new lines, stamped now. A start in the middle of a line is forgiven, a stream of nonsense is not.

        Raises:
            MeterError: the device is gone, or it sends no readings.
        """
        with contextlib.suppress(BlockingIOError):
            try:
                while chunk := os.read(self._handle, 4096):
                    self._pending = (self._pending + chunk)[-_MOST_PENDING:]
            except BlockingIOError:
                raise
            except OSError as error:
                raise MeterError(f"the serial line broke: {error}", self.path, "plug it in again") from error
        *whole, self._pending = self._pending.split(b"\n")
        now, out = time.monotonic(), []
        for line in whole:
            try:
                volts, amps = (float(cell) for cell in _cells(line)[-2:])
                out.append((now, volts * amps))
                self._bad = 0
            except ValueError:
                self._bad += 1
        if self._bad > 20:
            what = f"it sends no readings, but {whole[-1][:60].decode(errors='replace')!r}" if whole else "no readings"
            raise MeterError(what, self.path, "check the speed; a line is `volts,amps`")
        return out[-1:]  # lines that arrived together were taken before: only the last has this moment


def columns(first: list[str], where: str) -> tuple[str, ...]:
    """What each column of a log holds, from its header or, without one, from their number.

    >>> columns(["Time", "Voltage", "ignored", "Current"], "log"), columns(["1.5", "5.0", "0.6"], "log")
    (('t', 'v', '', 'a'), ('t', 'v', 'a'))

    Raises:
        MeterError: there is no time, or neither watts nor volts and amps.
    """
    try:
        _seconds(first[0])
        found = _WITHOUT_HEADER.get(len(first), ())
    except (ValueError, IndexError):
        found = tuple(_NAMES.get(name.lower().split("(")[0].strip(), "") for name in first)
    if "t" not in found or not ("w" in found or {"v", "a"} <= set(found)):
        raise MeterError(f"its columns cannot be told: {', '.join(first)[:80]!r}", where, _FIX)
    return found


def _cells(line: bytes) -> list[str]:
    text = line.decode(errors="replace").strip()
    return [c.strip() for c in text.replace(";", ",").replace("\t", ",").split(",")] if text else []


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
