"""Does an answer survive what should not matter? Transformations of test examples, before and after compression.

Every transformation keeps dtype and shape of the raw examples, is repeatable for a seed, and is named in the recipe.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.comparison import InvarianceRow
from compress.errors import DataError, UsageError
from compress.evaluate.classes import bootstrap_mean
from compress.evaluate.metrics import Labels, Logits

Examples = Any  # an array of raw examples, or texts


@dataclass(frozen=True, slots=True)
class Transformation:
    """kinds: which examples it is made for, as kind_of names them. unit: of its strength.

    apply(examples, strength, rng) gives new examples.
    """

    kinds: tuple[str, ...]
    unit: str
    about: str
    apply: Callable[[Examples, float, np.random.Generator], Examples]


def _like(x: NDArray[Any], changed: NDArray[np.floating[Any]]) -> NDArray[Any]:
    """Back in the range and dtype of the originals: integers are rounded and clipped, floats stay as they are."""
    if x.dtype.kind in "ui":
        info = np.iinfo(x.dtype)
        return np.clip(np.rint(changed), info.min, info.max).astype(x.dtype)
    return changed.astype(x.dtype)


def _full_scale(x: NDArray[Any]) -> float:
    """What a strength of 1 means for brightness and noise: the range of the examples."""
    return float(x.max()) - float(x.min()) or 1.0


def _shift(x: NDArray[Any], pixels: float, rng: np.random.Generator) -> NDArray[Any]:
    """Moved by `pixels` in a random one of eight directions; the edge repeats."""
    way = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j])
    reach = round(pixels)
    out = np.empty_like(x)
    rows, columns = np.arange(x.shape[1]), np.arange(x.shape[2])
    for i, (down, right) in enumerate(way[rng.integers(0, len(way), len(x))].tolist()):
        r = np.clip(rows - down * reach, 0, x.shape[1] - 1)
        c = np.clip(columns - right * reach, 0, x.shape[2] - 1)
        out[i] = x[i][np.ix_(r, c)]
    return out


def _rotate(x: NDArray[Any], degrees: float, rng: np.random.Generator) -> NDArray[Any]:
    from scipy.ndimage import rotate

    turned = [
        rotate(e.astype(np.float32), degrees * s, axes=(0, 1), reshape=False, order=1, mode="nearest")
        for e, s in zip(x, rng.choice((-1, 1), len(x)), strict=True)
    ]
    return _like(x, np.stack(turned))


def _blur(x: NDArray[Any], sigma: float, rng: np.random.Generator) -> NDArray[Any]:
    from scipy.ndimage import gaussian_filter

    widths = (0, sigma, sigma, *([0] * (x.ndim - 3)))
    return _like(x, gaussian_filter(x.astype(np.float32), widths, mode="nearest"))


def _brightness(x: NDArray[Any], share: float, rng: np.random.Generator) -> NDArray[Any]:
    return _like(x, x.astype(np.float32) + np.float32(share * _full_scale(x)))


def _noise(x: NDArray[Any], share: float, rng: np.random.Generator) -> NDArray[Any]:
    return _like(x, x.astype(np.float32) + rng.normal(0, share * _full_scale(x), x.shape).astype(np.float32))


def _gain(x: NDArray[Any], factor: float, rng: np.random.Generator) -> NDArray[Any]:
    return _like(x, x.astype(np.float32) * np.float32(factor))


def _time_shift(x: NDArray[Any], samples: float, rng: np.random.Generator) -> NDArray[Any]:
    """Later or earlier by `samples`; the first or last sample repeats. x: (n, length, channels)."""
    reach, times = round(samples), np.arange(x.shape[1])
    ways = rng.choice((-1, 1), len(x)).tolist()
    return np.stack([e[np.clip(times - s * reach, 0, x.shape[1] - 1)] for e, s in zip(x, ways, strict=True)])


def _jitter(x: NDArray[Any], share: float, rng: np.random.Generator) -> NDArray[Any]:
    """x: (n, length, channels) or (n, columns)."""
    spread = x.astype(np.float64).std(axis=tuple(range(x.ndim - 1))) * share
    return _like(x, x.astype(np.float32) + (rng.normal(0, 1, x.shape) * spread).astype(np.float32))


_NEIGHBOURS = {
    a: b for row in ("qwertyuiop", "asdfghjkl", "zxcvbnm") for a, b in zip(row, row[1:] + row[-2], strict=True)
}


def _typos(texts: Sequence[str], share: float, rng: np.random.Generator) -> list[str]:
    """One letter in `share` of the words is swapped with the next, left out, or hit beside its key."""
    return [" ".join(_typo(w, rng) if len(w) > 3 and rng.random() < share else w for w in t.split(" ")) for t in texts]


def _typo(word: str, rng: np.random.Generator) -> str:
    i, way = int(rng.integers(1, len(word) - 1)), int(rng.integers(0, 3))
    if way == 0:
        return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    return word[:i] + (_NEIGHBOURS.get(word[i], word[i]) if way == 1 else "") + word[i + 1 :]


def _upper_case(texts: Sequence[str], share: float, rng: np.random.Generator) -> list[str]:
    return [" ".join(w.upper() if rng.random() < share else w for w in t.split(" ")) for t in texts]


TRANSFORMATIONS: Mapping[str, Transformation] = MappingProxyType(
    {
        "shift": Transformation(("image",), "pixels", "moved in a random direction", _shift),
        "rotation": Transformation(("image",), "degrees", "turned left or right", _rotate),
        "brightness": Transformation(("image",), "of full scale", "all pixels brighter (or darker)", _brightness),
        "noise": Transformation(("image",), "of full scale", "Gaussian noise added", _noise),
        "blur": Transformation(("image",), "pixels", "Gaussian blur of this sigma", _blur),
        "gain": Transformation(("window",), "times", "all channels amplified", _gain),
        "time_shift": Transformation(("window",), "samples", "moved earlier or later", _time_shift),
        "jitter": Transformation(("window", "vector"), "of each channel's spread", "Gaussian noise added", _jitter),
        "typos": Transformation(("text",), "of words", "a slip of the keyboard", _typos),
        "upper_case": Transformation(("text",), "of words", "in capitals", _upper_case),
    }
)


def swap_words(pairs: Sequence[tuple[str, str]]) -> Transformation:
    """Words of a list swapped both ways, whole words in any case: names, pronouns, groups that must not matter."""
    import re

    other = {**{a.lower(): b for a, b in pairs}, **{b.lower(): a for a, b in pairs}}
    pattern = re.compile(rf"\b({'|'.join(sorted(map(re.escape, other), key=len, reverse=True))})\b", re.I)

    def one(match: "re.Match[str]") -> str:
        word, new = match[0], other[match[0].lower()]
        return new.upper() if word.isupper() and len(word) > 1 else new.capitalize() if word[0].isupper() else new

    return Transformation(
        ("text",), "", "words of the list swapped", lambda texts, strength, rng: [pattern.sub(one, t) for t in texts]
    )


def kind_of(examples: Examples, task: str | None = None) -> str:
    """ "text", "vector", "image" or "window": which transformations can be applied.

    task: the recipe's, which says whether (n, a, b) are grey images or windows; None: long ones of few channels are.
    """
    if not isinstance(examples, np.ndarray):
        return "text"
    if examples.ndim != 3:
        return "vector" if examples.ndim == 2 else "image"
    if task is None:
        return "window" if examples.shape[2] <= 16 < examples.shape[1] else "image"
    return "window" if task == "sensor-classification" else "image"


def transform(examples: Examples, name: str, strength: float, seed: int, task: str | None = None) -> Examples:
    """The examples after a named transformation. task: as of kind_of.

    Raises:
        UsageError: no such transformation.
        DataError: it is not made for such examples.
    """
    if name not in TRANSFORMATIONS:
        what = f"there is no transformation {name!r}"
        raise UsageError(what, "invariance", f"one of {', '.join(TRANSFORMATIONS)}")
    found = TRANSFORMATIONS[name]
    kind = kind_of(examples, task)
    if kind not in found.kinds:
        fits = [n for n, t in TRANSFORMATIONS.items() if kind in t.kinds]
        what = f"{name} is for {' and '.join(found.kinds)} examples, these are {kind} ones"
        raise DataError(what, "invariance", f"use {', '.join(fits)}")
    return found.apply(examples, strength, np.random.default_rng(seed))


def row(
    name: str,
    strength: float,
    unit: str,
    plain: tuple[Logits, Logits],
    changed: tuple[Logits, Logits],
    y: Labels,
    seed: int,
) -> InvarianceRow:
    """One line of the table. plain, changed: logits (n, classes) of (before, after), originals and changed ones."""
    (b0, a0), (b1, a1) = ([v.argmax(axis=1) for v in pair] for pair in (plain, changed))
    before_same, after_same = b0 == b1, a0 == a1
    difference = after_same.astype(np.float64) - before_same
    low, high = bootstrap_mean(difference, seed)
    return InvarianceRow(
        transformation=name,
        strength=strength,
        unit=unit,
        count=len(y),
        before_consistency=float(before_same.mean()),
        after_consistency=float(after_same.mean()),
        before_top1=float((b1 == y).mean()),
        after_top1=float((a1 == y).mean()),
        difference_points=100 * float(difference.mean()),
        ci95_points=(100 * low, 100 * high),
    )
