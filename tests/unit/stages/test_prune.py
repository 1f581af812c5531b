"""The prune stage: goals met, reasons given, zeros that stay, and refusals that say why."""

import numpy as np
import pytest
import torch

from compress.errors import ModelError, StageError
from compress.model.module import initial_model
from compress.model.nets import build_net
from compress.model.shapes import count_macs, count_parameters
from compress.recipe.schema import PruneConfig
from compress.stages.base import Context, run_stage
from compress.stages.prune import prune
from compress.stages.sparsify import SparseModule, round_at, smallest, sparsity_after


def apply(model, data, teacher=None, workdir=None, progress=None, **options):
    config = PruneConfig(**{"batch_size": 32, "learning_rate": 0.01, **options})
    context = Context(0, data, teacher=teacher, workdir=workdir, **({"progress": progress} if progress else {}))
    return run_stage(prune, model, config, context, where="prune")


@pytest.mark.parametrize("importance", ["magnitude", "taylor"])
def test_channels_go_until_the_goal_is_met(trained, digits, importance):
    result = apply(trained, digits, keep_macs=0.5, importance=importance)

    before, after = result.metrics["macs"]
    assert (before, after) == (count_macs(trained.graph), count_macs(result.model.graph))
    assert 0.35 * before < after <= 0.5 * before
    assert result.kept["classifier"] == "its channels are the classes, the net's output"
    layers = {n.name for n in trained.graph.layers}
    assert set(result.metrics["channels_removed"]) | set(result.kept) == layers


def test_fine_tuning_in_rounds_repairs_and_reports_progress(trained, digits):
    seen = []
    bare = apply(trained, digits, keep_parameters=0.5, finetune_epochs=0)
    tuned = apply(
        trained, digits, teacher=trained, keep_parameters=0.5, iterations=2, finetune_epochs=5,
        progress=lambda d, t, n="": seen.append((d, t)),
    )  # fmt: skip
    rounds = tuned.metrics["rounds"]

    assert [r["epochs"] for r in rounds] == [2, 3]
    assert count_parameters(tuned.model.graph) <= 0.5 * count_parameters(trained.graph)
    assert rounds[0]["parameters"] > rounds[1]["parameters"]
    assert rounds[1]["validation_accuracy"][-1] > 0.75
    assert "validation_accuracy" not in bare.metrics["rounds"][0]
    assert [d for d, _ in seen] == sorted(d for d, _ in seen)
    assert seen[-1] == (5.0, 5)


def test_layers_that_were_not_chosen_stay_whole_with_a_reason(trained, digits):
    result = apply(trained, digits, keep_macs=0.95, layers=("re:block3.*conv1",))

    assert set(result.metrics["channels_removed"]) == {"block3_1_conv1"}
    assert result.kept["stem"] == "not chosen by `layers`"


def test_groups_no_wider_than_round_to_stay_with_a_reason(trained, digits):
    result = apply(trained, digits, keep_macs=0.9, round_to=8)

    assert result.kept["stem"] == "it has 8 channels, no more than round_to (8)"


def test_what_cannot_be_pruned_is_refused(trained, digits):
    with pytest.raises(StageError, match="no layer that was chosen can lose channels: classifier: its channels are"):
        apply(trained, digits, keep_macs=0.5, layers=("classifier",))
    with pytest.raises(ModelError, match="pattern 're:nothing' matches no layer"):
        apply(trained, digits, keep_macs=0.5, layers=("re:nothing",))
    other = initial_model(build_net("mlp", {}, (1, 8, 8), 3), 0)
    with pytest.raises(StageError, match=r"prune: its outputs have shape \(3,\), the data has 10 classes"):
        apply(other, digits, keep_macs=0.5)


def test_a_goal_that_removes_nothing_is_an_error_of_the_runner(trained, digits):
    with pytest.raises(StageError, match="it changed nothing") as caught:
        apply(trained, digits, what="weights", sparsity=1e-9)
    assert "too few weights for this sparsity" in str(caught.value)


