import re

from samples import good

from compress.report.facts.run import facts
from compress.report.pages.run import render
from compress.report.sections.devices import devices
from compress.report.text.markdown import render as markdown
from compress.result import DeviceRow, Energy


def with_devices():
    """The sample on this machine, on a Pi seven times slower, in an emulator, and on one that was away."""
    result = good()
    energy = Energy(label="measured", net_mj=0.81, total_mj=1.5, meter="Pi 5 PMIC", scope="board", windows=5)
    artefacts = []
    for a in result.artefacts:
        pi = [x.model_copy(update={"device": "pi5", "p50_ms": 7 * x.p50_ms, "energy": energy}) for x in a.latency]
        artefacts.append(a.model_copy(update={"latency": (*a.latency, *pi)}))
    rows = (
        DeviceRow(name="cpu", label="measured", host={"cpu": "Xeon"}),
        DeviceRow(name="pi5", label="measured", host={"board": "Raspberry Pi 5", "cpu": "4 x Cortex-A76"}),
        DeviceRow(name="toy", label="emulated", reason="its clock says nothing",
                  checks={a.id: "passed: 100 % of 16" for a in artefacts}),
        DeviceRow(name="pi9", label="none", reason="device pi9: timed out"),
    )  # fmt: skip
    return result.model_copy(update={"artefacts": tuple(artefacts), "devices": rows})


def cells(html):
    """The text of each cell of the table of devices, row by row."""
    table = re.search(r'<table class="stack devices".*?</table>', html, re.S)[0]
    return [[" ".join(re.sub(r"<[^>]+>", " ", c).split()) for c in re.findall(r"<td.*?</td>", row, re.S)]
            for row in re.findall(r"<tr.*?</tr>", table, re.S)[1:]]  # fmt: skip


def test_only_what_was_measured_shows_a_figure():
    for row in cells(str(devices(facts(with_devices())))):
        cpu, pi5, toy, pi9 = row
        assert re.match(r"[\d.]+\s*ms measured", cpu)
        assert re.match(r"[\d.]+\s*ms measured.* 1\.50\s*mJ \(0\.810 above idle; Pi 5 PMIC, board\)", pi5)
        assert toy == "emulated self-test passed"
        assert pi9 == "none not run"


def test_each_device_says_what_it_is_and_why_it_gave_nothing():
    html = render(with_devices())

    assert "Raspberry Pi 5, 4 x Cortex-A76" in html
    assert "device pi9: timed out" in html
    assert 'href="#devices"' in html


def test_a_run_on_this_machine_alone_has_no_such_part():
    assert devices(facts(good())) is None
    assert "### Devices" not in markdown(good())


def test_the_markdown_report_has_the_same_table():
    text = markdown(with_devices())

    assert "| File | cpu | pi5 | toy | pi9 |" in text
    assert re.search(r"\| [\d.]+\s*ms[^|]*\| [\d.]+\s*ms[^|]*\| emulated \| none \|", text)
    assert "**pi9**, none: device pi9: timed out" in text
