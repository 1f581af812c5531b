"""Every exception that edge_runtime raises on purpose.

EdgeError         what, where, fix; exit code 1
|- BundleError    the bundle is damaged, unsafe, or of a format this version does not read
|- EngineError    the engine is missing, refuses the model, or fails while it runs
|- InputError     what was handed to the model cannot be its input; exit code 2
`- StoreError     the model store on the device cannot do what was asked; what ran before still runs

Anything else that escapes is a bug in edge_runtime, not in the caller's app.
"""

from __future__ import annotations


class EdgeError(Exception):
    """Base class: what went wrong, where, and what to do about it."""

    exit_code = 1

    def __init__(self, what: str, where: str, fix: str) -> None:
        super().__init__(what, where, fix)  # all three in args, so it pickles out of worker processes
        self.what, self.where, self.fix = what, where, fix

    def __str__(self) -> str:
        return f"{self.where}: {self.what}\n  fix: {self.fix}"


class BundleError(EdgeError):
    """The bundle is damaged, unsafe, or of a format this version does not read."""


class EngineError(EdgeError):
    """The engine is missing, refuses the model, or fails while it runs."""


class InputError(EdgeError):
    """What was handed to the model cannot be its input; the bundle is fine."""

    exit_code = 2


class StoreError(EdgeError):
    """The model store on the device cannot do what was asked; the version that ran before still runs."""
