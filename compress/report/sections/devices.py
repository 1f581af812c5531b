"""Devices side by side. A cell says how its figure came about; what was not measured shows no figure at all."""

from compress.report import words
from compress.report.facts.energy import told
from compress.report.facts.rows import Row
from compress.report.facts.run import Facts
from compress.report.html.markup import Markup, join, tag
from compress.report.html.parts import minor, section, table
from compress.result import DeviceRow

_MEANING = {
    "measured": "timed there",
    "emulated": "run in an emulator: answers checked, speed unknown",
    "none": "no figures",
}


def label(kind: str) -> Markup:
    """How a figure came about, as a badge."""
    return tag("span", kind, class_=f"badge label-{kind}")


def devices(facts: Facts) -> Markup | None:
    """A table with a column a device, and what each device is; nothing for a run on this machine alone."""
    found = facts.result.devices
    if len(found) < 2 and all(d.label == "measured" for d in found):
        return None
    heads = ("File", *(words.one_line(d.name) for d in found))
    rows = [("shipped" if r.is_shipped else None, [_name(r), *(_cell(r, d) for d in found)]) for r in facts.rows]
    about = [(None, _about(d)) for d in found]
    return section(
        "devices",
        "Devices side by side",
        table("Latency of every file on every device", heads, rows, kind="devices", figures=len(found)),
        table("The devices", ("Device", "Figures", "What it is", "Notes"), about, kind="hosts"),
        lead="Median latency of one example; in smaller type how many times faster than the teacher there, "
        "with the 95 % interval, and the energy of an inference where a meter was read. Compare down a column, not "
        "across: devices were measured apart.",
    )


def _name(r: Row) -> Markup:
    return join(tag("b", r.role), minor(r.id))


def _cell(r: Row, d: DeviceRow) -> Markup:
    if d.label != "measured":
        check = d.checks.get(r.artefact.id)
        return join(label(d.label), minor(f"self-test {words.one_line(check.split(':')[0])}" if check else "not run"))
    found = next((x for x in r.artefact.latency if x.device == d.name), None)
    if found is None:
        return join(label("none"), minor("its engine is not there"))
    ratio = None
    if found.ratio and found.ratio_ci95 and not r.is_teacher:
        low, high = map(words.significant, found.ratio_ci95)
        ratio = minor(f"{words.times(found.ratio)} ({low} to {high})")
    energy = minor("{} ({})".format(*told(found.metered))) if found.metered else None
    return join(words.milliseconds(found.p50_ms), " ", label(found.label), ratio, energy)


def _about(d: DeviceRow) -> list[object]:
    host = d.host
    facts = [host.get("board"), host.get("cpu"), host.get("system"), host.get("governor")]
    what = ", ".join(words.one_line(str(f)) for f in facts if f) or "not known"
    notes = [tag("small", words.prose(n), class_="warn") for n in (d.reason, *d.notes) if n]
    return [tag("b", words.one_line(d.name)), join(label(d.label), minor(_MEANING.get(d.label))), what, join(*notes)]
