"""Version of each stage's code, part of the cache key. Raise one when the same input gives another result.

Apart from the catalogue, so that a finished run can be looked up without importing torch.
"""

from compress.recipe.schema import DistillConfig, PruneConfig, QuantizeConfig, TrainConfig, VocabularyConfig

VERSIONS: dict[type, int] = {TrainConfig: 1, DistillConfig: 1, PruneConfig: 1, QuantizeConfig: 1, VocabularyConfig: 1}
