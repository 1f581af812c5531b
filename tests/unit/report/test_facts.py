import pytest
import samples

from compress.errors import UsageError
from compress.report.facts.rows import beaten
from compress.report.facts.run import facts
from compress.report.facts.verdict import margin
from compress.result import BudgetRow


def test_the_verdict_of_a_good_run_says_gain_loss_budget_and_trust() -> None:
    v = facts(samples.good()).verdict
    assert v.headline == (
        "31.2× smaller and 14.1× faster than the teacher, and no difference in accuracy could be shown (−0.30 points)."
    )
    assert v.budget == "Met: all 5 promises were kept."
    assert v.trust.startswith("Yes: parity held at all 4 conversions")
    assert (v.budget_grade, v.trust_grade) == ("good", "good")


def test_a_missed_budget_says_by_how_much_and_which_step_cost_it() -> None:
    v = facts(samples.missed()).verdict
    assert v.budget_grade == "bad"
    assert "accuracy drop by 0.20\u00a0points: 03-quantize cost 0.20 of 0.30 points" in v.budget
    assert "size by 4.20\u00a0kB: no step made it larger" in v.budget


def test_a_breach_is_named_and_ends_the_trust() -> None:
    found = facts(samples.breach())
    assert found.verdict.trust == "No: 1 of 4 conversions changed what the model does (int8 to TFLite)."
    assert [h.target for h in found.breaches] == ["03-quantize.tflite"]


def test_training_hops_over_tolerance_only_inform() -> None:
    run = samples.good()
    distil = run.ledger[1].model_copy(update={"ok": False})
    assert facts(run.model_copy(update={"ledger": (run.ledger[0], distil)})).verdict.trust_grade == "good"


def test_a_loss_that_was_shown_is_in_the_headline() -> None:
    assert facts(samples.many(30)).verdict.headline.endswith("for 3.0 points of accuracy.")


def test_a_smoke_run_claims_nothing() -> None:
    v = facts(samples.unmeasured()).verdict
    assert v.headline == "A smoke run: the chain works, its numbers mean nothing."
    assert v.trust_grade == "bad"


def test_a_teacher_alone_claims_no_gain() -> None:
    v = facts(samples.alone()).verdict
    assert v.headline == "Nothing smaller was shipped: the teacher itself is in the bundle."
    assert v.budget == "The recipe sets none."


def test_a_file_that_got_larger_and_slower_says_so() -> None:
    run = samples.good()
    worse = samples.artefact("03-quantize.onnx", "int8 ONNX", "int8", 886_240, 0.981, 1.06)
    headline = facts(run.model_copy(update={"artefacts": (run.artefacts[0], worse)})).verdict.headline
    assert headline.startswith("2.00× larger and 2.00× slower than the teacher")


def test_warnings_of_the_timing_and_estimates_lower_the_trust() -> None:
    run = samples.good()
    shipped = run.artefact(run.shipped)
    timing = shipped.latency[0].model_copy(update={"label": "estimated", "warnings": ("the clock changed",)})
    doubtful = shipped.model_copy(update={"latency": (timing,)})
    trust = facts(run.model_copy(update={"artefacts": (run.artefacts[0], doubtful)})).verdict.trust
    assert trust == "With care: latency is estimated, not measured; the clock changed."


def test_each_step_is_compared_with_the_one_before_it() -> None:
    steps = facts(samples.good()).steps
    assert [s.name for s in steps] == ["00-teacher", "01-distill", "02-prune", "03-quantize"]
    assert steps[2].row.changed == "parameters −40\u202f%, MACs −40\u202f%"
    assert steps[3].row.changed == "float32 → int8"
    assert steps[3].accuracy_points == pytest.approx(-0.2)
    assert steps[3].size_factor == pytest.approx(26_310 / 14_203)
    assert steps[3].speed_factor == pytest.approx(0.049 / 0.0376)


def test_a_second_format_of_the_teacher_is_the_same_model() -> None:
    run = samples.good()
    again = run.artefacts[0].model_copy(update={"id": "teacher.tflite", "format": "tflite"})
    rows = facts(run.model_copy(update={"artefacts": (run.artefacts[0], again), "shipped": "teacher.onnx"})).rows
    assert rows[1].changed == "same model as TFLite"


def test_a_file_is_compared_with_the_same_format_of_the_step_before() -> None:
    run = samples.good()
    half = samples.artefact("02-prune.tflite", "pruned TFLite", "float16", 20_000, 0.983, None, 0.6)
    rows = facts(run.model_copy(update={"artefacts": (*run.artefacts[:3], half, *run.artefacts[3:])})).rows
    assert {r.id: r.changed for r in rows}["03-quantize.tflite"] == "float16 → int8"


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"limit": 1.0, "value": 0.3, "unit": "points", "ok": True}, "met with 0.70 points to spare"),
        ({"limit": 100, "value": 100, "unit": "bytes", "ok": True}, "met, exactly on the limit"),
        ({"limit": 1.0, "value": 0.5, "unit": "x", "ok": True}, "met, 2.00× below the limit"),
        ({"limit": 1.0, "value": 1.5, "unit": "x", "ok": False, "blame": "02-prune"}, "missed by 1.50×: 02-prune"),
        ({"limit": 1.0, "value": 1.0, "unit": "x", "ok": False}, "missed: it has to be below the limit"),
        ({"limit": 1.0, "value": 0.9, "unit": "x", "ok": False, "blame": ", but up to 1.1x"},
         "missed: its interval reaches beyond the limit: but up to 1.1×"),
        ({"limit": 0.0, "value": 0.2, "unit": "points", "ok": False}, "missed by 0.20 points"),
        ({"limit": 3.0, "value": 2.0, "unit": "mJ", "ok": True}, "met with 1.00 mJ to spare"),
    ],
)  # fmt: skip
def test_the_margin_of_a_promise(row: dict[str, object], text: str) -> None:
    assert margin(BudgetRow.model_validate({"name": "x", **row})).replace("\u00a0", " ") == text


def test_a_result_without_artefacts_is_refused() -> None:
    with pytest.raises(
        UsageError, match="result 'distil_int8': the result holds no artefact\n  fix: run the recipe again"
    ):
        facts(samples.good().model_copy(update={"artefacts": ()}))


def test_a_shipped_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match=r"it says that 'gone\.onnx' was shipped, but holds no such artefact"):
        facts(samples.good().model_copy(update={"shipped": "gone.onnx"}))


def test_a_file_that_another_beats_in_everything_is_named():
    run = samples.good()
    first, student, *_, tflite = run.artefacts
    worse = student.model_copy(update={"id": "worse.onnx", "size_bytes": student.size_bytes + 1})
    found = {a.id: b.id for a, b in beaten(facts(run.model_copy(update={"artefacts": (*run.artefacts, worse)})).rows)}

    assert found == {"worse.onnx": student.id, first.id: student.id, tflite.id: run.shipped}
