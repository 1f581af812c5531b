"""Training a student on a teacher's soft labels, and optionally on what happens inside the teacher."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compress.errors import StageError
from compress.model.graph import Graph
from compress.model.model import Model
from compress.model.module import GraphModule
from compress.model.shapes import Shape, infer_shapes
from compress.recipe.schema import DistillConfig, LayerPair
from compress.stages.base import Context, StageResult
from compress.stages.batches import Batch
from compress.stages.loop import fit
from compress.stages.teacher import Teacher, check_fits, soft_label_loss


def distill(model: Model, config: DistillConfig, context: Context) -> StageResult:
    """Train the model to agree with context.teacher.

    Loss: soft labels, plus for each hint the mean squared distance between the teacher's features and the student's
    after a learnt 1x1 projection, plus for each attention pair the squared distance between attention maps.

    Raises:
        StageError: there is no teacher, a node does not exist or has the wrong shape, or training diverged.
    """
    if context.teacher is None:
        raise StageError("there is no teacher to learn from", "distill", "name a teacher in the recipe")
    check_fits(model, context.data, "distill, the student")
    check_fits(context.teacher, context.data, "distill, the teacher")
    teacher = Teacher(context.teacher, context.data, config)
    student = _Student(model, context.teacher.graph, config, context.seed)

    def loss(batch: Batch) -> Tensor:
        if not student.pairs:
            logits, wanted, extra = student(batch.x), teacher.logits(batch), torch.zeros(())
        else:
            logits, mine = student.net(batch.x, taps=tuple({p.student: 0 for p in student.pairs}))
            wanted, its = teacher.features(batch, tuple({p.teacher: 0 for p in student.pairs}))
            extra = student.distance(mine, its)
        soft = soft_label_loss(
            logits,
            wanted,
            batch.targets,
            temperature=config.temperature,
            hard_label_weight=config.hard_label_weight,
        )
        return soft + extra.to(soft.device)

    history = fit(
        student,
        context.data,
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


class _Student(nn.Module):
    """The student's net and the projections that exist only while it learns."""

    def __init__(self, model: Model, teacher: Graph, config: DistillConfig, seed: int) -> None:
        super().__init__()
        self.net = GraphModule(model)
        self.hints, self.attention = config.hints, config.attention
        self.pairs = (*config.hints, *config.attention)
        generator = np.random.default_rng([seed, 3])
        self.projections = nn.ParameterList()
        for i, pair in enumerate(config.hints):
            mine, its = _shapes(pair, model.graph, teacher, f"distill.hints[{i}]")
            if len(mine) != len(its) or mine[1:] != its[1:]:
                fix = "choose layers with the same height and width"
                raise StageError(f"{pair.student} gives {mine}, {pair.teacher} {its}", f"distill.hints[{i}]", fix)
            start = generator.normal(0.0, mine[0] ** -0.5, (its[0], mine[0])).astype(np.float32)
            self.projections.append(nn.Parameter(torch.from_numpy(start)))
        for i, pair in enumerate(config.attention):
            where = f"distill.attention[{i}]"
            for name, shape in zip(
                (pair.student, pair.teacher), _shapes(pair, model.graph, teacher, where), strict=True
            ):
                if len(shape) != 3:
                    raise StageError(f"{name} gives {shape}, not an image", where, "choose a convolutional layer")

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes)."""
        out: Tensor = self.net(x)
        return out

    def distance(self, mine: dict[str, Tensor], its: dict[str, Tensor]) -> Tensor:
        """Weighted sum of all pairs' distances, a scalar."""
        total = torch.zeros((), device=next(iter(mine.values())).device)
        for pair, projection in zip(self.hints, self.projections, strict=True):
            seen, wanted = mine[pair.student].float(), its[pair.teacher].float()
            projected = torch.einsum("oc,nc...->no...", projection, seen)
            total = total + pair.weight * F.mse_loss(projected, wanted)
        for pair in self.attention:
            seen, wanted = _attention(mine[pair.student]), _attention(its[pair.teacher])
            if seen.shape != wanted.shape:
                wanted = F.adaptive_avg_pool2d(wanted, (seen.shape[2], seen.shape[3]))
            total = total + pair.weight * (_unit(seen) - _unit(wanted)).pow(2).sum(1).mean()
        return total


def _attention(x: Tensor) -> Tensor:
    """(n, c, h, w) -> (n, 1, h, w): mean square over channels (Zagoruyko and Komodakis 2016, equation 2, p = 2)."""
    return x.float().pow(2).mean(1, keepdim=True)


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x.flatten(1), dim=1)


def _shapes(pair: LayerPair, student: Graph, teacher: Graph, where: str) -> tuple[Shape, Shape]:
    out = []
    for who, name, graph in (("student", pair.student, student), ("teacher", pair.teacher, teacher)):
        shapes = infer_shapes(graph)
        if name not in shapes:
            fix = f"one of {', '.join(shapes)}"
            raise StageError(f"the {who} has no node {name!r}", where, fix)
        out.append(shapes[name])
    return out[0], out[1]
