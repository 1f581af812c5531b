"""Altered copies of training texts: more for a student to learn from a teacher than a small data set holds.

Words are dropped or masked and texts cut and spliced, after Tang et al. 2019, arXiv:1903.12136, section 4.3 (masking
and n-gram sampling). Such a text may be on another side of the question now: the teacher labels it, not its source.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from compress.data.dataset import Dataset, Split
from compress.readers.texts import Texts

MASK = "[MASK]"  # what BERT's tokenizers know as one token
_SPLICE, _CUT = 0.3, 0.3  # shares of the copies
_DROP, _MASK = 0.075, 0.075  # shares of the words
_STREAM = 0x636F7079


def add_copies(data: Dataset, copies: int, seed: int) -> Dataset:
    """The training texts followed by altered copies of them. A copy's label is its source's, which nobody is to use."""
    if not copies or not isinstance(data.train.x, Texts):
        return data
    more = altered_copies(data.train.x, copies, seed)
    return replace(data, train=Split(Texts([*data.train.x, *more]), np.tile(data.train.y, copies + 1)))


def altered_copies(texts: Texts, copies: int, seed: int) -> Texts:
    """`copies` of every text, text by text within a round; the same for the same seed."""
    words = [text.split() for text in texts]
    out: list[str] = []
    for number in range(copies):
        generator = np.random.default_rng([_STREAM, seed, number])
        out += [" ".join(_altered(own, words[generator.integers(len(words))], generator)) for own in words]
    return Texts(out)


def _altered(own: Sequence[str], other: Sequence[str], generator: np.random.Generator) -> list[str]:
    words, kind = list(own), generator.random()
    if kind < _SPLICE and len(own) > 1 and len(other) > 1:  # the beginning of one, the end of another
        words = [*own[: int(generator.integers(1, len(own) + 1))], *other[int(generator.integers(len(other))) :]]
    elif kind < _SPLICE + _CUT and len(own) > 2:
        length = max(2, int(len(own) * generator.uniform(0.3, 0.9)))
        start = int(generator.integers(len(own) - length + 1))
        words = words[start : start + length]
    fate = generator.random(len(words))
    kept = [MASK if f < _MASK else w for w, f in zip(words, fate, strict=True) if f < _MASK or f >= _MASK + _DROP]
    return kept or words
