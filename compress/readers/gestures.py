"""The watch recordings that come with the package seglearn: 10 people, 7 shoulder exercises, 6 channels at 50 Hz.

Burns et al. 2018, doi:10.1088/1361-6579/aacfd9 (BSD-3 package). Channels: accelerometer x, y, z in g, then gyroscope
x, y, z in rad/s. Two recordings of each exercise and person, of 20 to 50 seconds.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from compress.errors import DataError
from compress.readers.raw import Raw
from compress.readers.windows import cut_windows

PACKAGE, INSIDE = "seglearn", "seglearn/data/watch_dataset.npy"
SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"  # of seglearn 1.2.5
CHANNELS, CLASSES = 6, ("pendulum", "abduction", "forward elevation", "internal rotation", "external rotation",
                        "trapezius extension", "upright row")  # fmt: skip


def read_gestures(path: Path, length: int, step: int) -> Raw:
    """Windows (n, length, 6), labels, and the person as group.

    Raises:
        DataError: it is not the file that is expected.
    """
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256:
        fix = "pip install --force-reinstall --no-deps seglearn==1.2.5"
        raise DataError("it is not the file that this version knows (its sha256 differs)", str(path), fix)
    found = read_objects(data, str(path))
    recordings, y, person = found["X"], found["y"], found["subject"]
    names = [f"recording {i}" for i in range(len(recordings))]
    x, owner = cut_windows(recordings, length, step, names, f"data.source gestures, {path.name}")
    return Raw(x, y[owner], classes=CLASSES, group=person[owner], kind="windows",
               columns={"person": person[owner].astype(str)})  # fmt: skip


def read_objects(data: bytes, where: str) -> dict[str, Any]:
    """The dictionary of arrays in an .npy file of one object, without unpickling.

    The file is a pickle, and a pickle is a program. So pickletools lists its instructions and this function follows
    the few that lists, dictionaries, texts, numbers and plain arrays need. Nothing is imported or called by name; any
    other instruction is refused.

    Raises:
        DataError: it holds anything else.
    """
    import pickletools

    fix = "reinstall the package"
    try:
        start = data.index(b"\n") + 1
        found = _Machine().run(pickletools.genops(data[start:]))
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise DataError(
            f"it holds something else than plain arrays: {error}", where, "reinstall the package"
        ) from error
    if not isinstance(found, dict):
        raise DataError(f"it holds {type(found).__name__}, not a dictionary", where, fix)
    return found


class _Mark:
    pass


class _Name(str):
    """A dotted name in the file; never looked up."""


class _Machine:
    """A stack, a memo, and the instructions of pickle protocol 2 that numpy's arrays are written with."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, instructions: Any) -> Any:
        for op, argument, _ in instructions:
            name = op.name
            if name in ("BININT", "BININT1", "BININT2", "BINUNICODE", "BINFLOAT"):
                self.stack.append(argument)
            elif name in ("BINPUT", "LONG_BINPUT"):
                self.memo[argument] = self.stack[-1]
            elif name in ("BINGET", "LONG_BINGET"):
                self.stack.append(self.memo[argument])
            elif name == "GLOBAL":
                self.stack.append(_Name(argument))
            elif name == "STOP":
                return _settled(self.stack.pop())
            elif name != "PROTO":
                self._step(name)
        raise ValueError("it ends without its last instruction")

    def _step(self, name: str) -> None:
        stack = self.stack
        plain: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
        if name in plain:
            stack.append(plain[name])
        elif name == "MARK":
            stack.append(_Mark())
        elif name == "EMPTY_LIST":
            stack.append([])
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif name == "TUPLE":
            stack.append(tuple(self._to_mark()))
        elif name == "APPEND":
            last = stack.pop()
            stack[-1].append(last)
        elif name == "APPENDS":
            items = self._to_mark()
            stack[-1].extend(items)
        elif name == "SETITEMS":
            items = self._to_mark()
            stack[-1].update(zip(items[::2], items[1::2], strict=True))
        elif name == "REDUCE":
            arguments, what = stack.pop(), stack.pop()
            stack.append(_made(what, arguments))
        elif name == "BUILD":
            state = stack.pop()
            stack[-1].build(state)
        else:
            raise ValueError(f"instruction {name}")

    def _to_mark(self) -> list[Any]:
        items = []
        while not isinstance(item := self.stack.pop(), _Mark):
            items.append(item)
        return items[::-1]


class _Dtype:
    def __init__(self, code: str) -> None:
        self.code, self.order = code, "|"

    def build(self, state: Any) -> None:
        self.order = state[1]

    @property
    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self.order.replace("|", "") + self.code)


class _Array:
    """An array in the making: numpy writes shape, type, order and bytes, or for objects a list."""

    value: Any = None

    def build(self, state: Any) -> None:
        _, shape, dtype, fortran, content = state
        if isinstance(content, list):
            self.value = content if len(shape) else content[0]
            return
        self.value = np.frombuffer(content, dtype.numpy).reshape(shape, order="F" if fortran else "C")


def _made(what: Any, arguments: tuple[Any, ...]) -> Any:
    """What a call of the file would give, for the four that numpy's arrays need."""
    if not isinstance(what, _Name):
        raise ValueError("it calls something that has no name")
    if what == "_codecs encode" and arguments[1] == "latin1":
        return arguments[0].encode("latin1")
    if what in ("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct"):
        return _Array()
    if what == "numpy dtype":
        return _Dtype(arguments[0])
    raise ValueError(f"it names {what}")


def _settled(value: Any) -> Any:
    """Arrays that are done in place of those in the making."""
    if isinstance(value, _Array):
        return _settled(value.value)
    if isinstance(value, dict):
        return {k: _settled(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_settled(v) for v in value]
    return value
