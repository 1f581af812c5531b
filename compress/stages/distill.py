"""Training a student on a teacher's soft labels, and optionally on what happens inside the teacher."""

import torch
from torch import Tensor

from compress.errors import StageError
from compress.model.model import Model
from compress.recipe.schema import DistillConfig
from compress.stages.base import Context, StageResult
from compress.stages.batches import Batch
from compress.stages.loop import fit
from compress.stages.student import Student
from compress.stages.teacher import check_fits, make_teacher, soft_label_loss
from compress.stages.texts import fit_data, with_copies
from compress.stages.vocabulary import in_vocabulary


def distill(model: Model, config: DistillConfig, context: Context) -> StageResult:
    """Train the model to agree with context.teacher.

    Loss: soft labels, plus for each hint the mean squared distance between the teacher's features and the student's
    after a learnt 1x1 projection, plus for each attention pair the squared distance between attention maps.

    Raises:
        StageError: there is no teacher, a node does not exist or has the wrong shape, or training diverged.
    """
    if context.teacher is None:
        raise StageError("there is no teacher to learn from", "distill", "name a teacher in the recipe")
    data = fit_data(with_copies(context.data, config, context.seed), model)
    check_fits(model, data, "distill, the student")
    inner = bool(config.hints or config.attention or config.relations)
    # What happens inside can be compared on the same tokens only, so the teacher then reads the student's.
    wise = in_vocabulary(context.teacher, model) if inner else context.teacher
    teacher = make_teacher(wise, context.data, config, context.seed, where="distill")
    student = Student(model, context.teacher.graph, config, context.seed)

    def loss(batch: Batch) -> Tensor:
        if not inner:
            logits, wanted, extra = student(batch.x), teacher.logits(batch), torch.zeros(())
        else:
            logits, mine = student.net(batch.x, taps=student.taps[0])
            wanted, its = teacher.features(batch, student.taps[1])
            extra = student.distance(mine, its, batch.x)
        soft = soft_label_loss(
            logits,
            wanted,
            teacher.targets(batch, wanted),
            temperature=config.temperature,
            hard_label_weight=config.hard_label_weight,
        )
        return soft + extra.to(soft.device)

    history = fit(
        student,
        data,
        config,
        epochs=config.epochs,
        loss=loss,
        seed=context.seed,
        workdir=context.workdir,
        progress=context.progress,
        where="distill",
        identity=context.teacher.digest(),
    )
    return StageResult(student.net.to_model(), True, metrics=history.metrics())