def zeros(model, name):
    return float(np.mean(model.weights[f"{name}.weight"] == 0))


def test_weights_go_to_zero_layer_by_layer(trained, digits):
    result = apply(trained, digits, what="weights", sparsity=0.6, layers=("re:block",))

    for name, share in result.metrics["zeros"].items():
        assert share == zeros(result.model, name) == pytest.approx(0.6, abs=0.01)
    assert zeros(result.model, "stem") == 0.0
    assert result.kept == {"stem": "not chosen by `layers`", "classifier": "not chosen by `layers`"}
    small = np.abs(trained.weights["block1_1_conv1.weight"])[result.model.weights["block1_1_conv1.weight"] == 0]
    assert small.max() <= np.quantile(np.abs(trained.weights["block1_1_conv1.weight"]), 0.61)


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_zeros_stay_zero_through_fine_tuning(trained, digits, ema_decay):
    result = apply(
        trained,
        digits,
        teacher=trained,
        what="weights",
        sparsity=0.8,
        iterations=10,
        finetune_epochs=4,
        ema_decay=ema_decay,
    )
    at_once = apply(trained, digits, what="weights", sparsity=0.8)

    assert result.metrics["zeros"] == at_once.metrics["zeros"]
    assert result.metrics["best_epoch"] >= 3  # earlier ones were not sparse enough to be chosen
    assert result.metrics["validation_accuracy"][-1] > 0.7


class Stop(BaseException):
    pass


@pytest.mark.parametrize(
    "options",
    [
        {"keep_macs": 0.5, "iterations": 2, "finetune_epochs": 4},
        {"what": "weights", "sparsity": 0.7, "iterations": 5, "finetune_epochs": 4, "ema_decay": 0.9},
    ],
    ids=["channels", "weights"],
)
def test_a_stopped_prune_goes_on_to_the_same_bytes(trained, digits, tmp_path, options):
    whole = apply(trained, digits, teacher=trained, **options)
    for limit in (0.4, 0.7):
        with pytest.raises(Stop):
            apply(trained, digits, teacher=trained, workdir=tmp_path, progress=stop_after(limit), **options)

    again = apply(trained, digits, teacher=trained, workdir=tmp_path, **options)

    assert again.model.digest() == whole.model.digest()


def stop_after(share):
    def progress(done, total, note=""):
        if done / total > share:
            raise Stop

    return progress


def test_sparsity_rises_fast_then_slowly_to_its_end():
    values = [sparsity_after(r, 10, 0.8) for r in range(11)]

    assert values[0] == 0.0
    assert values[-1] == pytest.approx(0.8)
    steps = np.diff(values)
    assert (steps > 0).all()
    assert (np.diff(steps) < 0).all()


def test_rounds_are_due_at_once_and_all_by_three_quarters():
    due = [round_at(step, 100, 4) for step in range(101)]

    assert due[0] == 1
    assert due[75:] == [4] * 26
    assert due == sorted(due)
    assert round_at(0, 100, 1) == 1


def test_smallest_counts_exactly_and_breaks_ties_in_order():
    stay = smallest(np.array([[1.0, -1.0], [1.0, 3.0]], np.float32), 0.5)

    assert stay.tolist() == [[False, False], [True, True]]


def test_masks_only_grow(trained):
    module = SparseModule(trained, ("stem", "classifier"), 4, 0.9)
    before = module.masks()
    for step in range(1, 41):
        for parameter in module.parameters():
            parameter.data += 0.01  # an optimizer's momentum moves masked weights too
        module.on_step(step, 40)
        assert not module.net.get_parameter("stem__weight")[~torch.from_numpy(module.masks()["stem.weight"])].any()
        after = module.masks()
        for name, mask in after.items():
            assert not (mask & ~before[name]).any()
        before = after
    assert np.mean(before["stem.weight"]) == pytest.approx(0.1, abs=0.01)
