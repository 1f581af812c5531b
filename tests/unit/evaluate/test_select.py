import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.errors import MeasureError, UsageError
from compress.evaluate.select import Check, budget_rows, select
from compress.recipe.schema import BudgetConfig


@pytest.fixture
def plan(artefact):
    """The default recipe's shape: every step better, the last one best."""
    return (
        artefact("teacher.onnx", 2_000_000, None, validation=990, test=988),
        artefact("01-distill.onnx", 200_000, 5.0, validation=988, test=986),
        artefact("02-prune.onnx", 120_000, 9.0, validation=985, test=982),
        artefact("03-quantize.onnx", 60_000, 12.0, validation=984, test=981),
        artefact("03-quantize.tflite", 62_000, 13.0, validation=984, test=981),
    )


def with_(plan, identity, new):
    return tuple(new if a.id == identity else a for a in plan)


def test_the_greatest_gain_ships_and_the_reason_says_so(plan):
    choice = select(plan, BudgetConfig(accuracy_drop_points=1.0, size_bytes=150_000, latency_ms={"cpu": 2.0}))

    assert (choice.id, choice.meets) == ("03-quantize.onnx", True)
    assert choice.reason == (
        "it keeps the budget; of the 3 that do a larger one gains more, but not 1.25 times as much: "
        "0.60 points below the teacher on validation, 33.3x smaller, 12.0x faster on cpu"
    )
    without = [a for a in plan if a.id != "03-quantize.tflite"]
    assert select(without, BudgetConfig(size_bytes=150_000)).reason.startswith(
        "it keeps the budget and gains most of the 2 that do: 0.60 points below"
    )


def test_a_wavering_timing_does_not_change_what_ships_but_a_clear_gain_does(plan, artefact):
    wavering = with_(plan, "03-quantize.tflite", artefact("03-quantize.tflite", 62_000, 15.0))
    twice = with_(plan, "03-quantize.tflite", artefact("03-quantize.tflite", 62_000, 24.0))

    assert select(wavering, BudgetConfig()).id == "03-quantize.onnx"
    assert select(twice, BudgetConfig()).id == "03-quantize.tflite"


def test_not_merely_the_last_an_int8_step_that_got_slower_and_misses_the_latency_does_not_ship(plan, artefact):
    slow = [artefact(f"03-quantize.{f}", 60_000, 5.0, validation=984) for f in ("onnx", "tflite")]

    choice = select((*plan[:3], *slow), BudgetConfig(accuracy_drop_points=1.0, latency_ms={"cpu": 1.5}))

    assert (choice.id, choice.meets) == ("02-prune.onnx", True)
    assert choice.reason.startswith("the only one that keeps the budget: 0.50 points below")


def test_validation_accuracy_chooses_and_test_accuracy_cannot(plan, artefact):
    lucky = with_(plan, "02-prune.onnx", artefact("02-prune.onnx", 10_000, 90.0, validation=970, test=1000))

    assert select(lucky, BudgetConfig(accuracy_drop_points=1.0)).id == "03-quantize.onnx"


def test_without_an_accuracy_limit_one_point_is_assumed(plan, artefact):
    ruined = with_(plan, "03-quantize.onnx", artefact("03-quantize.onnx", 1_000, 99.0, validation=400))
    all_ruined = tuple(
        a if a.step == "teacher" else artefact(a.id, a.size_bytes, 9.0, validation=800 + i) for i, a in enumerate(plan)
    )

    assert select(ruined, BudgetConfig()).id == "03-quantize.tflite"
    assert "no accuracy was budgeted, so those within 1 point" in select(ruined, BudgetConfig()).reason
    assert select(all_ruined, BudgetConfig()).id == "03-quantize.tflite"
    assert select(all_ruined, BudgetConfig()).reason.endswith("the most accurate was taken")


def test_without_any_promise_nothing_is_said_to_be_kept(plan):
    reason = select(plan, BudgetConfig(), allow_slower=True).reason

    assert reason.startswith(
        "the recipe sets no budget; of 4 a larger one gains more, but not 1.25 times as much: 0.60"
    )
    reason = select(plan[:-1], BudgetConfig(), allow_slower=True).reason
    assert reason.startswith("the recipe sets no budget, and of 3 it gains most: 0.60 points below")
    assert "it keeps the budget" in select(plan, BudgetConfig(), allow_slower=False).reason
    assert "it keeps the budget" in select(plan, BudgetConfig(size_bytes=10**9), allow_slower=True).reason


def test_where_none_keeps_the_budget_the_nearest_ships_with_what_it_misses(plan):
    choice = select(plan, BudgetConfig(accuracy_drop_points=1.0, size_bytes=50_000))

    assert (choice.id, choice.meets) == ("03-quantize.onnx", False)
    assert choice.reason == "none keeps the budget; nearest: size 60,000 bytes (limit 50,000 bytes)"


