"""`data:` of a recipe: where examples come from, how they are split and how training alters them."""

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from compress.recipe.base import Config, Count, Fraction, Function, Positive

Source = Literal["mnist-5k", "digits", "fashion-mnist", "gestures"]


class AugmentConfig(Config):
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


class WindowConfig(Config):
    """How recordings of sensor readings are cut."""

    length: int = Field(ge=8, le=65536, description="Readings in a window.")
    step: Count | None = Field(None, description="Readings from one window's start to the next; default: the length.")


class NormalizeConfig(Config):
    """What a model trained elsewhere wants: (raw * scale - mean) / std. One number, or one for each channel."""

    scale: Positive = Field(1.0, description="Brings raw values to those of mean and std, such as 0.00392157 = 1/255.")
    mean: tuple[float, ...] = Field((0.0,), min_length=1)
    std: tuple[Positive, ...] = Field((1.0,), min_length=1)


class DataConfig(Config):
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
    metadata: tuple[str, ...] = Field(
        (),
        description="csv, jsonl: columns of facts that no model reads, to slice results by; npz: arrays NAME_train, "
        "NAME_test.",
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
        | {"metadata", *COLUMNS, *TOKENS}
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
        if self.metadata and not table and self.npz is None:
            return f"metadata: not for {self.source or self.kind}; csv, jsonl and npz take it"
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
