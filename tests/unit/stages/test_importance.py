"""Importance of channels: right where the answer is known, and better than chance on a net that has learnt."""

import numpy as np
import pytest
import torch

from compress.errors import StageError
from compress.model.channels import channel_groups
from compress.model.model import Model
from compress.model.module import GraphModule
from compress.model.shapes import count_macs, count_parameters
from compress.stages.importance import magnitude, select_channels, taylor
from compress.stages.surgery import remove_channels


def groups_of(model):
    return tuple(g for g in channel_groups(model.graph) if g.prunable)


def accuracy(model, data):
    with torch.no_grad():
        logits = GraphModule(model).eval()(torch.from_numpy(data.inputs(data.validation)))
    return float((logits.argmax(1).numpy() == data.validation.y).mean())


def changed(model, **weights):
    return Model(model.graph, {**model.weights, **{k.replace("__", "."): v for k, v in weights.items()}})


@pytest.mark.parametrize("score", [magnitude, lambda m, g: taylor(m, g, DATA[0])], ids=["magnitude", "taylor"])
def test_a_silent_channel_matters_least(trained, digits, score):
    DATA[:] = [digits]
    gain, shift = (trained.weights[f"block2_1_conv1_bn.{p}"].copy() for p in ("weight", "bias"))
    gain[5] = shift[5] = 1e-6
    model = changed(trained, block2_1_conv1_bn__weight=gain, block2_1_conv1_bn__bias=shift)
    consumer = model.weights["block2_1_conv2.weight"].copy()
    consumer[:, 5] *= 1e-3

    scores = score(changed(model, block2_1_conv2__weight=consumer), groups_of(model))

    assert int(scores["block2_1_conv1"].argmin()) == 5


DATA = []


def test_magnitude_does_not_care_how_weights_are_split_between_filter_and_batch_norm(trained):
    """Scaling a filter by 8 is undone by batch norm statistics; the same function must get the same scores."""
    w = {k: v.copy() for k, v in trained.weights.items()}
    w["block1_1_conv1.weight"] *= 8
    w["block1_1_conv1_bn.running_mean"] *= 8
    w["block1_1_conv1_bn.running_var"] = w["block1_1_conv1_bn.running_var"] * 64 + np.float32(63 * 1e-5)
    group = [g for g in groups_of(trained) if g.name == "block1_1_conv1"]

    a, b = magnitude(trained, group), magnitude(Model(trained.graph, w), group)

    np.testing.assert_allclose(a["block1_1_conv1"], b["block1_1_conv1"], rtol=1e-4)


def test_taylor_is_the_first_order_change_of_the_loss(trained, digits):
    """Against weight times gradient of the folded net, one example at a time."""
    from compress.model.rewrite import fold_batch_norm
    from compress.stages.teacher import hard_label_loss

    group = next(g for g in groups_of(trained) if len(g.producers) > 1)
    module = GraphModule(fold_batch_norm(trained)).eval()
    total = np.zeros(group.channels)
    inputs = torch.from_numpy(digits.inputs(digits.calibration))
    targets = torch.nn.functional.one_hot(torch.from_numpy(digits.calibration.y), 10).float()
    for x, t in zip(inputs, targets, strict=True):
        module.zero_grad()
        hard_label_loss(module(x[None]), t[None]).backward()
        change = torch.zeros(group.channels)
        for p in group.producers:
            weight, bias = (module.get_parameter(f"{p}__{k}") for k in ("weight", "bias"))
            change += (weight * weight.grad).detach().flatten(1).sum(1) + (bias * bias.grad).detach()
        total += change.double().numpy() ** 2

    ours = taylor(trained, [group], digits)[group.name]

    np.testing.assert_allclose(ours, np.sqrt(total / len(inputs)), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("score", ["magnitude", "taylor"])
def test_what_is_thought_important_is_worth_more_than_what_chance_keeps(trained, digits, score):
    groups = groups_of(trained)
    scores = magnitude(trained, groups) if score == "magnitude" else taylor(trained, groups, digits)
    ranked = {g.name: np.sort(np.argsort(-scores[g.name])[: g.channels * 3 // 4]) for g in groups}
    generator = np.random.default_rng(0)
    chance = []
    for _ in range(10):
        keep = {g.name: np.sort(generator.permutation(g.channels)[: g.channels * 3 // 4]) for g in groups}
        chance.append(accuracy(remove_channels(trained, keep), digits))

    assert accuracy(remove_channels(trained, ranked), digits) > np.mean(chance) + 0.05
    worst = {g.name: np.sort(np.argsort(scores[g.name])[: g.channels * 3 // 4]) for g in groups}
    assert accuracy(remove_channels(trained, worst), digits) < accuracy(remove_channels(trained, ranked), digits)


@pytest.mark.parametrize("cost", [count_macs, count_parameters])
@pytest.mark.parametrize("goal", [0.3, 0.5, 0.8, 0.95])
def test_the_goal_is_met_and_nothing_more_would_fit(trained, cost, goal):
    groups = groups_of(trained)
    limit = goal * cost(trained.graph)

    scores = magnitude(trained, groups)
    keep = select_channels(trained.graph, groups, scores, cost=cost, limit=limit, round_to=4)

    narrow = remove_channels(trained, keep)
    assert cost(narrow.graph) <= limit
    for g in groups:
        gone = np.setdiff1d(np.arange(g.channels), keep[g.name])
        assert not len(gone) or scores[g.name][gone].max() <= scores[g.name][keep[g.name]].min()
        assert len(keep[g.name]) % 4 == 0 or len(keep[g.name]) == g.channels
        if len(keep[g.name]) < g.channels:
            wider = {**keep, g.name: range(min(len(keep[g.name]) + 4, g.channels))}
            assert cost(remove_channels(trained, wider).graph) > limit


def test_an_impossible_goal_says_what_is_possible(trained):
    groups = groups_of(trained)
    cost = count_macs(trained.graph)
    with pytest.raises(
        StageError, match=r"the cost cannot fall below \d+\.\d% of what it is now, wanted 5\.0%"
    ) as caught:
        select_channels(
            trained.graph, groups, magnitude(trained, groups), cost=count_macs, limit=0.05 * cost, round_to=8
        )
    assert "lower round_to" in caught.value.fix
