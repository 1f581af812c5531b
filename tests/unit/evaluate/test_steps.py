import pytest

from compress.evaluate.steps import blame_accuracy, chain, data_flags, step_flags


def test_the_chain_follows_the_format_of_the_file_it_ends_in(artefact):
    artefacts = [
        artefact(i)
        for i in (
            "teacher.onnx",
            "01-distill.onnx",
            "01-distill.tflite",
            "02-prune.onnx",
            "03-quantize.onnx",
            "03-quantize.tflite",
        )
    ]

    assert [a.id for a in chain(artefacts, artefacts[-1])] == [
        "teacher.onnx",
        "01-distill.tflite",
        "02-prune.onnx",
        "03-quantize.tflite",
    ]
    assert [a.id for a in chain(artefacts, artefacts[1])] == ["teacher.onnx", "01-distill.onnx"]
    assert chain(artefacts, artefacts[0]) == [artefacts[0]]


def test_the_teacher_alone_has_nobody_to_blame(artefact):
    assert blame_accuracy([artefact("teacher.onnx")], artefact("teacher.onnx")) == ""


def test_a_step_that_made_the_model_slower_is_flagged_with_both_files_and_the_interval(artefact):
    artefacts = (
        artefact("teacher.onnx", 900),
        artefact("01-distill.onnx", 100, 10.0),
        artefact("02-quantize.onnx", 30, 9.0),
    )

    assert step_flags(artefacts) == (
        "02-quantize made the model slower on cpu: 0.90x (02-quantize.onnx against 01-distill.onnx, "
        "95 % interval 0.87 to 0.93)",
    )


def test_slower_than_the_teacher_is_flagged_with_the_measured_interval_itself(artefact):
    artefacts = (artefact("teacher.onnx", 900), artefact("01-quantize.onnx", 300, 0.6))

    assert step_flags(artefacts) == (
        "01-quantize made the model slower on cpu: 0.60x (01-quantize.onnx against teacher.onnx, "
        "95 % interval 0.59 to 0.61)",
    )


def test_what_may_be_noise_is_not_flagged(artefact):
    artefacts = (artefact("teacher.onnx", 9), artefact("01-a.onnx", 8, 10.0), artefact("02-b.onnx", 7, 9.85))

    assert step_flags(artefacts) == ()


def test_a_step_that_made_the_file_larger_is_flagged_within_one_format_only(artefact):
    artefacts = (
        artefact("teacher.onnx", 90_000),
        artefact("01-quantize.onnx", 97_200, 2.0),
        artefact("01-quantize.tflite", 99_000, 2.0),
    )

    assert step_flags(artefacts) == (
        "01-quantize made the file larger: 1.08x (01-quantize.onnx against teacher.onnx, 97,200 after 90,000 bytes)",
    )


@pytest.mark.parametrize("missing", ["before", "now"])
def test_without_both_timings_nothing_is_said_of_speed(artefact, missing):
    first = artefact("01-a.onnx", 8, **({"latencies": ()} if missing == "before" else {"ratio": 5.0}))
    second = artefact("02-b.onnx", 7, **({"latencies": ()} if missing == "now" else {"ratio": 2.0}))

    assert step_flags((artefact("teacher.onnx", 9), first, second)) == ()


def test_a_float_twin_is_no_step_s_doing(artefact):
    twin = artefact("03-quantize-float32.onnx", 101_000, 5.0, step="03-quantize")
    artefacts = (artefact("teacher.onnx", 900_000), artefact("02-prune.onnx", 100_000, 10.0),
                 artefact("03-quantize.onnx", 30_000, 20.0), twin)  # fmt: skip

    assert step_flags(artefacts) == ()


def teacher(artefact, confusion):
    """A teacher with that confusion of classes on test."""
    made = artefact("teacher.onnx")
    right, count = sum(row[i] for i, row in enumerate(confusion)), sum(map(sum, confusion))
    test = made.accuracy[1].model_copy(update={"confusion": confusion, "correct": right, "count": count})
    return made.model_copy(update={"accuracy": (made.accuracy[0], test)})


def test_a_teacher_that_guesses_is_flagged(artefact):
    assert data_flags(teacher(artefact, ((50, 10), (30, 10))), ("cat", "dog")) == (
        "the teacher is no better than guessing: right on 60 of 100 test examples, where always saying 'cat' is on 60",
    )
    assert data_flags(teacher(artefact, ((51, 9), (30, 10))), ("cat", "dog")) == ()
    assert data_flags(artefact("teacher.onnx"), ("cat", "dog")) == ()


def test_classes_that_the_test_split_hardly_holds_are_flagged(artefact):
    confusion = ((50, 0, 0), (0, 4, 0), (0, 0, 0))

    assert data_flags(teacher(artefact, confusion), ("cat", "dog", "emu")) == (
        "too few test examples to judge 2 of 3 classes by (dog: 4, emu: 0)",
    )
