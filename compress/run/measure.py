"""The measuring step of a run: every file on every device of the recipe, each device's figures cached by themselves."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_runtime.edge_host import host_facts

from compress.benchmark.latency import Document, device_row, job_of, rows, sound
from compress.devices.load import choose, load_devices
from compress.devices.schema import Device
from compress.errors import CompressError, DeviceError, MeasureError, UsageError
from compress.recipe.schema import MeasureConfig
from compress.result import DeviceRow, Latency
from compress.run import record
from compress.run.cache import make_key

if TYPE_CHECKING:
    from compress.run.walk import File, Walk

VERSION = 3  # of the protocol: raise it when the same files are timed otherwise


@dataclass(frozen=True, slots=True)
class Measured:
    """latency: by artefact, one row a device that gave figures, in the recipe's order. devices: all of them.

    host: of this machine, as it was while it measured.
    """

    latency: Mapping[str, tuple[Latency, ...]]
    devices: tuple[DeviceRow, ...]
    host: Mapping[str, Any]


def devices_of(config: MeasureConfig) -> tuple[Device, ...]:
    """The recipe's devices out of devices.yaml, each behind ssh asked whether it answers.

    Raises:
        UsageError: one is unknown, or a GPU.
        DeviceError: one does not answer; nothing was trained yet.
    """
    from compress.devices.connection import open_device

    devices = choose(load_devices(), config.devices)
    for device in devices:
        if device.kind == "gpu":
            fix = "leave it out of measure.devices, and see `compress measure --device gpu` after the run"
            raise UsageError("recipes are not timed on a GPU", f"device {device.name}", fix)
        if device.kind == "ssh":
            with open_device(device) as connection:
                connection.probe()
    return devices


def measure(walk: "Walk", files: Sequence["File"]) -> Measured:
    """Latency of every file against the teacher's on every device.

    Raises:
        MeasureError: this machine gave no figures. A device behind ssh that gives none stands in the result with why.
    """
    devices = choose(load_devices(), walk.recipe.measure.devices)
    keys = {d.name: _key(walk, files, d) for d in devices}
    absent = [d for d in devices if d.kind == "ssh" and walk.cache.get(keys[d.name]) is None]
    found: dict[str, Document] = {}
    failed: dict[str, CompressError] = {}

    def write(device: Device, folder: Path, progress: Any) -> Mapping[str, Any]:
        if device.kind != "ssh":
            found[device.name] = _here(walk, files, device, progress)
        elif device.name not in found | failed:  # the first one takes the others along: they work side by side
            there, not_there = _there(walk, files, absent, progress)
            found.update(there)
            failed.update(not_there)
        if device.name in failed:
            raise failed[device.name]
        (folder / "document.json").write_text(json.dumps(found[device.name]))
        return {}

    documents: dict[str, Document] = {}
    for device in devices:
        name = "measure" if device.name == "cpu" else f"measure-{device.name}"
        say = f"{len(files)} files on {device.name}"
        try:
            entry = walk.recorder.step(name, "measure", keys[device.name], partial(write, device), partial(_said, say))
            documents[device.name] = json.loads((entry.folder / "document.json").read_text())
        except (DeviceError, MeasureError) as error:
            if device.kind != "ssh":
                raise
            failed[device.name] = error
            walk.recorder.display.warn(f"{device.name} gave no figures: {error}")
    return _gathered(devices, documents, failed, files)


def _gathered(
    devices: Sequence[Device],
    documents: Mapping[str, Document],
    failed: Mapping[str, CompressError],
    files: Sequence["File"],
) -> Measured:
    latency: dict[str, tuple[Latency, ...]] = {}
    for device in devices:
        if device.name in documents:
            for identity, row in rows(documents[device.name], device.name).items():
                latency[identity] = (*latency.get(identity, ()), row)
    listed = tuple(
        device_row(documents[d.name], d.name)
        if d.name in documents
        else DeviceRow(name=d.name, label="none", reason=" ".join(str(failed[d.name]).split()))
        for d in devices
    )
    here = next((documents[d.name]["host"] for d in devices if d.kind == "local"), None)
    return Measured({f.plan.id: latency.get(f.plan.id, ()) for f in files}, listed, here or host_facts())


def _said(text: str, _: Mapping[str, Any]) -> str:
    return text


def _key(walk: "Walk", files: Sequence["File"], device: Device) -> str:
    """A device's figures do not depend on which others the recipe names."""
    settings = {**walk.recipe.measure.settings(), "devices": [device.name]}
    inputs = {f.plan.id: f.sha256 for f in files}
    tools = {**record.versions(record.ENGINES["onnx"]), **record.versions(record.ENGINES["tflite"])}
    if device.kind == "ssh":  # what it is made of is not asked: a finished run can be drawn again without it
        settings["device"] = device.model_dump(mode="json", exclude={"timeout_s", "grace_s"})
    else:
        host = host_facts()
        tools |= {"cpu": str(host["cpu"]), "cores": str(host["cores"])}
        settings |= {"threads": device.threads or settings["threads"], "energy": device.energy}
    return make_key("measure", settings, version=VERSION, inputs=inputs, seed=0, tools=tools)


def _here(walk: "Walk", files: Sequence["File"], device: Device, progress: Any) -> Document:
    from compress.benchmark.latency import measure as time_bundles

    config = walk.recipe.measure
    return time_bundles({f.plan.id: f.folder for f in files}, files[0].plan.id, profile=config.profile,
                        threads=device.threads or config.threads, energy=device.energy,
                        progress=progress)  # fmt: skip


def _there(
    walk: "Walk", files: Sequence["File"], devices: Sequence[Device], progress: Any
) -> tuple[dict[str, Document], dict[str, CompressError]]:
    """Devices behind ssh, side by side; each writes its log into the run folder."""
    from compress.benchmark.bundles import measure_on

    config = walk.recipe.measure
    job = job_of({f.plan.id: f.folder for f in files}, files[0].plan.id, profile=config.profile,
                 threads=config.threads, energy="auto")  # fmt: skip
    done = measure_on(devices, job, lambda name, share, note: progress(share, 1.0, f"{name}: {note}"),
                      walk.folder.root / "logs")  # fmt: skip
    documents, failures = dict(done.documents), dict(done.failures)
    for name, document in done.documents.items():
        try:
            sound(document)
        except MeasureError as error:
            failures[name] = error
            del documents[name]
    return documents, failures
