"""Targets: what a kind of device runs well, read from compress/targets/*.yaml, each value with its reason."""

from importlib import resources
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from compress.errors import PlanError
from compress.recipe.document import read_yaml
from compress.recipe.schema import QuantizeConfig, StageConfig

CLAIMS = ("formats", "activations", "weights", "weight_bits", "operators", "transformers")


class Profile(BaseModel):
    """One kind of device.

    formats: files that have an engine there. activations: by format, the type of calibrated activations. weights:
    signed, symmetric, one scale an output channel; weight_bits: of them, unless the recipe says otherwise. operators:
    "chains" where additions, poolings and activations between layers are integer too. transformers: how their products
    are quantized. reasons: for each of these fields why. evidence: where that was measured, as FILE or FILE:KEY.KEY in
    benchmarks/results; empty where nothing here could measure it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    description: str
    formats: tuple[Literal["onnx", "tflite"], ...] = Field(min_length=1)
    activations: dict[Literal["onnx", "tflite"], Literal["uint8", "int8"]]
    weights: Literal["int8"]
    weight_bits: Literal[7, 8]
    operators: Literal["chains", "layers"]
    transformers: Literal["dynamic", "layers"]
    reasons: dict[str, str]
    evidence: dict[str, tuple[str, ...]]

    @model_validator(mode="after")
    def _sound(self) -> "Profile":
        for kind in ("reasons", "evidence"):
            if set(getattr(self, kind)) != set(CLAIMS):
                raise ValueError(f"{kind} must be given for exactly {', '.join(CLAIMS)}")
        if set(self.activations) != set(self.formats):
            raise ValueError(f"activations must be given for exactly {', '.join(self.formats)}")
        return self

    def claim(self, name: str) -> str:
        """A field's value, why, and where that was measured, in a sentence or two."""
        value = getattr(self, name)
        if isinstance(value, dict):
            value = ", ".join(f"{v} in {k}" for k, v in value.items())
        said = ", ".join(value) if isinstance(value, tuple) else str(value)
        where = ", ".join(self.evidence[name]) or "not measured here"
        return f"{said}. {self.reasons[name]} ({where})"


def target_names() -> tuple[str, ...]:
    """All targets there are."""
    folder = resources.files("compress") / "targets"
    return tuple(sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")))


def load_target(name: str) -> Profile:
    """Read a target's profile.

    Raises:
        PlanError: there is none of that name, or its file is faulty.
    """
    if name not in target_names():
        raise PlanError(f"no target {name!r}", "target", f"one of {', '.join(target_names())}")
    return parse_target((resources.files("compress") / "targets" / f"{name}.yaml").read_bytes(), name)


def parse_target(text: bytes, name: str) -> Profile:
    """A profile from YAML text, whose name it must bear.

    Raises:
        PlanError: it is faulty.
    """
    where, fix = f"targets/{name}.yaml", "correct that file, or install compress again"
    document = read_yaml(text)
    if document.problems:
        raise PlanError(f"line {document.problems[0].line}: {document.problems[0].text}", where, fix)
    try:
        profile = Profile.model_validate(document.value)
    except ValidationError as error:
        first = error.errors()[0]
        raise PlanError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}", where, fix) from error
    if profile.name != name:
        raise PlanError(f"it is named {profile.name!r}", where, fix)
    return profile


def for_target(stage: StageConfig, profile: Profile) -> StageConfig:
    """The stage with what it leaves to the target filled in: the bits of quantized weights."""
    if not isinstance(stage, QuantizeConfig) or stage.weight_bits is not None or stage.engine != "own":
        return stage
    changes: dict[str, Any] = {"weight_bits": profile.weight_bits}
    return stage.model_copy(update=changes)
