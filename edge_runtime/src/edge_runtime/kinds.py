"""The kinds of raw input a bundle may take, and how to read their description from a manifest."""

from __future__ import annotations

from typing import Any, Union

from edge_runtime._affine import refuse
from edge_runtime.preprocessing import Preprocessing
from edge_runtime.tensors import TensorsPreprocessing
from edge_runtime.text import TextPreprocessing
from edge_runtime.window import WindowPreprocessing

AnyPreprocessing = Union[Preprocessing, WindowPreprocessing, TextPreprocessing, TensorsPreprocessing]
ArrayPreprocessing = Union[Preprocessing, WindowPreprocessing]  # raw examples are arrays of numbers
KINDS: dict[str, Any] = {
    "image": Preprocessing,
    "vector": Preprocessing,
    "window": WindowPreprocessing,
    "text": TextPreprocessing,
    "tensors": TensorsPreprocessing,
}


def preprocessing_from_json(doc: Any) -> AnyPreprocessing:
    """Rebuild any of them from its to_json's data.

    Raises:
        BundleError: the kind is unknown; or as the kind's own from_json.
    """
    kind = doc.get("kind") if isinstance(doc, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        refuse([f"kind is {ascii(kind)[:40]}, known are {', '.join(KINDS)}"])
    out: AnyPreprocessing = KINDS[str(kind)].from_json(doc)
    return out
