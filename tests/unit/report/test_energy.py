"""Energy in the report of a run: drawn where a meter measured it, and said where none did."""

import re

import pytest
import samples

from compress.report.facts.energy import not_measured, told
from compress.report.facts.run import facts
from compress.report.pages import run as page
from compress.report.text import markdown, terminal
from compress.result import Energy


def metered(label="measured"):
    """The sample with a meter on a second device, whose energies fall from file to file."""
    run, artefacts = samples.good(), []
    for i, a in enumerate(run.artefacts):
        mj = 8.0 / (i + 1)
        found = Energy(label=label, total_mj=mj, total_ci95=(0.9 * mj, 1.1 * mj), net_mj=mj / 2, meter="ina219",
                       scope="board", reason="2 W a core" if label == "estimated" else "")  # fmt: skip
        pi = a.latency[0].model_copy(update={"device": "pi5", "energy": found})
        artefacts.append(a.model_copy(update={"latency": (*a.latency, pi)}))
    return run.model_copy(update={"artefacts": tuple(artefacts)})


def plain(text):
    return text.replace("\u00a0", " ")


def test_accuracy_stands_against_energy_where_it_was_measured():
    run = metered()
    html = plain(page.render(run))
    shipped = next(r for r in facts(run).rows if r.is_shipped)

    assert "Accuracy against energy" in html
    assert "energy an inference on pi5, mJ" in html
    assert f"{shipped.energy_mj:.2f} mJ" in html
    assert f"{8.0 / shipped.energy_mj:.2f}× less" in html
    assert "less energy" in html  # each step's share
    assert "none measured" not in html


def test_markdown_and_terminal_tell_it_too(capsys):
    from rich.console import Console

    run = metered()
    Console(width=80).print(terminal.render(run))

    assert "| Energy, pi5 |" in markdown.render(run)
    assert re.search(r"Energy +.*8\.00.mJ", capsys.readouterr().out)


@pytest.mark.parametrize("run", [samples.good(), metered("estimated")], ids=["nothing", "estimated"])
def test_without_a_meter_nothing_is_drawn_and_that_is_said(run):
    html = page.render(run)

    assert "Accuracy against energy" not in html
    assert "Energy: none measured" in html
    assert "Energy: none measured" in markdown.render(run)


def test_why_it_was_not_measured_is_told():
    assert not_measured([]) == "Energy: none measured."
    timed = metered("estimated").artefacts[0].latency
    assert not_measured(timed) == "Energy: none measured, only estimated (2 W a core)."
    assert not_measured(metered().artefacts[0].latency) == ""


def test_the_total_comes_first_and_what_is_above_idle_beside_it():
    found = metered().artefacts[0].latency[-1].metered
    assert found is not None
    assert [plain(t) for t in told(found)] == ["8.00 mJ", "7.20 to 8.80; 4.00 above idle; ina219, board"]
