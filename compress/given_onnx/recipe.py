"""What to do with a given graph on a target: one or more ways to quantize it, in order of preference, each with why."""

from dataclasses import dataclass
from typing import Any, Literal

from compress.errors import UsageError
from compress.given_onnx.analyse import Analysis, Layer
from compress.plan.target import Profile

How = Literal["auto", "static", "static-layers", "dynamic"]
Calibration = Literal["minmax", "percentile", "entropy"]
HOWS: tuple[How, ...] = ("auto", "static", "static-layers", "dynamic")

# Operators with an integer kernel in ONNX Runtime's CPU provider, or that only move values. Softmax has one too, and
# loses what attention needs; LayerNormalization, HardSwish and Erf have none, and would gain a pair of conversions.
PRODUCTS = ("Conv", "Gemm", "MatMul")
WHOLE_CHAINS = (
    *PRODUCTS, "Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool", "MaxPool", "Relu", "Clip", "LeakyRelu",
    "Sigmoid", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Resize", "Slice", "Pad", "Split",
)  # fmt: skip
DYNAMIC = ("MatMul", "Gather", "LSTM")  # ConvInteger is the slow one: 0.13 of the float speed was measured
_SMALLEST_TABLE = 4096  # elements: a smaller Gather is an index, not an embedding


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way. operators: types to quantize; keep_float: layer -> why it stays float."""

    name: str
    how: Literal["static", "dynamic"]
    operators: tuple[str, ...]
    keep_float: dict[str, str]
    reason: str


@dataclass(frozen=True, slots=True)
class OnnxRecipe:
    """activations, weights: types where ranges are calibrated. weight_bits: of symmetric weights."""

    target: str
    kind: str
    activations: Literal["uint8", "int8"]
    weight_bits: Literal[7, 8]
    calibration: Calibration
    candidates: tuple[Candidate, ...]
    reasons: dict[str, str]
    weights: Literal["int8", "uint8"] = "int8"
    per_channel: bool = True

    def to_json(self) -> dict[str, Any]:
        """Plain data, for result.json."""
        candidates = [
            {"name": c.name, "how": c.how, "operators": list(c.operators), "keep_float": c.keep_float,
             "reason": c.reason} for c in self.candidates
        ]  # fmt: skip
        return {
            "target": self.target, "kind": self.kind, "activations": self.activations,
            "weights": f"{self.weights} per {'channel' if self.per_channel else 'tensor'}",
            "weight_bits": self.weight_bits, "calibration": self.calibration, "candidates": candidates,
            "reasons": self.reasons,
        }  # fmt: skip


def recipe_of(doc: dict[str, Any]) -> OnnxRecipe:
    """What OnnxRecipe.to_json wrote."""
    weights, _, per = doc["weights"].partition(" per ")
    candidates = tuple(Candidate(**{**c, "operators": tuple(c["operators"])}) for c in doc["candidates"])
    rest = {k: v for k, v in doc.items() if k not in ("weights", "candidates")}
    return OnnxRecipe(**rest, weights=weights, per_channel=per == "channel", candidates=candidates)


def make_recipe(
    analysis: Analysis,
    profile: Profile,
    *,
    how: How = "auto",
    calibration: Calibration = "minmax",
    keep_float: Any = (),
) -> OnnxRecipe:
    """Choose by what the graph holds.

    Raises:
        UsageError: the target has no ONNX Runtime, no layer can be integer, or keep_float names none.
    """
    if "onnx" not in profile.formats:
        what = f"{profile.name} has no ONNX Runtime: {profile.reasons['formats']}"
        raise UsageError(what, f"--target {profile.name}", "take x86-vnni, x86-avx2 or arm64")
    free = [layer for layer in analysis.layers if not layer.inside]
    if not free:
        raise UsageError(_nothing(analysis), "quantize", _nothing_fix(analysis))
    kept = _kept(analysis, keep_float)
    asked = "asked for with --how"
    candidates = _by_kind(analysis, free, kept) if how == "auto" else (_candidate(how, kept, asked),)
    reasons = {
        **{claim: profile.claim(claim) for claim in ("activations", "weights", "weight_bits", "operators")},
        "calibration": "asked for with --calibration"
        if calibration != "minmax"
        else "the exact range seen; percentile and entropy cut rare extremes off",
    }
    if analysis.kind == "transformer":
        reasons["transformers"] = profile.claim("transformers")
    return OnnxRecipe(
        target=profile.name, kind=analysis.kind, activations=profile.activations["onnx"],
        weight_bits=profile.weight_bits, calibration=calibration, candidates=candidates, reasons=reasons,
    )  # fmt: skip


def _by_kind(analysis: Analysis, free: list[Layer], kept: dict[str, str]) -> tuple[Candidate, ...]:
    share = _macs_in_words(free)
    if analysis.kind == "convolutions":
        why = f"{share} are convolutions: whole integer chains with calibrated ranges are fast, dynamic ones slow"
        only = "fewer conversions where little but the layers themselves has integer kernels"
        return _candidate("static", kept, why), _candidate("static-layers", kept, only)
    if analysis.kind == "transformer":
        why = f"{share} are products with constants, and it has attention: ranges found while running fit every text"
        other = "calibrated ranges at the products alone: quantizing all of a transformer costs four times the error"
        return _candidate("dynamic", kept, why), _candidate("static-layers", kept, other)
    if analysis.kind == "recurrent":
        why = f"{share} are in recurrent layers: those have dynamic integer kernels only"
        return (_candidate("dynamic", kept, why), _candidate("static-layers", kept, "its other layers, calibrated"))
    why = f"{share} are products with constants, without attention: calibrated integer chains"
    return (_candidate("static", kept, why), _candidate("dynamic", kept, "ranges found while running"),
            _candidate("static-layers", kept, "the products alone"))  # fmt: skip


def _candidate(how: str, kept: dict[str, str], reason: str) -> Candidate:
    operators = {"static": WHOLE_CHAINS, "static-layers": PRODUCTS, "dynamic": DYNAMIC}[how]
    return Candidate(how, "dynamic" if how == "dynamic" else "static", operators, dict(kept), reason)


def _kept(analysis: Analysis, keep_float: Any) -> dict[str, str]:
    names = {layer.name for layer in analysis.layers}
    if strange := [n for n in keep_float if n not in names]:
        what = f"the graph has no layer {', '.join(map(repr, strange))}"
        raise UsageError(what, "--keep-float", f"one of {', '.join(sorted(names))}")
    return dict.fromkeys(keep_float, "asked for with --keep-float")


def _macs_in_words(layers: list[Layer]) -> str:
    families = {"Conv": "conv", "ConvTranspose": "conv", "Gemm": "product", "MatMul": "product"}
    totals: dict[str, int] = {}
    for layer in layers:
        family = families.get(layer.op, "recurrent")
        totals[family] = totals.get(family, 0) + max(1, layer.macs)
    first = max(totals, key=lambda k: totals[k])
    return f"{totals[first] / sum(totals.values()):.0%} of {sum(totals.values()):,} MACs"


def _nothing(analysis: Analysis) -> str:
    hidden = [layer for layer in analysis.layers if layer.inside]
    if hidden:
        ops = sorted({layer.inside.split()[0] for layer in hidden})
        return f"all {len(hidden)} layers stand inside {'/'.join(ops)} nodes, which no quantizer reaches"
    return "it has no convolution, matrix product or recurrent layer with constant weights"


def _nothing_fix(analysis: Analysis) -> str:
    if any(layer.inside for layer in analysis.layers):
        return "fix the input that decides with --fix NAME=VALUE, or export the model without control flow"
    return "keep the float file: there is nothing that integers would make smaller or faster"