def test_lost_accuracy_weighs_more_than_a_missed_size(plan, artefact):
    wrecked = with_(plan, "03-quantize.onnx", artefact("03-quantize.onnx", 40_000, 12.0, validation=700))

    assert select(wrecked, BudgetConfig(accuracy_drop_points=0.1, size_bytes=50_000)).id == "03-quantize.tflite"


def test_ten_of_a_thousand_is_one_point_and_no_hair_more(artefact):
    artefacts = (artefact("teacher.onnx", 9, None, validation=990), artefact("01-x.onnx", 8, 2.0, validation=980))

    assert select(artefacts, BudgetConfig(accuracy_drop_points=1.0)).meets


def test_the_teacher_ships_only_where_there_is_nothing_else(artefact):
    teacher = artefact("teacher.onnx")

    assert select([teacher], BudgetConfig()).reason == "there is nothing but the teacher"
    assert select([teacher, artefact("01-x.onnx", 2**40, 0.1, validation=0)], BudgetConfig()).id == "01-x.onnx"


def test_no_smaller_or_no_faster_than_the_teacher_misses_unless_allowed(artefact):
    teacher = artefact("teacher.onnx", 100, None, test=985)
    larger, slower = artefact("01-a.onnx", 100, 2.0), artefact("01-a.onnx", 50, 0.9)

    assert not select([teacher, larger], BudgetConfig()).meets
    assert not select([teacher, slower], BudgetConfig()).meets
    assert select([teacher, larger], BudgetConfig(), allow_slower=True).meets
    size, speed = budget_rows([teacher, slower], "01-a.onnx", BudgetConfig())
    assert (size.name, size.ok, size.value, size.limit, size.unit) == ("size against the teacher", True, 0.5, 1.0, "x")
    assert (speed.name, speed.ok) == ("latency against the teacher on cpu", False)
    assert speed.value == pytest.approx(1 / 0.9)
    assert speed.blame == "01-a made it 1.11x slower"
    assert budget_rows([teacher, slower], "01-a.onnx", BudgetConfig(), allow_slower=True) == ()


def test_faster_must_be_shown_not_only_seen(artefact):
    teacher = artefact("teacher.onnx", 100)
    maybe = artefact("01-a.onnx", 50, latencies=(artefact.latency(1.05, (0.97, 1.13)),))

    assert select([teacher, maybe], BudgetConfig()).reason == (
        "none keeps the budget; nearest: latency against the teacher on cpu 0.95x, "
        "but up to 1.03x within its 95 % interval (must be under 1.00x)"
    )
    row = budget_rows([teacher, maybe], "01-a.onnx", BudgetConfig())[-1]
    assert not row.ok
    assert row.blame == (
        "0.95x, but up to 1.03x within its 95 % interval; no step made it slower; 01-a gained least (1.05x faster)"
    )


def test_rows_are_judged_on_test_and_blame_the_step_that_cost_most(plan):
    budget = BudgetConfig(accuracy_drop_points=0.5, size_bytes=50_000, latency_ms={"cpu": 0.5})

    accuracy, size, latency, *rest = budget_rows(plan, "03-quantize.onnx", budget)

    assert (accuracy.name, accuracy.value, accuracy.unit, accuracy.ok) == ("accuracy drop", 0.7, "points", False)
    assert accuracy.blame == "02-prune cost 0.40 of 0.70 points"
    assert (size.value, size.ok) == (60_000, False)
    assert size.blame == "no step made it larger; 02-prune gained least (1.67x smaller)"
    assert (latency.name, latency.unit, latency.ok) == ("latency on cpu", "ms", False)
    assert latency.blame == "no step made it slower; 03-quantize gained least (1.33x faster)"
    assert [row.ok for row in rest] == [True, True]
    assert {row.blame for row in rest} == {""}


def test_a_limit_on_a_device_that_was_not_measured_is_an_error_not_a_pass(plan):
    with pytest.raises(MeasureError) as caught:
        select(plan, BudgetConfig(latency_ms={"pi5": 1.0}))

    assert str(caught.value) == (
        "budget.latency_ms.pi5: 01-distill.onnx was not timed on pi5; measured: cpu\n"
        "  fix: add pi5 to measure.devices, or drop the limit"
    )


def test_an_artefact_without_validation_accuracy_is_an_error(artefact):
    artefacts = (artefact("teacher.onnx", 9), artefact("01-x.onnx", 8, 2.0, accuracy=()))

    with pytest.raises(UsageError, match=r"artefact 01-x\.onnx: it has no accuracy on validation"):
        select(artefacts, BudgetConfig(accuracy_drop_points=1.0))


@given(st.floats(0.001, 1e9), st.floats(0.001, 1e9), st.sampled_from(["ms", "bytes", "points", "x"]), st.booleans())
def test_excess_is_positive_exactly_where_a_limit_is_missed(limit, value, unit, strict):
    check = Check("c", limit, value, unit, strict)

    assert (check.excess > 0) == (not check.ok)
    assert check.ok == (value < limit if strict else value <= limit)
