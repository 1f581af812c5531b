"""What a reader hands over, before anything is checked or split."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Raw:
    """Examples and labels as the source gives them.

    x_train: (n, height, width), (n, height, width, channels) or (n, length). y_train: (n,) whole numbers.
    x_test, y_test: None where the source has no test split of its own.
    classes: label texts; None numbers them up to the largest label.
    scale: what brings raw values near 0..1, applied before mean and std.
    """

    x_train: Array
    y_train: Array
    x_test: Array | None = None
    y_test: Array | None = None
    classes: tuple[str, ...] | None = None
    scale: float | None = None
