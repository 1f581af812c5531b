"""The comparison that a run leaves behind, against the files themselves."""

import edge_runtime
import numpy as np
import pytest
import yaml

from compress.data.sources import open_data
from compress.evaluate.invariance import TRANSFORMATIONS, transform
from compress.recipe.schema import DataConfig
from compress.recipe.schema import Transformation as Names
from compress.result import load_result


@pytest.fixture(scope="module")
def evidence(finished, tmp_path_factory):
    """The finished run once more, with invariance and costs asked for: nothing is trained again."""
    recipe = yaml.safe_load((finished.folder / "recipe.yaml").read_text())
    recipe["invariance"] = {"transformations": {"shift": [1], "rotation": [10]}, "examples": 40}
    recipe["costs"] = [[0 if i == j else 5 if i == 0 else 1 for j in range(10)] for i in range(10)]
    recipe["budget"] = {"consistency_drop_points": 0.0}
    recipe["attribution"] = {"examples": 2, "permutations": 2}
    (finished.folder / "evidence.yaml").write_text(yaml.safe_dump(recipe))
    done = finished("run", "evidence.yaml", "--out", "runs/evidence", check=None)
    return finished.folder / "runs" / "evidence", done


@pytest.fixture(scope="module")
def data():
    return open_data(DataConfig(source="digits", limit=500, calibration=64), 0).load()


def test_predictions_are_those_of_the_files(evidence, data):
    run, _ = evidence
    result = load_result(run / "result.json")
    labels = np.load(run / "predictions" / "labels.npy")

    assert (labels == data.test.y).all()
    for artefact in result.artefacts:
        kept = np.load(run / "predictions" / f"{artefact.id}.npy")
        with edge_runtime.load(run / "artefacts" / artefact.id) as model:
            assert np.array_equal(kept, model.logits(data.test.x))


def test_consistency_is_that_of_the_shipped_file(evidence, data):
    run, _ = evidence
    comparison = load_result(run / "result.json").comparison
    row = next(r for r in comparison.invariance if r.transformation == "rotation")
    x = data.test.x[:40]
    with edge_runtime.load(run / "artefacts" / comparison.after) as model:
        same = model.logits(x).argmax(1) == model.logits(transform(x, "rotation", 10, 0)).argmax(1)

    assert (row.count, row.strength) == (40, 10)
    assert row.after_consistency == same.mean()


def test_a_broken_promise_on_consistency_fails_the_run(evidence):
    run, done = evidence
    result = load_result(run / "result.json")
    row = next(b for b in result.budget if b.name == "consistency drop")
    worst = min(result.comparison.invariance, key=lambda r: r.difference_points)

    assert row.value == max(0.0, -worst.difference_points)
    assert (done.returncode == 3) == (row.value > 0)
    assert row.value == 0 or f"over budget: consistency drop is {row.value:.4g} points" in done.stderr


def test_costs_and_classes_are_counted_on_the_test_split(evidence, data):
    run, _ = evidence
    comparison = load_result(run / "result.json").comparison
    answers = np.load(run / "predictions" / f"{comparison.after}.npy").argmax(1)
    wrong = answers != data.test.y

    assert comparison.costs.after == pytest.approx((wrong * np.where(data.test.y == 0, 5, 1)).mean())
    assert sum(p.support for p in comparison.class_pairs) == len(data.test) == comparison.count


def test_a_second_run_takes_the_comparison_from_the_cache(evidence, finished):
    run, _ = evidence
    before = load_result(run / "result.json").comparison
    finished("run", "evidence.yaml", "--out", "runs/evidence", check=None)
    again = load_result(run / "result.json")

    assert {s.name: s.cached for s in again.steps}["compare"] is True
    assert again.comparison == before


def test_recipes_know_the_transformations_there_are():
    assert set(Names.__args__) == set(TRANSFORMATIONS)


def test_the_worst_changed_answers_are_explained_by_both_files(evidence, data):
    run, _ = evidence
    comparison = load_result(run / "result.json").comparison
    told = [f for f in comparison.flips if f.attribution]

    assert told == list(comparison.flips[:2])
    for flip in told:
        a = flip.attribution
        assert (a.kind, a.rows, a.columns, len(a.before), len(a.after)) == ("patches", 7, 7, 49, 49)
        assert a.before != a.after
        grey = np.rint(data.test.x.mean(axis=0))[np.newaxis].astype(np.uint8)
        ends = np.concatenate([data.test.x[flip.index][np.newaxis], grey])
        with edge_runtime.load(run / "artefacts" / comparison.after) as model:
            logits = model.logits(ends)
        i, j = (comparison.classes.index(v) for v in (flip.before, flip.after))
        lean = logits[:, i] - logits[:, j]
        assert sum(a.after) == pytest.approx(float(lean[0] - lean[1]), abs=0.05)
    assert "Shapley values by Captum" in (run / "report.html").read_text()


def test_two_files_are_compared_with_explanations(finished):
    done = finished(
        "compare", "runs/digits_tiny:00-teacher.onnx", "runs/digits_tiny", "--out", "told", "--explain", "1"
    )

    assert "compare.html" in done.stdout
    assert 'class="explained-pair"' in (finished.folder / "told" / "compare.html").read_text()
