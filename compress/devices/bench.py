"""Measure bundles on several devices: edge_runtime's own protocol, run over there, its result brought back."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from edge_runtime.errors import EdgeError
from edge_runtime.manifest import read_manifest

from compress.benchmark.bundles import Wish
from compress.benchmark.latency import Document
from compress.benchmark.measurement import read_document
from compress.devices.connection import Connection, files_under
from compress.devices.fleet import Outcome, on_each
from compress.devices.schema import Device
from compress.devices.session import Output
from compress.devices.wheelhouse import require_engine
from compress.errors import DeviceError, MeasureError

RESULT = "device_result.json"
Here = Callable[[Device], Document]
_LAST_WORDS = 600  # characters of a failed run's output that go into the message


def bench(
    wish: Wish, devices: Sequence[Device], here: Here, *, logs: Path | None = None, told: Output = lambda text: None
) -> tuple[Outcome[Document], ...]:
    """Measure the same on every device; outcomes in the devices' order, one that fails beside the others.

    here: measures on this machine, for devices without an address. These come last and one by one: following other
    devices would disturb them. told: a line for people whenever a device has something to say.
    """
    remote = [d for d in devices if d.kind == "ssh"]
    local = [d for d in devices if d.kind != "ssh"]

    def there(connection: Connection, write: Output) -> Document:
        def both(text: str) -> None:
            write(text)
            for line in text.splitlines():
                told(f"{connection.device.name}: {line}")

        return bench_there(wish, connection, both)

    found = {o.device.name: o for o in on_each(remote, there, logs=logs)}
    for device in local:
        (one,) = on_each([device], lambda connection, write: here(connection.device), logs=logs)
        found[device.name] = one
    return tuple(found[d.name] for d in devices)


def bench_there(wish: Wish, connection: Connection, write: Output) -> Document:
    """Measure on one device behind ssh.

    Raises:
        DeviceError: it cannot be used, or has no engine for the bundle.
        MeasureError: the measurement itself failed there; its last words are in the text.
        UsageError: its result cannot be read.
    """
    device, probe = connection.device, connection.probe()
    where = f"device {device.name}"
    try:
        manifest = read_manifest(wish.bundle)
    except EdgeError as error:
        raise MeasureError(error.what, error.where, error.fix) from error
    formats = [m.format for m in manifest.models if wish.engine in (None, m.format)]
    require_engine(probe, formats)
    files = files_under(wish.bundle, "bundle/")
    command = ["{python}", "-m", "edge_runtime.edge_bench", "bundle", "--out", f"out/{RESULT}",
               "--profile", wish.profile, "--threads", str(device.threads or wish.threads),
               "--batch", str(wish.batch), "--seed", str(wish.seed)]  # fmt: skip
    if wish.other is not None:
        files |= files_under(wish.other, "other/")
        command += ["--vs", "other"]
    engine = wish.engine or _only_engine(formats, probe.engines())
    if engine is not None:
        command += ["--engine", engine]
    if probe.emulated:
        command.append("--emulated")
    said: list[str] = []

    def hear(text: str) -> None:
        said.append(text)
        write(text)

    with tempfile.TemporaryDirectory(prefix="compress-bench-") as scratch:
        results = Path(scratch) / "results"
        done = connection.run_job(files, command, results=results, on_output=hear)
        path = results / RESULT
        if not path.exists():
            words = "".join(said).strip()[-_LAST_WORDS:]
            if done.code == 3:
                raise DeviceError(f"somebody else measures there: {words}", where, "wait for it to end")
            raise MeasureError(
                f"edge-bench ended with {done.code}: {words}", where, "the text above is from the device"
            )
        document = read_document(path)
    for event in done.events:
        document["events"].append({"kind": "transport", "text": event, "void": False})
    return document


def _only_engine(formats: Sequence[str], engines: Sequence[str] | dict[str, str]) -> str | None:
    """The one format that can run there where the bundle holds more; None where all can."""
    able = [form for form in formats if form in engines]
    return able[0] if len(able) == 1 and len(formats) > 1 else None
