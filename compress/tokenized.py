"""Texts of a recipe together with the tokenizer that turns them into ids."""

import hashlib
import json
from functools import cached_property
from pathlib import Path

from edge_runtime.errors import EdgeError
from edge_runtime.text import TextPreprocessing

from compress.data.dataset import Dataset
from compress.data.sources import DataHandle, open_data
from compress.errors import DataError, ModelError
from compress.model.hub import model_folder
from compress.model.tokenizer_files import TOKENIZER, pad_of, read_tokenizer
from compress.recipe.schema import DataConfig, Recipe, TeacherConfig


class TokenizedHandle:
    """A source of texts whose Dataset has ids for inputs. Looks like the DataHandle it is made of."""

    def __init__(self, handle: DataHandle, recipe: Recipe) -> None:
        self._handle, self._config = handle, recipe.data
        self.name = handle.name
        self.where = tokenizer_folder(recipe.data, recipe.teacher)

    @cached_property
    def content(self) -> bytes:
        """tokenizer.json."""
        if self.where.is_file():
            try:
                return self.where.read_bytes()
            except OSError as error:
                raise ModelError(f"it cannot be read: {error.strerror}", str(self.where), "check the file") from error
        return read_tokenizer(self.where)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the texts' own fingerprint, the tokenizer and the lengths."""
        lengths = [self._config.max_length, *self._config.token_lengths]
        tokenizer = hashlib.sha256(self.content).hexdigest()
        return hashlib.sha256(json.dumps([self._handle.fingerprint, tokenizer, lengths]).encode()).hexdigest()

    def load(self) -> Dataset:
        """Decode, split and give every text its ids.

        Raises:
            DataError: the files are damaged, or their texts cannot be used.
            ModelError: the tokenizer is malformed.
        """
        data, config = self._handle.load(), self._config
        pad_id = pad_of(self.content, str(self.where))
        try:
            preprocessing = TextPreprocessing(TOKENIZER, config.max_length, config.token_lengths, pad_id)
            ready = preprocessing.with_tokenizer(self.content)
            for split in (data.train, data.validation, data.test):
                ready(split.x)
        except EdgeError as error:
            kind = ModelError if "tokenizer" in error.where else DataError
            raise kind(error.what, f"{self.name}, {error.where}", error.fix) from error
        return data.with_preprocessing(ready, self.fingerprint)


def open_for(recipe: Recipe) -> DataHandle | TokenizedHandle:
    """The recipe's data as a run reads it: texts with their tokenizer.

    Raises:
        DataError: the source is missing.
        ModelError: texts have no tokenizer.
    """
    handle = open_data(recipe.data, recipe.seed, recipe.task)
    return TokenizedHandle(handle, recipe) if recipe.task == "text-classification" else handle


def tokenizer_folder(data: DataConfig, teacher: TeacherConfig) -> Path:
    """The file or folder that the tokenizer is read from: the recipe's, else the teacher's own.

    Raises:
        ModelError: neither is there.
    """
    if data.tokenizer is not None:
        path = Path(data.tokenizer)
        if not path.exists():
            raise ModelError("there is no such file", f"data.tokenizer {path}", "give a tokenizer.json")
        return path
    if teacher.hf is not None:
        return model_folder(teacher.hf, teacher.revision)
    if teacher.checkpoint is not None and (Path(teacher.checkpoint) / TOKENIZER).is_file():
        return Path(teacher.checkpoint)
    fix = "name a tokenizer.json in data.tokenizer"
    raise ModelError("texts need a tokenizer, and this teacher brings none", "data.tokenizer", fix)
