"""The training loop: it learns, repeats itself to the bit, keeps the best epoch, resumes, and says why it stopped."""

import math

import numpy as np
import pytest
import torch

from compress.errors import ModelError, StageError
from compress.model.graph import Graph, Node
from compress.model.module import GraphModule, initial_model
from compress.model.nets import build_net
from compress.recipe.schema import AugmentConfig, TrainConfig
from compress.stages.base import silent
from compress.stages.loop import Epoch, fit
from compress.stages.resume import FILE
from compress.stages.teacher import hard_label_loss

CONFIG = TrainConfig(epochs=3, batch_size=32, learning_rate=0.02)
EVERYTHING = CONFIG.model_copy(
    update={
        "optimizer": "sgd",
        "ema_decay": 0.9,
        "precision": "bfloat16",
        "label_smoothing": 0.1,
        "augment": AugmentConfig(shift_pixels=1, erase=0.2, mixup_alpha=0.2),
    }
)


def run(model, data, config=CONFIG, *, loss=None, **options):
    module = GraphModule(model)
    loss = loss or (lambda batch: hard_label_loss(module(batch.x), batch.targets))
    history = fit(module, data, config, epochs=config.epochs, loss=loss, **{"seed": 0, **options})
    return module, history


def test_it_learns_and_keeps_the_best_epoch(fresh, digits):
    module, history = run(fresh, digits)
    with torch.no_grad():
        logits = module(torch.from_numpy(digits.inputs(digits.validation)))
    correct = int((logits.argmax(1).numpy() == digits.validation.y).sum())

    assert correct == history.epochs[history.best - 1].correct == max(e.correct for e in history.epochs)
    assert history.epochs[-1].validation_accuracy > 0.5
    assert history.epochs[-1].loss < history.epochs[0].loss
    assert not module.training


@pytest.mark.parametrize("config", [CONFIG, EVERYTHING], ids=["plain", "everything"])
def test_the_same_seed_gives_the_same_bytes_and_another_does_not(fresh, digits, config):
    digests = [run(fresh, digits, config, seed=s)[0].to_model().digest() for s in (0, 0, 1)]

    assert digests[0] == digests[1] != digests[2]


class Stop(BaseException):
    """Stands for Ctrl-C, or anything else that ends a process between two steps."""


def stop_after(steps):
    def progress(done, total, note=""):
        if done >= steps:
            raise Stop

    return progress


