"""Texts as model inputs: token ids by the bundle's own tokenizer.json. Shared by training and the device."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime._affine import plain, read_keys, refuse
from edge_runtime._fields import text_problem
from edge_runtime.errors import BundleError, EngineError, InputError
from edge_runtime.files import path_problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LARGEST_TOKENIZER_BYTES = 64 << 20
LONGEST_TEXT = 4_000_000  # characters; a tokenizer takes up to 4 us for each
_LONGEST_SEQUENCE = 1 << 16
_MOST_LENGTHS = 16
_CHARACTERS_PER_TOKEN = 16  # of a first look at a long text: plenty for prose, so that one look is mostly enough
_UNSETTLED = 256  # tokens this near to a cut may come out otherwise without it
_KEYS = ("kind", "tokenizer", "max_length", "lengths", "pad_id")


@dataclass(frozen=True)
class TextPreprocessing:
    """Raw texts to token ids int64 (n, length), cut at max_length and padded with pad_id.

    tokenizer: path of a Hugging Face tokenizer.json in the bundle; lower-casing and special tokens are its own.
    max_length: most ids of a text, special tokens included.
    lengths: ascending; a batch gets the shortest that fits its longest text. The last is max_length.
    pad_id: fills up; the model itself computes its attention mask as ids != pad_id.

    Truncation and padding settings inside tokenizer.json are not used. `with_tokenizer` gives one that can be called.

    Raises:
        BundleError: the numbers themselves make no sense.
    """

    tokenizer: str
    max_length: int
    lengths: tuple[int, ...]
    pad_id: int = 0
    kind: str = field(default="text", init=False)

    _encoder: Any = field(default=None, init=False, repr=False, compare=False)
    _content: bytes | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("max_length", "lengths", "pad_id"):
            object.__setattr__(self, name, plain(getattr(self, name)))
        refuse(self._problems())

    def _problems(self) -> list[str]:
        out = []
        if problem := text_problem(self.tokenizer, 200) or path_problem(self.tokenizer):
            out.append(f"tokenizer: {problem}")
        if type(self.max_length) is not int or not 1 <= self.max_length <= _LONGEST_SEQUENCE:
            out.append(f"max_length is {self.max_length!r}, want a whole number from 1 to {_LONGEST_SEQUENCE}")
        lengths = self.lengths if isinstance(self.lengths, tuple) and len(self.lengths) <= _MOST_LENGTHS else ()
        ascending = all(type(v) is int for v in lengths) and list(lengths) == sorted(set(lengths))
        if not lengths or not ascending or lengths[0] < 1 or lengths[-1] != self.max_length:
            out.append(f"lengths is not a list of 1 to {_MOST_LENGTHS} ascending numbers, the last max_length")
        if type(self.pad_id) is not int or not 0 <= self.pad_id < 1 << 31:
            out.append(f"pad_id is {self.pad_id!r}, want a whole number from 0 on")
        return out

    def with_tokenizer(self, content: bytes) -> TextPreprocessing:
        """The same, ready to be called. content: of tokenizer.json.

        Raises:
            BundleError: it is no tokenizer.json that the installed `tokenizers` package reads.
            EngineError: that package is not installed.
        """
        ready = copy.copy(self)
        object.__setattr__(ready, "_encoder", _open(content, self.tokenizer, self.max_length))
        object.__setattr__(ready, "_content", content)
        return ready

    @property
    def content(self) -> bytes | None:
        """The tokenizer.json given to with_tokenizer."""
        return self._content

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """Shape of one model input without the batch: of free length."""
        return (None,)

    def __call__(self, raw: Sequence[str]) -> NDArray[np.int64]:
        """Ids (n, length), int64, of texts.

        Raises:
            InputError: no texts; something else than text; lone surrogates; more than 4,000,000 characters.
        """
        if self._encoder is None:
            fix = "load the bundle with edge_runtime.load, or use with_tokenizer"
            raise BundleError("its tokenizer has not been opened", "preprocessing", fix)
        if isinstance(raw, (str, bytes)) or not hasattr(raw, "__len__") or not len(raw):
            what = "an empty list" if hasattr(raw, "__len__") and not len(raw) else f"got {type(raw).__name__}"
            raise InputError(what, "input", "pass a list of at least one text")
        rows = [self._ids(text, i) for i, text in enumerate(raw)]
        longest = max(map(len, rows))
        length = next(n for n in self.lengths if n >= longest)
        out: NDArray[np.int64] = np.full((len(rows), length), self.pad_id, np.int64)
        for i, row in enumerate(rows):
            out[i, : len(row)] = row
        return out

    def _ids(self, text: Any, index: int) -> list[int]:
        """Ids of one text, at most max_length.

        Of a long text only as much is read as these ids need: its beginning up to a space, more where that was not
        enough. Ids that far from the cut are those of the whole text.
        """
        where = f"input {index}"
        if not isinstance(text, str):
            raise InputError(f"got {type(text).__name__}, not text", where, "decode bytes with .decode('utf-8')")
        if len(text) > LONGEST_TEXT:
            what = f"{len(text):,} characters; at most {LONGEST_TEXT:,} are allowed"
            raise InputError(what, where, "pass less; the model reads the beginning alone")
        look = max(1024, self.max_length * _CHARACTERS_PER_TOKEN)
        while True:
            whole = len(text) <= look
            part = text if whole else text[: max(text.rfind(" ", 0, look), look // 2)]
            encoding = _encode(self._encoder, part, where)
            if whole or (encoding.overflowing and max(end for _, end in encoding.offsets) < len(part) - _UNSETTLED):
                break
            look *= 8
        ids: list[int] = encoding.ids
        if not ids:
            raise InputError("a text without a single token", where, "drop such texts before they reach the model")
        return ids

    def describe(self) -> str:
        """What one raw example must look like, in a reader's words."""
        return f"texts, of which the first {self.max_length} tokens count"

    def to_json(self) -> dict[str, Any]:
        """Plain data, the inverse of from_json."""
        return {key: list(v) if isinstance(v := getattr(self, key), tuple) else v for key in _KEYS}

    @staticmethod
    def from_json(doc: Any) -> TextPreprocessing:
        """Rebuild from to_json's data, without its tokenizer.

        Raises:
            BundleError: a key is unknown or missing, or a value has the wrong type or range.
        """
        values = read_keys(doc, _KEYS)
        return TextPreprocessing(**{key: values[key] for key in _KEYS[1:]})


