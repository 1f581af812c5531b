"""Every exception that compress raises on purpose.

CompressError                 what, where, fix; exit code 1
|- UsageError                 the call itself is wrong; exit code 2
|  |- RecipeError             the recipe is wrong; nothing has run
|  |- CodeRefusedError        the recipe names Python code, and --allow-code was not given
|  `- PlanError               recipe and model do not fit together; nothing has run
|- DataError                  the data cannot be used as the recipe asks
|- ModelError                 a model, checkpoint or weight file cannot be used
|- FactoryError               a Python function that the recipe names is not there, or raised
|- ShapeError                 arrays that do not fit each other
|- StageError                 a stage failed, or broke its contract
|- ExportError                a model cannot be written in the wanted format
|- ParityError                an exported file does not do what the step before it did
|- MeasureError               the number would be untrustworthy, so none is given
|- CacheError                 the cache or the run folder cannot be written
|- MissingExtraError          an optional dependency is not installed
`- BudgetMissedError          the run finished, the result is over budget; exit code 3

Anything else that escapes is a bug in compress, not in the caller's recipe.
"""


class CompressError(Exception):
    """Base class: what went wrong, where, and what to do about it."""

    exit_code = 1

    def __init__(self, what: str, where: str, fix: str) -> None:
        super().__init__(what, where, fix)  # all three in args, so it pickles out of worker processes
        self.what, self.where, self.fix = what, where, fix

    def __str__(self) -> str:
        return f"{self.where}: {self.what}\n  fix: {self.fix}"


class UsageError(CompressError):
    """The call itself is wrong."""

    exit_code = 2


class RecipeError(UsageError):
    """The recipe is wrong; nothing has run."""


class CodeRefusedError(UsageError):
    """The recipe names Python code, and --allow-code was not given."""


class PlanError(UsageError):
    """Recipe and model do not fit together; nothing has run."""


class DataError(CompressError):
    """The data cannot be used as the recipe asks."""


class ModelError(CompressError):
    """A model, checkpoint or weight file cannot be used."""


class FactoryError(CompressError):
    """A Python function that the recipe names is not there, or raised."""


class ShapeError(CompressError):
    """Arrays that do not fit each other."""


class StageError(CompressError):
    """A stage failed, or broke its contract."""


class ExportError(CompressError):
    """A model cannot be written in the wanted format."""


class ParityError(CompressError):
    """An exported file does not do what the step before it did."""


class MeasureError(CompressError):
    """The number would be untrustworthy, so none is given."""


class DeviceError(CompressError):
    """A device cannot be reached or used, or lost what it was doing."""


class CacheError(CompressError):
    """The cache or the run folder cannot be written."""


class MissingExtraError(CompressError):
    """An optional dependency is not installed."""


class BudgetMissedError(CompressError):
    """The run finished and everything is saved, but the result is over budget."""

    exit_code = 3
