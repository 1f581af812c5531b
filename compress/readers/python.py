"""Examples from the user's own Python: a function that returns arrays, or texts, by name."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from compress.errors import FactoryError
from compress.factory import call_factory
from compress.readers.raw import Array, Examples, Raw
from compress.readers.texts import Texts

_KEYS = ("x_train", "y_train", "x_validation", "y_validation", "x_test", "y_test", "classes", "group", "scale")
_WHERE = "data.python"


def read_python(spec: str, args: Mapping[str, Any], *, windows: bool) -> Raw:
    """Call the function once a process and check what it returns.

    It returns a mapping with x_train and y_train; x_validation, y_validation, x_test, y_test, classes (texts), group
    (whole numbers or texts) and scale are optional. x: an array of numbers, or a list of texts. windows: an x of three
    dimensions is (n, length, channels).

    Raises:
        CodeRefusedError: code is not allowed. FactoryError: it raised, or returned something else.
    """
    return _read(spec, json.dumps(dict(args), sort_keys=True), windows)


@lru_cache(maxsize=2)
def _read(spec: str, args: str, windows: bool) -> Raw:
    place = f"{_WHERE} {spec}"
    found = call_factory(spec, json.loads(args), _WHERE)
    if not isinstance(found, Mapping):
        fix = f"return a dict with {', '.join(_KEYS)}; x_train and y_train are enough"
        raise FactoryError(f"it returned {type(found).__name__}", place, fix)
    strange = [str(k) for k in found if k not in _KEYS]
    if strange or "x_train" not in found or "y_train" not in found:
        what = f"it returned {', '.join(map(str, found)) or 'an empty mapping'}"
        raise FactoryError(what, place, f"return x_train and y_train, and no other than {', '.join(_KEYS)}")
    for name in ("validation", "test"):
        if (found.get(f"x_{name}") is None) != (found.get(f"y_{name}") is None):
            raise FactoryError(f"it returned only one of x_{name} and y_{name}", place, "return both or none")
    parts: dict[str, Any] = {}
    for key in _KEYS[:6]:
        if found.get(key) is not None:
            parts[key] = _examples(found[key], key, place) if key[0] == "x" else _array(found[key], key, place)
    classes, group, scale = (found.get(k) for k in ("classes", "group", "scale"))
    if classes is not None:
        parts["classes"] = tuple(str(c) for c in classes)
    if group is not None:
        parts["group"] = _array(group, "group", place)
    if scale is not None:
        if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not 0 < scale < 1e30:
            raise FactoryError(f"scale is {scale!r}", place, "return what brings raw values near 0..1, such as 1/255")
        parts["scale"] = float(scale)
    return Raw(**parts, kind="windows" if windows else "examples")


def _examples(value: Any, key: str, place: str) -> Examples:
    if isinstance(value, Texts):
        return value
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], str):
        return Texts(value)
    return _array(value, key, place)


def _array(value: Any, key: str, place: str) -> Array:
    try:
        array = np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)  # torch tensors too
    except (ValueError, TypeError, RuntimeError) as error:
        raise FactoryError(
            f"{key} makes no array: {error}", place, "return a numpy array or a list of texts"
        ) from error
    if array.dtype.kind not in "uifU" or (array.dtype.kind == "U" and key[0] == "x"):
        fix = "return numbers; texts as a list of str"
        raise FactoryError(f"{key} is {array.dtype} of shape {array.shape}", place, fix)
    return array
