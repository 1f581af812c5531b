"""Distillation: the loss by the book, a cached teacher, hints, attention, and clear refusals."""

import numpy as np
import pytest
import torch
from torch import Tensor

from compress.errors import StageError
from compress.model.module import GraphModule, initial_model
from compress.model.nets import build_net
from compress.recipe.schema import AugmentConfig, DistillConfig, LayerPair, TrainConfig
from compress.stages.base import Context, run_stage
from compress.stages.batches import Feed
from compress.stages.distill import distill
from compress.stages.student import Student
from compress.stages.teacher import Teacher, soft_label_loss
from compress.stages.train import train

CPU = torch.device("cpu")
CONFIG = DistillConfig(epochs=2, batch_size=32, learning_rate=0.02)


def apply(model, data, teacher, **changes):
    config = CONFIG.model_copy(update=changes)
    return run_stage(distill, model, config, Context(0, data, teacher=teacher), where="distill")


def test_soft_labels_follow_the_formula():
    logits, teacher = torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([[2.0, -1.0, 3.0]])
    targets = torch.tensor([[0.0, 1.0, 0.0]])

    def softmax(x: Tensor) -> np.ndarray:
        e = np.exp(x.numpy().astype(np.float64))
        return e / e.sum()

    p, q = softmax(teacher / 4), softmax(logits / 4)
    want = 0.3 * -np.log(softmax(logits)[0, 1]) + 0.7 * 16 * np.sum(p * np.log(p / q))
    got = soft_label_loss(logits, teacher, targets, temperature=4.0, hard_label_weight=0.3)

    assert float(got) == pytest.approx(want, rel=1e-5)
    same = soft_label_loss(teacher, teacher, targets, temperature=4.0, hard_label_weight=0.0)
    assert float(same) == pytest.approx(0.0, abs=1e-6)


def test_the_cached_teacher_says_what_the_live_one_would(digits, trained):
    plain, augmented = TrainConfig(), TrainConfig(augment=AugmentConfig(shift_pixels=1))
    cached, live = Teacher(trained, digits, plain), Teacher(trained, digits, augmented)
    batch = next(Feed(digits, plain, seed=0, device=CPU).epoch(0))

    torch.testing.assert_close(cached.logits(batch), live.logits(batch), rtol=1e-4, atol=1e-4)
    assert not cached.logits(batch).requires_grad


def test_a_changing_image_is_shown_to_the_teacher_as_it_is(digits, trained):
    config = TrainConfig(augment=AugmentConfig(shift_pixels=2))
    teacher, module = Teacher(trained, digits, config), GraphModule(trained).eval()
    first, second = (next(Feed(digits, config, seed=0, device=CPU).epoch(e)) for e in (0, 1))
    for batch in (first, second):
        with torch.no_grad():
            torch.testing.assert_close(teacher.logits(batch), module(batch.x), rtol=1e-4, atol=1e-4)


def test_a_student_learns_from_soft_labels_alone(fresh, digits, trained):
    result = apply(fresh, digits, trained, hard_label_weight=0.0, epochs=4)

    assert result.metrics["validation_accuracy"][-1] > 0.6


@pytest.mark.parametrize("kind", ["hints", "attention"])
def test_features_come_nearer_to_the_teacher_s(fresh, digits, trained, kind):
    pair = LayerPair(teacher="block2_1_add", student="block2_1_add", weight=20.0)
    with_features = apply(fresh, digits, trained, **{kind: (pair,)})
    without = apply(fresh, digits, trained)

    assert with_features.model.digest() != without.model.digest()
    assert set(with_features.model.weights) == set(fresh.weights)  # projections do not ship
    if kind == "attention":  # a hint's distance is judged behind its projection, which does not ship
        assert attention_distance(with_features.model, trained, digits) < attention_distance(
            without.model, trained, digits
        )


@pytest.mark.parametrize("kind", ["hints", "attention"])
def test_a_pair_s_gradient_reaches_the_student_up_to_its_layer_and_the_projection(fresh, trained, digits, kind):
    config = DistillConfig(**{kind: pair("block2_1_add", "block2_1_add")})
    student = Student(fresh, trained.graph, config, 0).train()
    teacher = Teacher(trained, digits, config)
    batch = next(Feed(digits, config, seed=0, device=CPU).epoch(0))
    mine = student.net(batch.x, taps=("block2_1_add",))[1]
    student.distance(mine, teacher.features(batch, ("block2_1_add",))[1], batch.x).backward()

    reached = {name for name, p in student.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    before = {"stem", "block1_1_conv1", "block1_1_conv2", "block2_1_conv1", "block2_1_conv2", "block2_1_skip"}
    kernels = {name.removeprefix("net.").removesuffix("__weight") for name in reached if name.endswith("__weight")}
    assert {k for k in kernels if not k.endswith("_bn")} == before
    assert ("projections.0" in reached) == (kind == "hints")


def attention_distance(model, teacher, data):
    x = torch.from_numpy(data.inputs(data.validation))
    maps = []
    for m in (model, teacher):
        with torch.no_grad():
            seen = GraphModule(m).eval()(x, taps=("block2_1_add",))[1]["block2_1_add"]
        maps.append(torch.nn.functional.normalize(seen.pow(2).mean(1).flatten(1), dim=1))
    return float((maps[0] - maps[1]).pow(2).sum(1).mean())


def test_two_runs_with_hints_give_the_same_bytes(fresh, digits, trained):
    pair = LayerPair(teacher="pool", student="pool")  # vectors have hints too
    a, b = (apply(fresh, digits, trained, epochs=1, hints=(pair,)).model.digest() for _ in range(2))

    assert a == b


def pair(teacher, student):
    return (LayerPair(teacher=teacher, student=student),)


@pytest.mark.parametrize(
    ("changes", "message", "fix"),
    [
        ({"hints": pair("nope", "stem")}, "the teacher has no node 'nope'", "one of input, stem"),
        ({"attention": pair("stem", "nope")}, "the student has no node 'nope'", "one of input"),
        ({"hints": pair("block2_1_add", "stem")}, r"stem gives \(4, 8, 8\), block2_1_add \(16, 4, 4\)", "same height"),
        ({"attention": pair("stem", "pool")}, r"pool gives \(8,\), not an image", "a convolutional layer"),
    ],
    ids=["teacher", "student", "sizes", "vector"],
)
def test_pairs_that_do_not_fit_are_refused(fresh, digits, trained, changes, message, fix):
    with pytest.raises(StageError, match=message) as caught:
        apply(fresh, digits, trained, **changes)
    assert fix in caught.value.fix
    assert caught.value.where.startswith("distill.")


def test_a_missing_or_unfit_teacher_is_refused(fresh, digits):
    with pytest.raises(StageError, match="there is no teacher to learn from"):
        apply(fresh, digits, None)
    other = initial_model(build_net("resnet8", {"widths": [4, 4, 4]}, (1, 8, 8), 7), 0)
    with pytest.raises(
        StageError, match=r"distill, the teacher: its outputs have shape \(7,\), the data has 10 classes"
    ):
        apply(fresh, digits, other)
    small = initial_model(build_net("resnet8", {"widths": [4, 4, 4]}, (1, 9, 9), 10), 0)
    with pytest.raises(StageError, match=r"train: it takes inputs of shape \(1, 9, 9\), the data gives \(1, 8, 8\)"):
        run_stage(train, small, TrainConfig(epochs=1), Context(0, digits), where="train")
