"""What a recipe can say. Plain frozen data: no torch, no files, no environment, no code.

`compress schema` publishes this as JSON Schema for editors. Field descriptions are the user's reference. `data:` and
`stages:` have modules of their own; their names can be had from here as well.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from compress.recipe.base import Config, Count, Function, Positive
from compress.recipe.data_config import AugmentConfig, DataConfig, NormalizeConfig, Source, WindowConfig
from compress.recipe.stage_config import (
    KINDS,
    DistillConfig,
    LayerPair,
    PruneConfig,
    QuantizeConfig,
    Stage,
    StageConfig,
    TrainConfig,
    Training,
    VocabularyConfig,
)  # fmt: skip

__all__ = [
    "KINDS",
    "AugmentConfig",
    "BudgetConfig",
    "DataConfig",
    "DeviceName",
    "DistillConfig",
    "ExportFormat",
    "FromTeacher",
    "InvarianceConfig",
    "LayerPair",
    "MeasureConfig",
    "NetConfig",
    "NormalizeConfig",
    "PruneConfig",
    "QuantizeConfig",
    "Recipe",
    "Source",
    "Stage",
    "StageConfig",
    "StudentConfig",
    "Target",
    "Task",
    "TeacherConfig",
    "TrainConfig",
    "Training",
    "Transformation",
    "VocabularyConfig",
    "WindowConfig",
]

ExportFormat = Literal["onnx", "tflite", "onnx-float32", "tflite-float32", "tflite-float16"]
Task = Literal["image-classification", "classification", "text-classification", "sensor-classification"]
Transformation = Literal[
    "shift", "rotation", "brightness", "noise", "blur", "gain", "time_shift", "jitter", "typos", "upper_case"
]
DeviceName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Target = Literal["x86-vnni", "x86-avx2", "arm64", "armv7", "tflite"]


class NetConfig(Config):
    """A named net and its arguments, or a checkpoint."""

    net: str | None = Field(None, description="A named net; `compress nets` lists them.")
    args: dict[str, Any] = Field(default_factory=dict, description="Arguments of net or python, e.g. {width: 48}.")
    checkpoint: str | None = Field(None, description="A checkpoint folder that compress wrote.")
    python: Function | None = Field(
        None, description="pkg.module:function that returns a torch module; runs with --allow-code only."
    )
    weights: str | None = Field(None, description="python: the module's state dict, a .safetensors file.")

    ORIGINS: ClassVar[tuple[str, ...]] = ("net", "checkpoint", "python")
    ADDED: ClassVar[frozenset[str]] = frozenset({"python", "weights"})

    @property
    def origin(self) -> str:
        """Which of ORIGINS it names."""
        return next(n for n in self.ORIGINS if getattr(self, n) is not None)

    @model_validator(mode="after")
    def _one_origin(self) -> "NetConfig":
        named = [n for n in self.ORIGINS if getattr(self, n) is not None]
        if len(named) != 1:
            last = f"{', '.join(self.ORIGINS[:-1])} and {self.ORIGINS[-1]}"
            raise ValueError(f"give exactly one of {last}")
        if named[0] not in ("net", "python") and self.args:
            raise ValueError(f"args belong to net and python; {named[0]} brings its own")
        if named[0] != "python" and self.weights is not None:
            raise ValueError("weights belong to python")
        return self


class TeacherConfig(NetConfig):
    """The model to compress, or to learn from."""

    ORIGINS: ClassVar[tuple[str, ...]] = (*NetConfig.ORIGINS, "hf", "onnx")
    ADDED: ClassVar[frozenset[str]] = NetConfig.ADDED | {"hf", "revision", "onnx"}

    hf: str | None = Field(
        None, description="A BERT or DistilBERT model: its Hugging Face id, or a folder with its files (safetensors)."
    )
    revision: str | None = Field(None, description="The commit of the hub model; wanted where it has to be downloaded.")
    onnx: str | None = Field(
        None, description="A float ONNX file: a plain classifier. What compress cannot take apart can still teach."
    )
    train: TrainConfig | None = Field(None, description="Train it first; a net without a checkpoint needs this.")


class FromTeacher(Config):
    """Layers of a text encoder to begin with, counted from 1; table, norms and classifier come along."""

    layers: tuple[Count, ...] = Field(min_length=1, description="In their order, e.g. [1, 6].")


class StudentConfig(NetConfig):
    """The model to ship. Without one, the teacher itself is compressed."""

    ORIGINS: ClassVar[tuple[str, ...]] = (*NetConfig.ORIGINS, "from_teacher")
    ADDED: ClassVar[frozenset[str]] = NetConfig.ADDED | {"from_teacher"}

    from_teacher: FromTeacher | None = Field(None, description="Begin as some of the trained teacher's own layers.")


class MeasureConfig(Config):
    """What is timed, and where."""

    devices: tuple[DeviceName, ...] = Field(
        ("cpu",), min_length=1, description="cpu is this machine; others stand in devices.yaml (`compress devices`)."
    )
    threads: Count = 1
    profile: Literal["smoke", "quick", "default"] = Field(
        "quick", description="default: 5 processes of 10 s a file; quick: 3 of 1 s; smoke: 2 of 0.1 s, a sign of life."
    )


class InvarianceConfig(Config):
    """What must not change an answer: test examples are transformed, and the answers before and after are compared.

    Images: shift (pixels), rotation (degrees), brightness and noise (share of full scale), blur (sigma in pixels).
    Windows: gain (factor), time_shift (samples), jitter (share of a channel's spread). Texts: typos and upper_case
    (share of words), swaps.
    """

    transformations: dict[Transformation, Annotated[tuple[float, ...], Field(min_length=1)]] = Field(
        default_factory=dict, description="Strengths by transformation, e.g. {rotation: [5, 10], shift: [1, 2]}."
    )
    swaps: tuple[tuple[str, str], ...] = Field((), description="Texts: words to swap both ways, e.g. [[he, she]].")
    examples: Count = Field(1000, description="Test examples used, the first so many.")

    FITTING: ClassVar[Mapping[str, tuple[Transformation, ...]]] = {
        "text-classification": ("typos", "upper_case"),
        "image-classification": ("shift", "rotation", "brightness", "noise", "blur"),
        "sensor-classification": ("gain", "time_shift", "jitter"),
        "classification": ("jitter",),
    }

    @model_validator(mode="after")
    def _something(self) -> "InvarianceConfig":
        if not self.transformations and not self.swaps:
            raise ValueError("name a transformation with its strengths, e.g. {rotation: [5, 10]}, or swaps")
        return self


class AttributionConfig(Config):
    """What spoke for the answers that changed, part by part, by the teacher's file and the shipped one.

    Needs the attribution extra. An example costs about parts x permutations inferences by each file; it has at most 64
    parts (patches, words, stretches of a signal, columns).
    """

    examples: int = Field(4, ge=1, le=24, description="So many of the worst changed answers.")
    permutations: int = Field(8, ge=1, le=200, description="Orders in which parts are added; more is less noisy.")


class SliceConfig(Config):
    """Test examples with something in common, told of by themselves in the report.

    column: of data.metadata, or what the tool measures itself: words and characters (texts), brightness and contrast
    (images), movement (windows), confidence (of the teacher, 0..1), class (the true one).
    """

    column: str = Field(min_length=1, description="A column of data.metadata, or something that is measured.")
    name: str | None = Field(None, min_length=1, max_length=80, description="In tables; default: the condition itself.")
    above: float | None = Field(None, description="Numbers larger than this.")
    below: float | None = Field(None, description="Numbers smaller than this.")
    one_of: tuple[str, ...] = Field((), description="Texts that the column holds, e.g. [north, south].")

    MEASURED: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "text-classification": ("words", "characters"),
        "image-classification": ("brightness", "contrast"),
        "sensor-classification": ("movement",),
        "classification": (),
    }
    ALWAYS: ClassVar[tuple[str, ...]] = ("confidence", "class")

    @model_validator(mode="after")
    def _a_condition(self) -> "SliceConfig":
        ranged = self.above is not None or self.below is not None
        if ranged == bool(self.one_of):
            raise ValueError("give above, below or both for numbers, or one_of for texts")
        if self.above is not None and self.below is not None and self.above >= self.below:
            raise ValueError(f"above: {self.above:g} and below: {self.below:g} leave nothing between")
        return self

    @property
    def title(self) -> str:
        """What tables call it."""
        if self.name is not None:
            return self.name
        if self.one_of:
            return f"{self.column} is {' or '.join(self.one_of)}"
        words = {"above": self.above, "below": self.below}
        return f"{self.column} " + " and ".join(f"{w} {v:g}" for w, v in words.items() if v is not None)


class BudgetConfig(Config):
    """What the result must meet; a missed budget ends the run with exit code 3."""

    accuracy_drop_points: float | None = Field(None, ge=0.0, le=100.0, description="Against the teacher, on test.")
    size_bytes: Count | None = Field(None, description="Of the shipped model file.")
    latency_ms: dict[str, Positive] = Field(default_factory=dict, description="Median per device, e.g. {cpu: 1.0}.")
    consistency_drop_points: float | None = Field(
        None, ge=0.0, le=100.0, description="Against the teacher, under the worst transformation of `invariance`."
    )


class Recipe(Config):
    """A whole run: data, teacher, student, stages, exports, measurements and budget."""

    version: Literal[1]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", description="Names the run folder.")
    seed: int = Field(0, ge=0, lt=2**31)
    task: Task = "image-classification"
    target: Target = Field("x86-vnni", description="The kind of device to be right and fast on.")
    data: DataConfig
    teacher: TeacherConfig
    student: StudentConfig | None = None
    stages: tuple[Stage, ...] = Field((), description="In order, one mapping a stage: {distill: {...}}.")
    export: tuple[ExportFormat, ...] = Field(("onnx", "tflite"), min_length=1)
    measure: MeasureConfig = Field(default_factory=MeasureConfig)
    budget: BudgetConfig = Field(default_factory=BudgetConfig)
    invariance: InvarianceConfig | None = Field(None, description="Transformations that must not change answers.")
    costs: tuple[tuple[float, ...], ...] | None = Field(
        None, description="Cost of each answer (column) for each truth (row), in the order of the classes."
    )
    attribution: AttributionConfig | None = Field(
        None, description="Explain the worst changed answers; off by default."
    )
    slices: tuple[SliceConfig, ...] = Field((), description="Slices of the test examples, beside the automatic ones.")
    sensitive: tuple[str, ...] = Field(
        (), description="Columns of data.metadata (gestures: person): is compression as fair to each of their groups?"
    )
    allow_slower: bool = Field(False, description="Accept a result that is no smaller or no faster than the teacher.")
