"""`stages:` of a recipe: what each stage takes, and how a list of them is read and written."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, GetCoreSchemaHandler, SerializationInfo, model_validator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from compress.recipe.base import Config, Count, Fraction, Patterns, Positive
from compress.recipe.data_config import AugmentConfig


class Training(Config):
    """How a model is trained; shared by every stage that trains."""

    batch_size: Count = Field(64, description="Examples a step, over all processes together.")
    learning_rate: Positive = Field(0.01, description="Peak learning rate.")
    optimizer: Literal["sgd", "adamw"] = Field("adamw", description="SGD has Nesterov momentum 0.9.")
    weight_decay: float = Field(1e-4, ge=0.0, description="Applied to weights, not to biases and norms.")
    schedule: Literal["one-cycle", "cosine", "constant"] = Field("one-cycle", description="Learning rate over steps.")
    label_smoothing: float = Field(0.0, ge=0.0, lt=1.0)
    ema_decay: float = Field(0.0, ge=0.0, lt=1.0, description="Average the weights over steps with this decay; 0: off.")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="Of activations in training.")
    augment: AugmentConfig | None = Field(None, description="Instead of data.augment.")


class TrainConfig(Training):
    """Train on labels alone."""

    kind: ClassVar[str] = "train"

    epochs: Count = 10


class LayerPair(Config):
    """A teacher's node and a student's node whose outputs should agree."""

    teacher: str
    student: str
    weight: Positive = 1.0


class DistillConfig(Training):
    """Train the student on the teacher's soft labels, and optionally on what happens inside it.

    Soft labels: Hinton et al. 2015, arXiv:1503.02531. Hints: Romero et al. 2014, arXiv:1412.6550.
    Attention transfer: Zagoruyko and Komodakis 2016, arXiv:1612.03928. Between text encoders, hints match hidden states
    (Jiao et al. 2019, arXiv:1909.10351) and relations self-attention (Wang et al. 2020, arXiv:2012.15828).
    """

    ADDED: ClassVar[frozenset[str]] = frozenset({"relations"})

    kind: ClassVar[str] = "distill"

    epochs: Count = 10
    temperature: Positive = Field(4.0, description="Softens both distributions.")
    hard_label_weight: float = Field(
        0.3, ge=0.0, le=1.0, description="Weight of the labels; the rest is the teacher's."
    )
    hints: tuple[LayerPair, ...] = Field((), description="Match features through a learnt 1x1 projection.")
    attention: tuple[LayerPair, ...] = Field((), description="Match spatial attention maps.")
    relations: tuple[LayerPair, ...] = Field(
        (), description="Match which tokens of a text resemble each other: queries, keys, values of two attentions."
    )


class PruneConfig(Training):
    """Remove whole channels (smaller and faster) or zero single weights (smaller only once the file is compressed).

    Magnitude: Li et al. 2016, arXiv:1608.08710. Taylor: Molchanov et al. 2019, arXiv:1906.10771.
    Schedule of single weights: Zhu and Gupta 2017, arXiv:1710.01878.
    """

    kind: ClassVar[str] = "prune"

    what: Literal["channels", "weights"] = "channels"
    keep_macs: Fraction | None = Field(None, description="Channels: share of multiply-accumulates to keep.")
    keep_parameters: Fraction | None = Field(None, description="Channels: share of parameters to keep.")
    sparsity: Fraction | None = Field(None, description="Weights: share of each layer's weights set to zero.")
    importance: Literal["magnitude", "taylor"] = "magnitude"
    layers: Patterns = Field("all", description="`all`, or a list of layer names and `re:` patterns.")
    round_to: Count = Field(4, description="Keep a multiple of this many channels.")
    iterations: Count = Field(1, description="Prune in this many rounds, fine-tuning after each.")
    finetune_epochs: int = Field(0, ge=0, description="In all, spread over the rounds.")
    distill: bool = Field(True, description="Fine-tune with the teacher's soft labels where there is a teacher.")
    temperature: Positive = 4.0
    hard_label_weight: float = Field(0.3, ge=0.0, le=1.0)

    @model_validator(mode="after")
    def _one_goal(self) -> "PruneConfig":
        goals = [n for n in ("keep_macs", "keep_parameters", "sparsity") if getattr(self, n) is not None]
        want = ("sparsity",) if self.what == "weights" else ("keep_macs", "keep_parameters")
        if len(goals) != 1 or goals[0] not in want:
            raise ValueError(f"what: {self.what} wants exactly one of {', '.join(want)}; got {goals or 'none'}")
        return self


class QuantizeConfig(Training):
    """Weights and activations in 8-bit integers.

    qat: fine-tunes with simulated rounding (Jacob et al. 2018, arXiv:1712.05877), scales learnt by LSQ (Esser et al.
        2020, arXiv:1902.08153). static: ranges from calibration data, no training. dynamic: int8 weights, activation
        ranges found at run time.
    """

    kind: ClassVar[str] = "quantize"

    how: Literal["qat", "static", "dynamic"] = "static"
    epochs: int = Field(0, ge=0, description="qat only: epochs of fine-tuning, at least 1.")
    calibration: Literal["minmax", "percentile", "entropy"] = Field("minmax", description="How ranges are found.")
    percentile: float = Field(99.99, gt=50.0, le=100.0, description="For calibration: percentile.")
    layers: Patterns = Field("all", description="Layers to quantize: `all`, or a list of names and `re:` patterns.")
    keep_float: tuple[str, ...] = Field((), description="Layers to leave in float: names and `re:` patterns.")
    weight_bits: Literal[7, 8] | None = Field(
        None, description="7 keeps AVX2 without VNNI from saturating; default: the target's."
    )
    learning_rate: Positive = Field(1e-3, description="qat only: peak learning rate.")
    distill: bool = Field(True, description="qat: learn from the teacher's soft labels where there is a teacher.")
    temperature: Positive = 4.0
    hard_label_weight: float = Field(0.3, ge=0.0, le=1.0)
    engine: Literal["own", "neural-compressor"] = Field(
        "own", description="neural-compressor: Intel's static quantization; last stage, ONNX only, needs the inc extra."
    )
    autotune_drop_points: float | None = Field(
        None,
        gt=0.0,
        le=100.0,
        description="neural-compressor: try configurations until one loses no more.",
    )

    ADDED: ClassVar[frozenset[str]] = frozenset({"engine", "autotune_drop_points"})

    @model_validator(mode="after")
    def _engine(self) -> "QuantizeConfig":
        if self.engine == "own" and self.autotune_drop_points is not None:
            raise ValueError("autotune_drop_points belongs to engine: neural-compressor")
        if self.engine != "own" and self.how != "static":
            raise ValueError(f"how: {self.how} cannot be given with engine: {self.engine}, which is static alone")
        return self

    @model_validator(mode="after")
    def _epochs(self) -> "QuantizeConfig":
        if (self.how == "qat") != (self.epochs > 0):
            raise ValueError(f"how: {self.how} with epochs: {self.epochs}; qat wants at least 1, the others 0")
        return self


class VocabularyConfig(Config):
    """Take the tokens out of a text model that its training texts do not use, and make the rest of its table narrower.

    Half of a small encoder's weights are its table of tokens. Single characters stay, so that an unseen word falls
    back to pieces; the tokenizer in the bundle is trimmed alike. Trains nothing.
    """

    kind: ClassVar[str] = "vocabulary"
    ADDED: ClassVar[frozenset[str]] = frozenset({"rank"})

    min_count: Count = Field(1, description="Keep a token that stands in at least this many training texts.")
    rank: Count | None = Field(
        None,
        description="Numbers a token in the table; a linear layer behind it, trained with the rest, widens them.",
    )


StageConfig = TrainConfig | DistillConfig | PruneConfig | QuantizeConfig | VocabularyConfig
KINDS: dict[str, type[StageConfig]] = {
    "train": TrainConfig,
    "distill": DistillConfig,
    "prune": PruneConfig,
    "quantize": QuantizeConfig,
    "vocabulary": VocabularyConfig,
}


class _SingleKey:
    """Reads and writes a stage as the recipe spells it, {kind: {options}}; in Python it is the config itself."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices: dict[Any, CoreSchema] = {}
        for kind, config in KINDS.items():
            field = core_schema.typed_dict_field(handler.generate_schema(config), required=True)
            choices[kind] = core_schema.typed_dict_schema({kind: field}, extra_behavior="forbid")
        tagged = core_schema.tagged_union_schema(choices, discriminator=_kind_of)
        wrapped = core_schema.no_info_before_validator_function(_wrap, tagged)
        write = core_schema.plain_serializer_function_ser_schema(_write, info_arg=True)
        return core_schema.no_info_after_validator_function(_unwrap, wrapped, serialization=write)


def _wrap(value: Any) -> Any:
    """A config made in Python stands for its mapping; `- distill:` without options means all defaults."""
    if isinstance(value, StageConfig):
        return {value.kind: value}
    if isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in KINDS:
        return {k: {} if v is None else v for k, v in value.items()}
    raise PydanticCustomError("stage", "want one of {kinds} with its options", {"kinds": ", ".join(KINDS)})


def _kind_of(value: Any) -> str:
    return str(next(iter(value)))


def _unwrap(value: Mapping[str, Any]) -> Any:
    return next(iter(value.values()))


def _write(config: Any, info: SerializationInfo) -> dict[str, Any]:
    return {config.kind: config.model_dump(mode=info.mode, exclude_unset=info.exclude_unset)}


Stage = Annotated[StageConfig, _SingleKey]