def _open(content: bytes, where: str, max_length: int) -> Any:
    try:
        import tokenizers
    except ImportError as error:
        fix = "pip install edge-runtime[text]"
        raise EngineError("text models need the tokenizers package, which is not installed", where, fix) from error
    fix = "copy the bundle again, whole; or pip install --upgrade tokenizers"
    if len(content) > LARGEST_TOKENIZER_BYTES:
        raise BundleError(f"{len(content):,} bytes; at most {LARGEST_TOKENIZER_BYTES:,} are allowed", where, fix)
    try:
        encoder = tokenizers.Tokenizer.from_str(content.decode("utf-8"))
        encoder.no_padding()
        encoder.enable_truncation(max_length)
    except BaseException as error:  # a panic of its Rust code is no Exception
        if not _of_tokenizers(error):
            raise
        raise BundleError(f"no tokenizer that can be read: {_first_line(error)}", where, fix) from error
    return encoder


def _encode(encoder: Any, text: str, where: str) -> Any:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        what = f"a lone surrogate at character {error.start:,}"
        raise InputError(what, where, "decode the bytes with .decode('utf-8', 'replace')") from error
    try:
        return encoder.encode(text)  # one at a time: a batch would start threads in the host
    except BaseException as error:
        if not _of_tokenizers(error):
            raise
        fix = "run `edge-runtime check` on this device; the tokenizer may be damaged"
        raise EngineError(f"the tokenizer failed: {_first_line(error)}", where, fix) from error


def _of_tokenizers(error: BaseException) -> bool:
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
