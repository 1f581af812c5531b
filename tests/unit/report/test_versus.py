"""The reports of `compress compare`: ratios, who is beaten, what is not compared, and that nothing in them can run."""

import io

import contrasts
import pytest
import samples
from rich.console import Console

from compress.errors import UsageError
from compress.report.facts.versus import lines
from compress.report.pages import versus as versus_page
from compress.report.text import versus as versus_text
from compress.result import Energy
from compress.versus import Side, Versus, energy_unlike, load_versus, save_versus, unlike


def side(name, artefact, **more):
    made = {"run": "r", "seed": 0, "versions": {}, "host": {"cpu": "A"}, "training_seconds": 60.0, **more}
    return Side(name=name, artefact=artefact, **made)


@pytest.fixture
def versus():
    run = samples.good()
    first, *_, last = run.artefacts
    c = contrasts.images().model_copy(update={"before": "teacher", "after": "int8"})
    sides = (side("teacher", first), side("int8", last))
    return Versus(data="digits", fingerprint="f", sides=sides, comparisons=(c,), notes=("Not compared: x.",))


def test_ratios_are_to_the_first_file(versus):
    teacher, int8 = lines(versus, price_per_hour=0.36)
    a, b = (s.artefact for s in versus.sides)

    assert (teacher.size_ratio, teacher.speed, teacher.comparison) == (1.0, 1.0, None)
    assert int8.size_ratio == a.size_bytes / b.size_bytes
    assert int8.speed == pytest.approx(a.latency[0].p50_ms / b.latency[0].p50_ms)
    assert int8.million == pytest.approx(0.36 * b.latency[0].p50_ms / 3.6 * b.latency[0].threads)


def test_latencies_of_different_machines_do_not_stand_side_by_side(versus):
    first, other = versus.sides
    other = other.model_copy(update={"host": {"cpu": "B"}})

    assert unlike(first, other) == "another machine (cpu A against B)"
    assert lines(versus.model_copy(update={"sides": (first, other)}))[1].speed is None


def test_emulated_and_measured_latencies_are_never_compared(versus):
    first, other = versus.sides
    emulated = other.artefact.latency[0].model_copy(update={"label": "emulated"})
    other = other.model_copy(update={"artefact": other.artefact.model_copy(update={"latency": (emulated,)})})

    assert unlike(first, other) == "another label (measured against emulated)"
    assert lines(versus.model_copy(update={"sides": (first, other)}), 1.0)[1].million is None


def test_a_file_that_is_worse_in_everything_is_called_beaten(versus):
    first, other = versus.sides
    worse = first.artefact.model_copy(update={"size_bytes": first.artefact.size_bytes + 1})
    found = lines(versus.model_copy(update={"sides": (first, other, side("worse", worse))}))

    assert "teacher" in found[2].beaten_by
    assert "worse" not in found[0].beaten_by


def test_every_report_names_files_notes_and_verdict(versus):
    page, text = versus_page.render(versus), versus_text.markdown(versus)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(versus_text.terminal(versus))
    printed = console.export_text()

    for report in (page, text, printed):
        assert "Not compared: x." in report
        assert "int8" in report
    assert "<script" not in page
    assert page == versus_page.render(versus)
    assert max(map(len, console.export_text().splitlines()), default=0) <= 80


def test_several_comparisons_have_sections_of_their_own(versus):
    two = versus.model_copy(
        update={
            "sides": (*versus.sides, side("other", versus.sides[1].artefact)),
            "comparisons": (*versus.comparisons, versus.comparisons[0].model_copy(update={"after": "other"})),
        }
    )
    page = versus_page.render(two)

    assert 'id="c0-slices"' in page
    assert 'id="c1-slices"' in page


def test_compare_json_comes_back_as_it_was(versus, tmp_path):
    save_versus(tmp_path / "compare.json", versus)

    assert load_versus(tmp_path / "compare.json") == versus


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "cannot be read"),
        ("[]", "no comparison of version 1"),
        ('{"format": "compress.compare", "version": 1}', "Field required"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, text, problem):
    (tmp_path / "compare.json").write_text(text)
    with pytest.raises(UsageError, match=problem):
        load_versus(tmp_path / "compare.json")


def with_energy(side, mj, meter="ina219", label="measured"):
    found = Energy(label=label, total_mj=mj, total_ci95=(0.9 * mj, 1.1 * mj), meter=meter, scope="board")
    timed = side.artefact.latency[0].model_copy(update={"energy": found})
    return side.model_copy(update={"artefact": side.artefact.model_copy(update={"latency": (timed,)})})


def test_energy_counts_where_it_was_measured_alike(versus):
    first, second = versus.sides
    thirsty = with_energy(second.model_copy(update={"name": "thirsty"}), 3.0)
    sides = (first, with_energy(second, 1.0), thirsty)
    v = versus.model_copy(update={"sides": sides})
    html = versus_page.render(v).replace("\u00a0", " ")

    assert "1.00 mJ" in html
    assert "Accuracy against energy" in html  # of the two that were metered; the first was not
    assert "Energy an inference" in html
    assert lines(v)[2].beaten_by == ("int8",)
    assert "int8: 1.00 mJ; thirsty: 3.00 mJ" in versus_text.markdown(v).replace("\u00a0", " ")
    assert "another meter" in energy_unlike(sides[1], with_energy(second, 1.0, meter="rapl"))
    assert energy_unlike(sides[1], with_energy(second, 1.0, label="estimated")) == "int8 has none measured"


def test_where_no_energy_was_measured_that_is_said(versus):
    assert "Energy: none measured" in versus_page.render(versus)
    assert "Energy: none measured" in versus_text.markdown(versus)
