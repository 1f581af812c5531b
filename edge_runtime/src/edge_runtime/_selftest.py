"""A bundle's self-test: does this device, with this engine, give what the model gave where it was made?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime.errors import BundleError, InputError
from edge_runtime.files import read_checked, read_npz
from edge_runtime.reference import unpack_inputs, unpack_logits, unpack_outputs

if TYPE_CHECKING:
    from edge_runtime.model import Model


@dataclass(frozen=True)
class CheckReport:
    """Outcome of a bundle's self-test on this device.

    agreement: share of the reference examples with the expected class; for the task tensors, of those whose every
        number lies within the tolerance. largest_difference: between any two logits (numbers).
    message: one sentence for a log.
    """

    ok: bool
    largest_difference: float
    agreement: float
    message: str


def read_reference(model: Model) -> tuple[Any, Any]:
    """As Model.reference."""
    manifest = model.manifest
    path = manifest.self_test.path
    where = str(model.folder / path)
    arrays = read_npz(read_checked(model.folder, path, manifest.files[path]), where)
    try:
        inputs = unpack_inputs(manifest, arrays)
        if manifest.labels:
            return inputs, unpack_logits(arrays, model.entry.format, len(inputs), len(manifest.labels))
        names = [t.name for t in model.entry.outputs]
        return inputs, unpack_outputs(arrays, model.entry.format, len(inputs), names)
    except ValueError as error:
        raise BundleError(str(error), where, "write the bundle again with compress") from error


def check(model: Model) -> CheckReport:
    """As Model.check."""
    test = model.manifest.self_test
    inputs, expected = read_reference(model)
    try:
        compare = _compare_logits if model.manifest.labels else _compare_outputs
        difference, agreement = compare(model, inputs, expected)
    except InputError as error:
        where = str(model.folder / test.path)
        raise BundleError(f"the reference inputs: {error.what}", where, "write the bundle again") from error
    ok = agreement >= test.agreement and difference <= test.largest_difference
    word = "logits" if model.manifest.labels else "values"
    message = (
        f"{'passed' if ok else 'FAILED'}: {agreement:.1%} of {len(inputs)} reference examples agree "
        f"(want {test.agreement:.1%}), {word} differ by at most {difference:.3g} "
        f"(allowed {test.largest_difference:.3g})"
    )
    return CheckReport(ok, difference, agreement, message)


def _compare_logits(model: Model, inputs: Any, expected: Any) -> tuple[float, float]:
    found = model.logits(inputs)
    if found.shape != expected.shape:
        what = f"{len(expected)} examples gave {len(found)} rows of logits"
        raise BundleError(what, str(model.folder), "write the bundle again with compress")
    difference = float(np.abs(found.astype(np.float64) - expected).max())
    return difference, float((found.argmax(axis=1) == expected.argmax(axis=1)).mean())


def _compare_outputs(model: Model, inputs: Any, expected: Any) -> tuple[float, float]:
    """Differences of every number of every output; outputs of another shape differ without bound."""
    worst = []
    for example, want in zip(inputs, expected):
        found = model.outputs(example)
        pairs = [(found[name].astype(np.float64), want[name].astype(np.float64)) for name in want]
        worst.append(max(float(np.abs(a - b).max(initial=0.0)) if a.shape == b.shape else np.inf for a, b in pairs))
    agreement = np.mean([w <= model.manifest.self_test.largest_difference for w in worst])
    return max(worst), float(agreement)
