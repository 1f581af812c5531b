"""What a recipe can say. Plain frozen data: no torch, no files, no environment, no code.

`compress schema` publishes this as JSON Schema for editors. Field descriptions are the user's reference.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1)]
Function = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*(\.\w+)*$")]
Patterns = Literal["all"] | tuple[str, ...]
ExportFormat = Literal["onnx", "tflite", "onnx-float32", "tflite-float32", "tflite-float16"]
Source = Literal["mnist-5k", "digits", "fashion-mnist", "gestures"]
Task = Literal["image-classification", "classification", "text-classification", "sensor-classification"]
Transformation = Literal[
    "shift", "rotation", "brightness", "noise", "blur", "gain", "time_shift", "jitter", "typos", "upper_case"
]
DeviceName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Target = Literal["x86-vnni", "x86-avx2", "arm64", "armv7", "tflite"]

_FOR_A_KEY: dict[str, bool] = {"for a cache key": True}  # compared by identity


class _Config(BaseModel):
    """Frozen, unknown keys refused.

    ADDED: fields that came after the first release. `settings` leaves them out while they have their defaults, so that
    a new field does not change the cache keys of recipes that do not use it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
    ADDED: ClassVar[frozenset[str]] = frozenset()

    def settings(self) -> dict[str, Any]:
        """Plain data for a cache key: every field that changes what is done."""
        return self.model_dump(mode="json", context=_FOR_A_KEY)

    @model_serializer(mode="wrap")
    def _without_added_defaults(
        self, handler: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        doc: dict[str, Any] = handler(self)
        if info.context is _FOR_A_KEY:
            fields = type(self).model_fields
            unused = {n for n in self.ADDED if getattr(self, n) == fields[n].get_default(call_default_factory=True)}
            doc = {k: v for k, v in doc.items() if k not in unused}
        return doc


class AugmentConfig(_Config):
    """Random changes to training examples; never applied to validation, calibration or test data."""

    horizontal_flip: bool = Field(False, description="Mirror half of the images.")
    shift_pixels: int = Field(0, ge=0, le=16, description="Move by up to this many pixels each way, zeros come in.")
    erase: float = Field(0.0, ge=0.0, le=1.0, description="Probability of blanking a random rectangle.")
    mixup_alpha: float = Field(0.0, ge=0.0, le=4.0, description="Beta parameter of mixup; 0 is off.")
    gain: float = Field(0.0, ge=0.0, le=0.9, description="Windows: multiply each channel by 1 - gain to 1 + gain.")
    shift_steps: int = Field(0, ge=0, le=4096, description="Windows: move by up to this many readings each way.")
    jitter: float = Field(0.0, ge=0.0, le=1.0, description="Windows: noise, as a share of each channel's deviation.")
    text_copies: int = Field(
        0, ge=0, le=100, description="Altered copies of each training text; the teacher labels them, never the source."
    )

    IMAGES: ClassVar[tuple[str, ...]] = ("horizontal_flip", "shift_pixels", "erase")
    WINDOWS: ClassVar[tuple[str, ...]] = ("gain", "shift_steps", "jitter")
    TEXTS: ClassVar[tuple[str, ...]] = ("text_copies",)
    ADDED: ClassVar[frozenset[str]] = frozenset({*WINDOWS, *TEXTS})


class WindowConfig(_Config):
    """How recordings of sensor readings are cut."""

    length: int = Field(ge=8, le=65536, description="Readings in a window.")
    step: Count | None = Field(None, description="Readings from one window's start to the next; default: the length.")


class NormalizeConfig(_Config):
    """What a model trained elsewhere wants: (raw * scale - mean) / std. One number, or one for each channel."""

    scale: Positive = Field(1.0, description="Brings raw values to those of mean and std, such as 0.00392157 = 1/255.")
    mean: tuple[float, ...] = Field((0.0,), min_length=1)
    std: tuple[Positive, ...] = Field((1.0,), min_length=1)


class DataConfig(_Config):
    """Where examples come from and how they are split. Exactly one source."""

    source: Literal["mnist-5k", "digits", "fashion-mnist", "gestures", "movie-sentences"] | None = Field(
        None, description="A data set by name."
    )
    idx: str | None = Field(None, description="A folder with MNIST-style IDX files, plain or .gz.")
    npz: str | None = Field(None, description="An .npz with x_train, y_train, x_test, y_test (classes optional).")
    hf: str | None = Field(None, description="A Hugging Face data set id; needs a network and the hf extra.")
    revision: str | None = Field(None, description="The commit of the hub data set; wanted with hf.")
    csv: str | None = Field(None, description="A .csv or .tsv file with a header row, UTF-8.")
    jsonl: str | None = Field(None, description="A .jsonl file: one JSON object a line, UTF-8.")
    images: str | None = Field(None, description="A folder with one folder of images a class, or these in train, test.")
    size: tuple[Count, Count] | None = Field(None, description="images: resize to [height, width], as the device will.")
    channels: Literal[1, 3] | None = Field(None, description="images: make all grey (1) or coloured (3).")
    python: Function | None = Field(
        None, description="pkg.module:function that returns x_train, y_train, ...; runs with --allow-code only."
    )
    args: dict[str, Any] = Field(default_factory=dict, description="Arguments of python.")
    test_file: str | None = Field(None, description="csv, jsonl: another file of the same kind, the test split.")
    text: str | None = Field(None, description="csv, jsonl, hf: the column of texts; without, rows are numbers.")
    features: tuple[str, ...] = Field(
        (), description="csv, jsonl: the number columns; empty: all without another role."
    )
    label: str = Field("label", description="csv, jsonl, hf texts: the column of labels.")
    classes: tuple[str, ...] = Field((), description="csv, jsonl: the labels in order; empty: those found, sorted.")
    split: str | None = Field(None, description="csv, jsonl: a column of train, validation and test.")
    window: WindowConfig | None = Field(None, description="csv, jsonl, gestures: cut recordings into windows.")
    series: str | None = Field(
        None, description="With window: a column; where it, label, split or group changes, a new recording begins."
    )
    group: str | None = Field(
        None, description="csv, jsonl: a column (npz: an array) whose equal values stay on one side of every split."
    )
    tokenizer: str | None = Field(
        None, description="Texts: a tokenizer.json, or a folder that holds one; default: the teacher's."
    )
    max_length: Count = Field(128, description="Texts: the model reads this many tokens and no more.")
    lengths: tuple[Count, ...] = Field(
        (), description="Texts: token counts a text may be filled up to, ascending; default: 16, 32, ..., max_length."
    )
    validation: Fraction = Field(0.125, description="Share of the training examples held out for selection.")
    test: Fraction = Field(0.2, description="Share held out for the final figures where a source has no test split.")
    calibration: Count = Field(512, description="Training examples used to find activation ranges.")
    limit: Count | None = Field(None, description="Use at most this many training examples (test: a fifth of it).")
    extra: tuple[str, ...] = Field((), description="Folders of labelled inputs from the field, for training alone.")
    normalize: NormalizeConfig | None = Field(
        None, description="Numbers that a given model was trained with; default: of the training examples."
    )
    augment: AugmentConfig = Field(default_factory=AugmentConfig)

    SOURCES: ClassVar[tuple[str, ...]] = ("source", "idx", "npz", "hf", "csv", "jsonl", "images", "python")
    COLUMNS: ClassVar[tuple[str, ...]] = ("test_file", "text", "features", "label", "classes", "split", "series")
    TOKENS: ClassVar[tuple[str, ...]] = ("tokenizer", "max_length", "lengths")
    ADDED: ClassVar[frozenset[str]] = frozenset(
        {"csv", "jsonl", "images", "size", "channels", "python", "args", "group", "window", "extra", "normalize"}
        | {*COLUMNS, *TOKENS}
    )

    @property
    def is_text(self) -> bool:
        """True if its examples are texts."""
        return self.text is not None or self.source == "movie-sentences"

    @property
    def token_lengths(self) -> tuple[int, ...]:
        """What texts are filled up to: `lengths`, or the powers of two from 16 on and max_length."""
        powers = (16 << i for i in range(16))
        return self.lengths or (*(n for n in powers if n < self.max_length), self.max_length)

    @property
    def kind(self) -> str:
        """Which of SOURCES it names."""
        return next(n for n in self.SOURCES if getattr(self, n) is not None)

    @model_validator(mode="after")
    def _one_source(self) -> "DataConfig":
        named = [n for n in self.SOURCES if getattr(self, n) is not None]
        if len(named) != 1:
            raise ValueError(f"give exactly one of {', '.join(self.SOURCES)}; got {', '.join(named) or 'none'}")
        if problem := self._stray():
            raise ValueError(problem)
        return self

    def _stray(self) -> str:
        """What does not go together; nothing if all does."""
        fields, table = type(self).model_fields, self.kind in ("csv", "jsonl")
        own = ("text", "label") if self.hf is not None else ()
        given = [n for n in self.COLUMNS if getattr(self, n) != fields[n].default and n not in own]
        if given and not table:
            return f"{', '.join(given)}: not for {self.kind}; csv and jsonl take it"
        if self.group is not None and not table and (self.kind, self.group) != ("npz", "group"):
            return "group: the name of a column (csv, jsonl), or of the array `group` (npz)"
        if self.window is not None and not table and self.source != "gestures":
            return f"window: not for {self.source or self.kind}; it holds examples, not recordings"
        if self.text is not None and (self.features or self.window is not None):
            return "a column of texts goes with neither features nor window"
        if (self.size is not None or self.channels is not None) and self.images is None:
            return "size, channels: they belong to images"
        if self.normalize is not None and self.is_text:
            return "normalize: texts have no numbers; a tokenizer turns them into ids"
        if self.args and self.python is None:
            return "args: they belong to python"
        if self.series is not None and self.window is None:
            return "series: it has no effect without window"
        tokens = [n for n in self.TOKENS if getattr(self, n) != fields[n].default]
        if tokens and not self.is_text and self.hf is None and self.python is None:
            return f"{', '.join(tokens)}: for texts only; name their column in `text`"
        if self.lengths and (list(self.lengths) != sorted(set(self.lengths)) or self.lengths[-1] != self.max_length):
            return f"lengths {list(self.lengths)} do not ascend to max_length, {self.max_length}"
        return ""


class Training(_Config):
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


class LayerPair(_Config):
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


class VocabularyConfig(_Config):
    """Take the tokens out of a text model that its training texts do not use.

    Half of a small encoder's weights are its table of tokens. Single characters stay, so that an unseen word falls
    back to pieces; the tokenizer in the bundle is trimmed alike. Trains nothing.
    """

    kind: ClassVar[str] = "vocabulary"

    min_count: Count = Field(1, description="Keep a token that stands in at least this many training texts.")


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


class NetConfig(_Config):
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


class FromTeacher(_Config):
    """Layers of a text encoder to begin with, counted from 1; table, norms and classifier come along."""

    layers: tuple[Count, ...] = Field(min_length=1, description="In their order, e.g. [1, 6].")


class StudentConfig(NetConfig):
    """The model to ship. Without one, the teacher itself is compressed."""

    ORIGINS: ClassVar[tuple[str, ...]] = (*NetConfig.ORIGINS, "from_teacher")
    ADDED: ClassVar[frozenset[str]] = NetConfig.ADDED | {"from_teacher"}

    from_teacher: FromTeacher | None = Field(None, description="Begin as some of the trained teacher's own layers.")


class MeasureConfig(_Config):
    """What is timed, and where."""

    devices: tuple[DeviceName, ...] = Field(
        ("cpu",), min_length=1, description="cpu is this machine; others stand in devices.yaml (`compress devices`)."
    )
    threads: Count = 1
    profile: Literal["smoke", "quick", "default"] = Field(
        "quick", description="default: 5 processes of 10 s a file; quick: 3 of 2 s; smoke: 2 of 0.2 s, a sign of life."
    )


class InvarianceConfig(_Config):
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

    @model_validator(mode="after")
    def _something(self) -> "InvarianceConfig":
        if not self.transformations and not self.swaps:
            raise ValueError("name a transformation with its strengths, e.g. {rotation: [5, 10]}, or swaps")
        return self


class BudgetConfig(_Config):
    """What the result must meet; a missed budget ends the run with exit code 3."""

    accuracy_drop_points: float | None = Field(None, ge=0.0, le=100.0, description="Against the teacher, on test.")
    size_bytes: Count | None = Field(None, description="Of the shipped model file.")
    latency_ms: dict[str, Positive] = Field(default_factory=dict, description="Median per device, e.g. {cpu: 1.0}.")
    consistency_drop_points: float | None = Field(
        None, ge=0.0, le=100.0, description="Against the teacher, under the worst transformation of `invariance`."
    )


class Recipe(_Config):
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
    allow_slower: bool = Field(False, description="Accept a result that is no smaller or no faster than the teacher.")
