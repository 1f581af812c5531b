"""Devices as a table and as JSON."""

from collections.abc import Iterable
from typing import Any

from compress.devices.fleet import Outcome
from compress.devices.probe import Probe


def as_plain(outcome: Outcome[Probe]) -> dict[str, Any]:
    """One device for machines: the probe's facts, or the error."""
    device = outcome.device
    out: dict[str, Any] = {"device": device.name, "kind": device.kind, "reachable": outcome.error is None}
    if outcome.error is not None:
        return {**out, "error": outcome.error.what, "fix": outcome.error.fix}
    assert outcome.value is not None
    p = outcome.value
    return {
        **out, "emulated": p.emulated, "python": p.python, "machine": p.platform, "engines": p.engines(),
        "held_by": p.held, "free_bytes": p.free_bytes, "meters": list(p.meters), "host": dict(p.host),
    }  # fmt: skip


def render(outcomes: Iterable[Outcome[Probe]]) -> Any:
    """For people: a rich table, one row a device, and below it what keeps the others from being used."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_lines=False)
    table.add_column("device", overflow="fold", min_width=8)
    table.add_column("machine", overflow="fold", ratio=3)
    table.add_column("Python, engines", overflow="fold", ratio=2)
    table.add_column("state", overflow="fold", ratio=3)
    failures = Text()
    for outcome in outcomes:
        device = outcome.device
        name = Text(device.name, style="bold")
        if device.ssh:
            name.append(f"\n{device.ssh}", style="dim")
        if outcome.error is not None:
            table.add_row(name, Text("cannot be used, see below", style="red"), Text(""), Text(""))
            failures.append(f"\n{outcome.error}", style="red")
            continue
        assert outcome.value is not None
        table.add_row(name, *(Text("\n".join(lines)) for lines in _cells(outcome.value)))
    return Group(table, failures) if failures else table


def _cells(probe: Probe) -> tuple[list[str], list[str], list[str]]:
    host = probe.host
    machine = [host["cpu"], f"{probe.platform}, {host['cores']} cores, {host['system']}"]
    if host["board"]:
        machine.insert(0, host["board"])
    if probe.emulated:
        machine.append("emulated: its times are no latency")
    packages = host["packages"]
    engines = [f"Python {probe.python}", f"numpy {packages['numpy']}" if "numpy" in packages else "no numpy"]
    engines += list(probe.engines().values()) or [f"no engine: compress devices prepare {probe.name}"]
    return machine, engines, _state(probe)


def _state(probe: Probe) -> list[str]:
    host, out = probe.host, []
    if probe.held is not None:
        out.append(f"busy: {probe.held.get('who', 'somebody')}, for {probe.held.get('for_s', 0):.0f} s")
    meters = [f"{m['kind']}{'' if m['readable'] else ' (not readable)'}" for m in probe.meters]
    out.append(f"meter: {', '.join(dict.fromkeys(meters)) or 'none'}")
    out.append(f"governor: {host['governor'] or 'not shown'}")
    if host["temperature_c"] is not None:
        out.append(f"{host['temperature_c']:.0f} °C")
    if host["throttled_now"] is not None:
        out.append(f"held back: {', '.join(host['throttled_now'])}" if host["throttled_now"] else "not held back")
    if probe.free_bytes is not None:
        out.append(f"{probe.free_bytes / 1e9:.1f} GB free")
    return out
