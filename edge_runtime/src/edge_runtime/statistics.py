"""The reference that a monitor compares with: how training inputs and the model's answers to them were spread.

Stored in a bundle as statistics.json. Inputs come from the training data, answers from examples that the model was not
trained on (a model is surer of what it has learnt by heart); never from test data.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime._fields import Fields
from edge_runtime.errors import BundleError
from edge_runtime.features import OUTPUT_NAMES, InputFeatures, describe_inputs, output_features

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT, FORMAT_VERSION = "edge-statistics", 1
BINS = 10  # of equal share; PSI with ten deciles is what its rules of thumb speak of
CONFIDENCE_BINS = 20  # of equal width, for people to look at
LARGEST_BYTES = 16 << 20
_BLOCK = 1024
_SHARED = 0.02  # of the examples within a hair of an edge: rounding must not decide on which side they are


@dataclass(frozen=True)
class Feature:
    """How one number was spread in the reference.

    edges: ascending; value v is in bin `searchsorted(edges, v, "right")`, so there are len(edges) + 1 bins.
    counts: of the reference examples per bin. mean, std, low, high: of the values themselves.
    """

    name: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    mean: float
    std: float
    low: float
    high: float

    @property
    def size(self) -> int:
        """How many reference examples there were."""
        return sum(self.counts)


@dataclass(frozen=True)
class Statistics:
    """A model's reference. inputs and outputs: one Feature a number that features.py describes them by.

    labels: class names ("" where the model has none). class_counts, confidence_counts: of the reference's answers.
    """

    describe: InputFeatures
    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    class_counts: tuple[int, ...]
    confidence_counts: tuple[int, ...]

    @property
    def features(self) -> tuple[Feature, ...]:
        """Inputs, then outputs: the columns of a monitor's table."""
        return self.inputs + self.outputs

    @staticmethod
    def of(inputs: NDArray[Any], logits: NDArray[np.float32] | None, *, kind: str, pad_id: int = 0) -> Statistics:
        """The reference of preprocessed inputs (n, ...) and the logits (m, classes) of held-out ones.

        The two need not be the same examples. kind: "image", "window", "vector", "text" (ids) or "none".

        Raises:
            BundleError: fewer than two examples, shapes that do not fit the kind, or values that are not finite.
        """
        ranks = {"image": 4, "window": 4, "vector": 2, "text": 2}
        if kind != "none" and (kind not in ranks or inputs.ndim != ranks[kind]):
            raise BundleError(f"{kind} inputs of shape {inputs.shape}", "statistics", "pass preprocessed inputs")
        if (kind != "none" and len(inputs) < 2) or (logits is not None and (logits.ndim != 2 or len(logits) < 2)):
            raise BundleError("fewer than two examples", "statistics", "a reference needs many; some hundreds")
        describe = describe_inputs(inputs, kind, pad_id) if kind != "none" else InputFeatures("none")
        parts = [describe(inputs[i : i + _BLOCK]) for i in range(0, len(inputs), _BLOCK)] if kind != "none" else []
        given = np.concatenate(parts) if parts else np.empty((0, 0), np.float32)
        found = np.empty((0, 0), np.float32) if logits is None else output_features(logits)
        if not np.isfinite(given).all() or not np.isfinite(found).all():
            raise BundleError("values that are not finite", "statistics", "leave such examples out")
        classes = () if logits is None else np.bincount(logits.argmax(axis=1), minlength=logits.shape[1])
        confidence = () if logits is None else np.bincount(confidence_bin(found[:, 0]), minlength=CONFIDENCE_BINS)
        return Statistics(
            describe,
            tuple(feature(name, given[:, i]) for i, name in enumerate(describe.names)),
            tuple(feature(name, found[:, i]) for i, name in enumerate(OUTPUT_NAMES)) if logits is not None else (),
            tuple(int(n) for n in classes),
            tuple(int(n) for n in confidence),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data, the inverse of from_json."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "inputs": self.describe.to_json(),
            "input_features": [_to_json(f) for f in self.inputs],
            "output_features": [_to_json(f) for f in self.outputs],
            "class_counts": list(self.class_counts),
            "confidence_counts": list(self.confidence_counts),
        }

    def to_bytes(self) -> bytes:
        """The content of statistics.json; same reference, same bytes."""
        return (json.dumps(self.to_json(), separators=(",", ":"), allow_nan=False) + "\n").encode()

    @staticmethod
    def from_bytes(data: bytes, where: str = "statistics.json") -> Statistics:
        """Rebuild from to_bytes's data.

        Raises:
            BundleError: as from_json, or not JSON.
        """
        if len(data) > LARGEST_BYTES:
            raise BundleError(f"{len(data):,} bytes", where, f"at most {LARGEST_BYTES:,} are allowed")
        try:
            return Statistics.from_json(json.loads(data.decode("utf-8")), where)
        except (ValueError, RecursionError) as error:
            raise BundleError(f"not valid JSON: {error}", where, "write the bundle again with compress") from error

    @staticmethod
    def from_json(doc: Any, where: str = "statistics.json") -> Statistics:
        """Rebuild from to_json's data.

        Raises:
            BundleError: it is of another format, or fields are missing, wrong or do not fit each other.
        """
        problems: list[str] = []
        keys = ("format", "format_version", "inputs", "input_features", "output_features")
        fields = Fields(doc, "", problems, (*keys, "class_counts", "confidence_counts"))
        if fields.doc.get("format") != FORMAT or fields.doc.get("format_version") != FORMAT_VERSION:
            fix = "pip install --upgrade edge-runtime, or write the bundle again with compress"
            raise BundleError(f"not {FORMAT} of version {FORMAT_VERSION}", where, fix)
        describe = InputFeatures.from_json(fields.table("inputs"), problems)
        inputs = [_from_json(f, f"input_features[{i}]", problems) for i, f in enumerate(_list(fields, keys[3]))]
        outputs = [_from_json(f, f"output_features[{i}]", problems) for i, f in enumerate(_list(fields, keys[4]))]
        classes = _counts(fields, "class_counts", 100_000)
        confidence = _counts(fields, "confidence_counts", CONFIDENCE_BINS)
        if not problems and (tuple(f.name for f in inputs) != describe.names):
            problems.append("input_features: not those of inputs.kind")
        if not problems and tuple(f.name for f in outputs) not in ((), OUTPUT_NAMES):
            problems.append(f"output_features: want none or {', '.join(OUTPUT_NAMES)}")
        if not problems and (bool(outputs) != bool(classes) or len(confidence) != CONFIDENCE_BINS * bool(outputs)):
            problems.append("class_counts and confidence_counts belong to output_features")
        if problems:
            what = f"{len(problems)} problem(s)\n    " + "\n    ".join(problems[:20])
            raise BundleError(what, where, "write the bundle again with compress")
        return Statistics(describe, tuple(inputs), tuple(outputs), classes, confidence)


