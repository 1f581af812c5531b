"""What a report tells its reader to do next."""

import pytest
import samples

from compress.report.facts.run import facts
from compress.result import BudgetRow


def missed(name, unit):
    return {"budget": (BudgetRow(name=name, limit=1.0, value=2.0, unit=unit, ok=False),)}


@pytest.mark.parametrize(
    ("sample", "change", "said"),
    [
        ("good", {"smoke": True}, "without `--smoke`"),
        ("alone", {}, "Add a student"),
        ("breach", {}, "Do not use the file yet"),
        ("good", missed("accuracy drop", "points"), "`compress blame RUN`"),
        ("good", missed("size", "bytes"), "Prune more"),
        ("good", missed("latency on cpu", "ms"), "`compress measure RUN --profile-operators`"),
        ("good", missed("latency against the teacher on cpu", "x"), "--profile-operators"),
        ("good", missed("consistency drop", "points"), "data.augment"),
        ("good", {}, "copy `RUN/bundle` there, then `edge-runtime check bundle`"),
    ],
)
def test_the_first_thing_to_do(sample, change, said):
    run = samples.SAMPLES[sample]().model_copy(update=change)

    assert said in facts(run, "RUN").next[0]


def test_a_float_file_is_not_blamed_layer_by_layer():
    run = samples.good()
    shipped = next(a for a in run.artefacts if a.id == run.shipped).model_copy(update={"precision": "float32"})
    others = tuple(shipped if a.id == run.shipped else a for a in run.artefacts)
    run = run.model_copy(update={"artefacts": others, **missed("accuracy drop", "points")})

    assert "Train the student longer" in facts(run).next[0]


@pytest.mark.parametrize(("before", "said"), [(-1.9, "Train the student longer"), (-0.1, "`compress blame ")])
def test_blame_is_for_what_int8_cost_not_for_what_the_student_did(before, said):
    run = samples.good()

    def lost(artefact, points):
        paired = artefact.paired.model_copy(update={"difference_points": points})
        return artefact.model_copy(update={"paired": paired})

    changed = tuple(
        a if a.paired is None else lost(a, before if a.precision == "float32" else -2.0) for a in run.artefacts
    )
    run = run.model_copy(update={"artefacts": changed, **missed("accuracy drop", "points")})

    assert facts(run).next[0].startswith(said)


def test_a_disturbed_timing_is_to_be_repeated():
    run = samples.good()
    timed = run.artefacts[-1].latency[0].model_copy(update={"warnings": ("other work",)})
    noisy = tuple(a.model_copy(update={"latency": (timed,)}) if a.id == run.shipped else a for a in run.artefacts)
    found = facts(run.model_copy(update={"artefacts": noisy})).next

    assert found[0].startswith("`compress measure .` times the bundle again")
    assert found[-1] == "Type commands in the folder of this report."