@pytest.mark.parametrize("config", [CONFIG, EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize("steps", [5, 17, 40])
def test_a_stopped_training_goes_on_to_the_same_bytes(fresh, digits, tmp_path, config, steps):
    undisturbed, whole = run(fresh, digits, config)

    with pytest.raises(Stop):
        run(fresh, digits, config, workdir=tmp_path, progress=stop_after(steps))
    done = []
    resumed, history = run(fresh, digits, config, workdir=tmp_path, progress=lambda d, t, n="": done.append(d))

    assert resumed.to_model().digest() == undisturbed.to_model().digest()
    assert history == whole
    assert done[0] == 17 * (steps // 17 if steps % 17 else steps // 17 - 1)  # the last whole epoch that was saved


def test_a_finished_training_is_not_repeated(fresh, digits, tmp_path):
    first, _ = run(fresh, digits, workdir=tmp_path)

    def loss(batch):
        raise AssertionError("trained again")

    again, _ = run(fresh, digits, workdir=tmp_path, loss=loss)
    assert again.to_model().digest() == first.to_model().digest()


def test_a_damaged_state_is_reported_and_training_starts_again(fresh, digits, tmp_path):
    first, _ = run(fresh, digits, workdir=tmp_path)
    data = bytearray((tmp_path / FILE).read_bytes())
    data[-9] ^= 1
    (tmp_path / FILE).write_bytes(data)
    notes = []

    again, history = run(fresh, digits, workdir=tmp_path, progress=lambda d, t, n="": notes.append(n))

    assert again.to_model().digest() == first.to_model().digest()
    assert history.notes == (notes[0],)
    assert "is damaged; training starts again" in notes[0]
    assert "notes" in history.metrics()


@pytest.mark.parametrize("change", ["config", "seed", "identity", "weights"])
def test_a_state_of_another_training_is_not_taken_up(fresh, digits, tmp_path, change):
    run(fresh, digits, workdir=tmp_path)
    config = CONFIG.model_copy(update={"learning_rate": 0.01}) if change == "config" else CONFIG
    model = initial_model(fresh.graph, 1) if change == "weights" else fresh
    options = {"seed": 1} if change == "seed" else {"identity": "another teacher"} if change == "identity" else {}

    _, history = run(model, digits, config, workdir=tmp_path, **options)

    assert "belongs to another training" in history.notes[0]


def test_equal_epochs_go_to_the_later_one_and_select_from_excludes(fresh, digits):
    """Steps of no length: every epoch is as good as the last."""
    still = CONFIG.model_copy(update={"learning_rate": 1e-30, "weight_decay": 0.0})
    still_module = lambda m: lambda b: hard_label_loss(m.eval()(b.x), b.targets)  # noqa: E731
    module = GraphModule(fresh)
    history = fit(module, digits, still, epochs=3, loss=still_module(module), seed=0)
    assert len({e.correct for e in history.epochs}) == 1
    assert history.best == 3

    _, history = run(fresh, digits, select_from=3)
    assert history.best == 3


def test_validation_can_prefer_an_earlier_epoch(fresh, digits):
    """After the second epoch the labels lie, so the second epoch must win."""
    module, seen = GraphModule(fresh), []

    def loss(batch):
        seen.append(1)
        targets = batch.targets if len(seen) <= 34 else batch.targets.roll(1, dims=1)
        return hard_label_loss(module(batch.x), targets)

    config = CONFIG.model_copy(update={"schedule": "constant"})
    history = fit(module, digits, config, epochs=4, loss=loss, seed=0)

    assert history.best == 2
    assert history.epochs[3].correct < history.epochs[1].correct


def test_averaged_weights_are_what_is_judged_and_kept(fresh, digits):
    plain, unaveraged = run(fresh, digits)
    averaged, history = run(fresh, digits, CONFIG.model_copy(update={"ema_decay": 0.99}))

    assert plain.to_model().digest() != averaged.to_model().digest()
    assert history.epochs[-1].validation_accuracy > 0.3
    assert [e.loss for e in history.epochs] == [e.loss for e in unaveraged.epochs]  # judging does not disturb training


def test_divergence_names_the_epoch_and_the_cure(fresh, digits):
    config = CONFIG.model_copy(update={"optimizer": "sgd", "learning_rate": 1e30, "schedule": "constant"})

    with pytest.raises(StageError, match=r"here: the loss became \S+ in epoch 1 of 3, step \d+ of 17") as caught:
        run(fresh, digits, config, where="here")
    assert caught.value.fix.startswith("lower learning_rate (it is 1e+30)")


def test_progress_counts_steps_and_tells_epoch_loss_and_accuracy(fresh, digits):
    seen = []
    run(fresh, digits, progress=lambda d, t, n="": seen.append((d, t, n)))

    assert [d for d, _, _ in seen] == list(range(52))
    assert {t for _, t, _ in seen} == {51}
    assert seen[1][2].startswith("epoch 1/3  loss ")
    assert "validation" in seen[-1][2]


def test_on_step_may_edit_the_weights(fresh, digits):
    module = GraphModule(fresh)
    weight = module.get_parameter("stem__weight")
    calls = []

    def on_step(step, steps):
        calls.append((step, steps))
        with torch.no_grad():
            weight[0].zero_()

    fit(
        module,
        digits,
        CONFIG,
        epochs=2,
        loss=lambda b: hard_label_loss(module(b.x), b.targets),
        seed=0,
        on_step=on_step,
    )

    assert calls == [(i, 34) for i in range(1, 35)]
    assert not weight[0].any()


def test_it_leaves_torch_s_settings_as_they_were(fresh, digits, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(2)
    before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.get_rng_state().tolist())
    _, history = run(fresh, digits)

    after = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.get_rng_state().tolist())
    torch.set_num_threads(1)
    assert before == after
    assert before[0] == 2
    assert history.threads == 1


def test_a_batch_norm_that_sees_one_number_is_an_error_in_words(digits):
    nodes = (
        Node("input", "input", (), {"shape": list(digits.input_shape)}),
        Node("flat", "flatten", ("input",), {}),
        Node("wide", "linear", ("flat",), {"in_features": 64, "out_features": 4, "bias": True}),
        Node("norm", "batch_norm", ("wide",), {"channels": 4, "eps": 1e-5}),
        Node("out", "linear", ("norm",), {"in_features": 4, "out_features": 10, "bias": True}),
    )
    config = TrainConfig(epochs=1, batch_size=1, learning_rate=0.01)
    with pytest.raises(ModelError, match="a batch of one example gives it a single number a channel"):
        run(initial_model(Graph(nodes, "out"), 0), digits, config)


def test_vectors_train_too():
    from compress.data.splits import make_dataset
    from compress.readers.raw import Raw
    from compress.recipe.schema import DataConfig

    generator = np.random.default_rng(0)
    y = np.arange(200) % 2
    x = generator.normal(0, 1, (200, 6)).astype(np.float32) + y[:, None] * 2
    data = make_dataset(Raw(x, y), DataConfig(npz="x.npz"), 0, name="toy", fingerprint="f").without_test()
    model = initial_model(build_net("mlp", {"hidden": [8]}, data.input_shape, 2), 0)

    _, history = run(model, data, TrainConfig(epochs=5, batch_size=16, learning_rate=0.02))

    assert history.epochs[-1].validation_accuracy > 0.9
    assert all(isinstance(e, Epoch) and math.isfinite(e.loss) for e in history.epochs)
    silent(0, 1)