def feature(name: str, values: NDArray[Any]) -> Feature:
    """The spread of reference values (n,).

    Edges are the deciles of the values. A decile that many examples share exactly (the black corner of a picture) gets
    a bin of its own, a hair wide: a change to either side of it shows, and rounding, which differs between machines
    and batches, does not.
    """
    v = np.asarray(values, np.float64)
    deciles = np.quantile(v, np.arange(1, BINS) / BINS)
    hair = 1e-5 * max(float(v.std()), 1e-3 * float(np.abs(v).max()), 1e-12)
    twice = {float(d) for d in deciles if (np.abs(v - d) <= hair).mean() > _SHARED}
    edges: set[float] = set()
    for d in (float(d) for d in deciles):
        edges |= {d - hair, d + hair} if d in twice else {d}
    ordered = [float(e) for e in sorted(edges)]
    kept = [e for i, e in enumerate(ordered) if i == 0 or e - ordered[i - 1] > hair / 2]
    counts = np.bincount(np.searchsorted(kept, v, "right"), minlength=len(kept) + 1)
    return Feature(name, tuple(kept), tuple(int(n) for n in counts), float(v.mean()), float(v.std()), float(v.min()),
                   float(v.max()))  # fmt: skip


def confidence_bin(confidence: NDArray[np.float32]) -> NDArray[np.intp]:
    """Which of the equal bins of 0..1 each confidence is in."""
    return np.clip((confidence * CONFIDENCE_BINS).astype(np.intp), 0, CONFIDENCE_BINS - 1)


def _to_json(f: Feature) -> dict[str, Any]:
    return {"name": f.name, "edges": list(f.edges), "counts": list(f.counts), "mean": f.mean, "std": f.std,
            "low": f.low, "high": f.high}  # fmt: skip


def _list(fields: Fields, key: str) -> list[Any]:
    return fields.items(key, most=256)


def _counts(fields: Fields, key: str, most: int) -> tuple[int, ...]:
    counts = fields.items(key, most=most)
    if not all(type(n) is int and 0 <= n < 1 << 53 for n in counts):
        fields.note(key, "want whole numbers from 0 on")
        return ()
    return tuple(counts)


def _from_json(doc: Any, where: str, problems: list[str]) -> Feature:
    fields = Fields(doc, where, problems, ("name", "edges", "counts", "mean", "std", "low", "high"))
    name, edges = fields.text("name", longest=40), fields.items("edges", fewest=1, most=2 * BINS)
    counts = _counts(fields, "counts", 2 * BINS + 1)
    numbers = [fields.number(key, -1e30, 1e30) or 0.0 for key in ("mean", "std", "low", "high")]
    if not all(type(e) in (int, float) and abs(e) < 1e30 for e in edges) or edges != sorted(set(edges)):
        fields.note("edges", "want ascending numbers")
    elif len(counts) != len(edges) + 1 or sum(counts) < 2:
        fields.note("counts", "want one more than edges, of two examples or more")
    return Feature(name, tuple(float(e) for e in edges) if not problems else (), counts, *numbers)
