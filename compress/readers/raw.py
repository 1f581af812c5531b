"""What a reader hands over, before anything is checked or split."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from numpy.typing import NDArray

from compress.readers.texts import Texts

Array = NDArray[Any]
Examples = Array | Texts


@dataclass(frozen=True, slots=True)
class Raw:
    """Examples and labels as the source gives them.

    x_train: (n, height, width), (n, height, width, channels), (n, length), windows (n, length, channels), or texts.
    y_train: (n,) whole numbers.
    x_test, y_test: None where the source has no test split of its own; x_validation, y_validation likewise.
    classes: label texts; None numbers them up to the largest label.
    scale: what brings raw values near 0..1, applied before mean and std.
    kind: windows of sensor readings (not images without channels), or rows of a table, each column a scale of its own.
    group: (n,) of x_train, any sort of value; examples of one group are never on two sides of a split.
    columns: facts about each example that no model reads, (n,) texts by name, of x_train; columns_test and
    columns_validation of the other two.
    """

    x_train: Examples
    y_train: Array
    x_test: Examples | None = None
    y_test: Array | None = None
    classes: tuple[str, ...] | None = None
    scale: float | None = None
    group: Array | None = None
    kind: Literal["examples", "windows", "table"] = "examples"
    x_validation: Examples | None = None
    y_validation: Array | None = None
    columns: Mapping[str, Array] = field(default_factory=dict)
    columns_test: Mapping[str, Array] = field(default_factory=dict)
    columns_validation: Mapping[str, Array] = field(default_factory=dict)
