"""Targets: what a kind of device runs well, read from compress/targets/*.yaml, each value with its reason."""

from importlib import resources
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from compress.errors import PlanError
from compress.recipe.document import read_yaml
from compress.recipe.schema import QuantizeConfig, StageConfig


class Profile(BaseModel):
    """One kind of device.

    formats: files that have an engine there. weight_bits: of int8 weights, unless the recipe says otherwise.
    reasons: for each of these fields the measurement or fact behind it. What holds for every target is no field here:
    ONNX activations are unsigned and TFLite's signed, and whole chains are integer (compress/stages/placement.py).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    description: str
    formats: tuple[Literal["onnx", "tflite"], ...] = Field(min_length=1)
    weight_bits: Literal[7, 8]
    reasons: dict[str, str]

    @model_validator(mode="after")
    def _sound(self) -> "Profile":
        explained = {"formats", "weight_bits"}
        if set(self.reasons) != explained:
            raise ValueError(f"reasons must be given for exactly {', '.join(sorted(explained))}")
        return self


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
    if not isinstance(stage, QuantizeConfig) or stage.weight_bits is not None:
        return stage
    changes: dict[str, Any] = {"weight_bits": profile.weight_bits}
    return stage.model_copy(update=changes)
