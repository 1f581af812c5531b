"""devices.yaml -> devices by name. Reports every problem of the file in one go, each with its line."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from compress.devices.schema import CPU, GPU, LIMITS, Device
from compress.errors import UsageError
from compress.recipe.document import MAX_BYTES, Document, Problem, read_yaml, spell
from compress.recipe.problems import listed, nearest, show

BUILT_IN = {"cpu": CPU, "gpu": GPU}
KEYS = tuple(k for k in Device.model_fields if k != "name")
_WANTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
}


class DevicesError(UsageError):
    """devices.yaml is wrong, or names no such device; nothing has been contacted."""


def default_places() -> tuple[Path, ...]:
    """Where devices.yaml is looked for when no file is named: here, then the user's own."""
    return Path("devices.yaml"), Path("~/.config/compress/devices.yaml").expanduser()


def load_devices(path: Path | None = None) -> dict[str, Device]:
    """All devices by name; `cpu` and `gpu` exist without a file, and a file may change them.

    path: None looks in default_places, and no file there is fine.

    Raises:
        DevicesError: with every problem found, one a line.
    """
    if path is None:
        path = next((p for p in default_places() if p.is_file()), None)
        if path is None:
            return dict(BUILT_IN)
    try:
        with path.open("rb") as f:
            data = f.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise DevicesError("there is no such file", str(path), "give the path of a devices.yaml") from error
    except OSError as error:
        what = f"it cannot be read: {error.strerror}"
        raise DevicesError(what, str(path), "check the path and its permissions") from error
    return parse_devices(data, str(path))


def parse_devices(text: str | bytes, where: str) -> dict[str, Device]:
    """The same from text; `where` names it in messages."""
    document = read_yaml(text)
    problems = list(document.problems)
    found: dict[str, Device] = {}
    if isinstance(document.value, Mapping):
        for name, entry in document.value.items():
            device, more = _device(name, entry)
            problems += more
            if device is not None:
                found[device.name] = device
    elif document.value is not None:
        problems.append(Problem((), f"want a mapping of device names, got {show(document.value)}"))
    if problems:
        raise _failure(problems, document, where)
    return {**BUILT_IN, **found}


def choose(devices: Mapping[str, Device], names: Sequence[str]) -> tuple[Device, ...]:
    """The devices of these names, in their order.

    Raises:
        DevicesError: a name is unknown or stands twice.
    """
    for i, name in enumerate(names):
        if name not in devices:
            hint = nearest(name, devices) or f"; known here: {', '.join(devices)}"
            raise DevicesError(
                f"there is no device {name!r}{hint}", "devices", "add it to devices.yaml, or name another with --device"
            )
        if name in names[:i]:
            raise DevicesError(f"device {name!r} is named twice", "devices", "name each device once")
    return tuple(devices[name] for name in names)


def _device(name: Any, entry: Any) -> tuple[Device | None, list[Problem]]:
    """One entry; `name: user@host` is short for `name: {ssh: user@host}`."""
    values = {"ssh": entry} if isinstance(entry, str) else {} if entry is None else entry
    if not isinstance(values, Mapping):
        text = f"want the device's keys, as in {{ssh: pi@raspberrypi.local}}, got {show(entry)}"
        return None, [Problem((name,), text)]
    if "name" in values:
        return None, [Problem((name, "name"), "unknown key; the name is the entry's own")]
    kind = "ssh" if values.get("ssh") is not None else "gpu" if name == "gpu" else "local"
    try:
        return Device.model_validate({"kind": kind, **values, "name": name}), []
    except ValidationError as error:
        return None, [_problem(name, dict(detail)) for detail in error.errors(include_url=False)]


def _problem(name: Any, detail: Mapping[str, Any]) -> Problem:
    kind, value, where = detail["type"], detail["input"], detail["loc"]
    ctx = detail.get("ctx", {})
    key = where[0] if where else None
    path = (name,) if key in (None, "name") else (name, *where)
    if key == "name":
        return Problem(path, "a device's name has lower-case letters, digits, - and _, 64 at most")
    if kind == "extra_forbidden":
        word = str(key)
        if "pass" in word.lower():
            return Problem(path, "no passwords here: compress logs in by key alone (ssh-copy-id)")
        return Problem(path, f"unknown key{nearest(word, KEYS) or f'; known here: {listed(KEYS)}'}")
    if kind == "value_error":
        return Problem(path, str(ctx["error"]))
    if kind in _WANTED:
        return Problem(path, f"want {_WANTED[kind]}, got {show(value)}")
    if kind == "literal_error":
        return Problem(path, f"{show(value)} is none of {ctx['expected']}")
    if kind in ("string_pattern_mismatch", "string_too_short", "string_too_long"):
        return Problem(path, f"{show(value)}; want one line of text that does not begin with -")
    if key in LIMITS:
        low, high = LIMITS[str(key)]
        return Problem(path, f"{show(value)} is out of range; want {low:g} to {high:g}")
    return Problem(path, f"{show(value)}: {detail['msg']}")


def _failure(problems: Sequence[Problem], document: Document, where: str) -> DevicesError:
    lines = []
    for problem in problems:
        path = problem.path or ()
        while path and path not in document.lines:
            path = path[:-1]
        line = problem.line or document.lines.get(path, 1)
        lines.append((line, f"line {line}: {spell(problem.path) + ': ' if problem.path else ''}{problem.text}"))
    texts = [text for _, text in sorted(lines, key=lambda item: item[0])]
    count = "1 problem" if len(texts) == 1 else f"{len(texts)} problems"
    return DevicesError(f"{count}\n    " + "\n    ".join(texts), where, "correct the lines above; nothing has run")
