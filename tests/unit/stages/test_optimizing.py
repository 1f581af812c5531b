"""Schedules, decay groups, averaging, and an optimizer that survives a round trip through names and tensors."""

import pytest
import torch
from torch import nn

from compress.recipe.schema import TrainConfig
from compress.stages.optimizing import Average, learning_rate_at, load_optimizer, make_optimizer, optimizer_tensors


def rates(schedule, steps=100):
    config = TrainConfig(schedule=schedule, learning_rate=0.5)
    return [learning_rate_at(config, s, steps) for s in range(steps)]


def test_one_cycle_rises_to_the_peak_and_ends_near_nothing():
    r = rates("one-cycle", 101)

    assert r[0] == pytest.approx(0.5 / 25)
    assert r[30] == pytest.approx(0.5) == max(r)
    assert r[:31] == sorted(r[:31])
    assert r[30:] == sorted(r[30:], reverse=True)
    assert r[-1] == pytest.approx(0.5 / 25 / 1e4)


def test_one_cycle_is_the_schedule_that_torch_has():
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.5, total_steps=101, cycle_momentum=False)
    theirs = []
    for _ in range(101):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step() if len(theirs) < 101 else None
    ours = rates("one-cycle", 101)

    assert ours == pytest.approx(theirs, abs=0.02)  # theirs peaks a step earlier


def test_cosine_falls_from_the_peak_and_constant_stays():
    r = rates("cosine")

    assert r[0] == 0.5
    assert r == sorted(r, reverse=True)
    assert r[50] == pytest.approx(0.25)
    assert set(rates("constant")) == {0.5}
    assert rates("one-cycle", 1) == [0.5]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_decay_spares_biases_norms_and_scales(optimizer):
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))
    config = TrainConfig(optimizer=optimizer, learning_rate=0.1, weight_decay=0.5)
    before = {k: v.clone() for k, v in module.named_parameters()}
    made = make_optimizer(module, config)
    for p in module.parameters():
        p.grad = torch.zeros_like(p)
    made.step()

    moved = {k for k, v in module.named_parameters() if not torch.equal(v, before[k])}
    assert moved == {"0.weight", "3.weight"}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_restored_optimizer_goes_on_to_the_same_bits(optimizer):
    def work(module, made, times):
        for _ in range(times):
            made.zero_grad()
            module(torch.ones(2, 3, 5, 5).contiguous(memory_format=torch.channels_last)).pow(2).sum().backward()
            made.step()

    def build():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(36, 2)).to(memory_format=torch.channels_last)

    config = TrainConfig(optimizer=optimizer, learning_rate=0.001)
    a = build()
    first = make_optimizer(a, config)
    work(a, first, 3)
    saved = {k: v.clone() for k, v in a.state_dict().items()}
    state = {k: v.contiguous().clone() for k, v in optimizer_tensors(first).items()}
    work(a, first, 3)
    b = build()
    b.load_state_dict(saved)
    second = make_optimizer(b, config)
    load_optimizer(second, state)
    work(b, second, 3)

    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_average_follows_slowly_and_restores():
    module = nn.BatchNorm1d(2)
    average = Average(module, 0.9)
    for _ in range(3):
        with torch.no_grad():
            module.weight += 1
            module.num_batches_tracked += 1
        average.update(module)

    expected = torch.ones(2)
    for t, now in enumerate((2.0, 3.0, 4.0)):
        decay = min(0.9, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * now
    torch.testing.assert_close(average.tensors["weight"], expected)
    assert int(average.tensors["num_batches_tracked"]) == 3
    again = Average(nn.BatchNorm1d(2), 0.9)
    again.restore(average.tensors, 3)
    average.update(module)
    again.update(module)
    assert torch.equal(average.tensors["weight"], again.tensors["weight"])
