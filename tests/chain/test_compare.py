"""`compress compare` on finished runs, as a user calls it."""

import json
import shutil

import pytest

from compress.versus import load_versus


@pytest.fixture(scope="module")
def compared(finished):
    done = finished("compare", "runs/digits_tiny:00-teacher.onnx", "runs/digits_tiny", "runs/digits_tiny:02-prune.onnx")
    return finished.folder / "compare", done.stdout


def test_a_run_is_compared_with_its_teacher(compared):
    folder, out = compared
    found = load_versus(folder / "compare.json")

    assert found.sides[0].name == "00-teacher.onnx"
    assert [c.after for c in found.comparisons] == [s.name for s in found.sides[1:]]
    assert found.notes == ()
    assert (folder / "compare.html").read_text().startswith("<!doctype html>")
    assert "| File |" in (folder / "compare.md").read_text()
    assert "00-teacher.onnx" in out


def test_it_says_what_the_run_itself_says(compared, finished):
    folder, _ = compared
    result = json.loads((finished.folder / "runs/digits_tiny/result.json").read_text())
    own = next(a for a in result["artefacts"] if a["id"] == result["shipped"])["paired"]
    found = load_versus(folder / "compare.json").comparisons[0].paired

    assert (found.lost, found.gained, found.p_value) == (own["lost"], own["gained"], own["p_value"])


def refusal(finished, *arguments):
    done = finished("compare", *arguments, check=None)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["runs/digits_tiny"], "there is nothing to compare with"),
        (["runs/digits_tiny", "runs/digits_tiny"], "is named twice"),
        (["runs/digits_tiny", "nowhere"], "there is no such folder"),
        (["runs/digits_tiny", "runs"], "there is no result.json"),
        (["runs/digits_tiny", "runs/digits_tiny:teacher"], "the run has no artefact 'teacher'"),
    ],
)
def test_what_cannot_be_compared_is_refused(finished, arguments, problem):
    assert problem in refusal(finished, *arguments)


def copy(finished, name):
    shutil.copytree(finished.folder / "runs" / "digits_tiny", finished.folder / "runs" / name, dirs_exist_ok=True)
    return finished.folder / "runs" / name


def test_another_test_set_is_refused_with_the_fact_that_differs(finished):
    other = copy(finished, "other_data")
    doc = json.loads((other / "result.json").read_text())
    doc["data"]["counts"]["test"] = 7
    (other / "result.json").write_text(json.dumps(doc))

    assert "were judged on different tests: number of test examples 100 against 7" in refusal(
        finished, "runs/digits_tiny", "runs/other_data"
    )


def test_predictions_that_are_not_those_of_the_result_are_refused(finished):
    other = copy(finished, "other_predictions")
    result = json.loads((other / "result.json").read_text())
    shutil.copy(other / "predictions" / "00-teacher.onnx.npy", other / "predictions" / f"{result['shipped']}.npy")

    assert "these predictions are not those that result.json" in refusal(
        finished, "runs/digits_tiny", "runs/other_predictions"
    )


def test_missing_predictions_are_told(finished):
    other = copy(finished, "no_predictions")
    shutil.rmtree(other / "predictions")

    assert "the predictions cannot be read" in refusal(finished, "runs/digits_tiny", "runs/no_predictions")


def test_another_machine_is_compared_in_accuracy_and_size_only(finished):
    other = copy(finished, "other_machine")
    doc = json.loads((other / "result.json").read_text())
    doc["host"]["cpu"] = "Another CPU"
    (other / "result.json").write_text(json.dumps(doc))
    done = finished("compare", "runs/digits_tiny", "runs/other_machine", "--out", "compare2")

    assert "note: Latency of other_machine" in done.stdout
    assert "another machine (cpu" in " ".join(done.stdout.split())
