"""Training on labels alone."""

from torch import Tensor

from compress.model.model import Model
from compress.model.module import GraphModule
from compress.recipe.schema import TrainConfig
from compress.stages.base import Context, StageResult
from compress.stages.batches import Batch
from compress.stages.loop import fit
from compress.stages.teacher import check_fits, hard_label_loss
from compress.stages.texts import fit_data


def train(model: Model, config: TrainConfig, context: Context) -> StageResult:
    """Minimise cross entropy on the training split; keep the epoch that is best on validation.

    Raises:
        StageError: model and data do not fit together, or training diverged.
    """
    data = fit_data(context.data, model)
    check_fits(model, data, "train")
    module = GraphModule(model)

    def loss(batch: Batch) -> Tensor:
        return hard_label_loss(module(batch.x), batch.targets)

    history = fit(
        module,
        data,
        config,
        epochs=config.epochs,
        loss=loss,
        seed=context.seed,
        workdir=context.workdir,
        progress=context.progress,
        where="train",
    )
    return StageResult(module.to_model(), True, metrics=history.metrics())
