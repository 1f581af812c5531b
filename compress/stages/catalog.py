"""The only list of stages. To add one: schema class, function, a line here, a version, a contract-test example."""

from compress.recipe.schema import (
    DistillConfig,
    PruneConfig,
    QuantizeConfig,
    StageConfig,
    TrainConfig,
    VocabularyConfig,
)
from compress.stages.base import Stage
from compress.stages.distill import distill
from compress.stages.prune import prune
from compress.stages.quantize import quantize
from compress.stages.train import train
from compress.stages.vocabulary import vocabulary

STAGES: dict[type[StageConfig], Stage] = {
    TrainConfig: train,
    DistillConfig: distill,
    PruneConfig: prune,
    QuantizeConfig: quantize,
    VocabularyConfig: vocabulary,
}
