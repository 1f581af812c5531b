"""The OpenAPI part of the predicting paths, which FastAPI cannot see, with examples made for the model served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge_runtime.serve.bodies import IMAGE_TYPES, MOST_EXAMPLES, NPY
from edge_runtime.tensors import TensorsPreprocessing
from edge_runtime.text import TextPreprocessing
from edge_runtime.window import WindowPreprocessing

if TYPE_CHECKING:
    from edge_runtime.manifest import Manifest

PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "where", "fix"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what went wrong"},
        "where": {"type": "string"},
        "fix": {"type": "string", "description": "what to do about it"},
    },
}
_REFUSALS = {
    400: "The body is not readable as what it says it is",
    401: "No valid token",
    403: "A Host that is not this machine, on a server without a token",
    408: "The request took too long to arrive",
    413: "The body is too large",
    415: "A content type that this model does not take",
    422: "Readable, but no input of this model",
    429: "Too many requests at once from one address",
    500: "The model failed",
    503: "Too much waits already, or the answer took too long",
}
_SCORE = {"type": "number", "minimum": 0, "maximum": 1}
_LABEL = {"label": {"type": "string"}, "index": {"type": "integer", "minimum": 0}, "score": _SCORE}


def problem(description: str, *, retry: bool = False) -> dict[str, Any]:
    """A response that is a problem."""
    out: dict[str, Any] = {
        "description": description,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if retry:
        out["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}
    return out


def refusals(*statuses: int) -> dict[str, Any]:
    """Responses by status."""
    return {str(s): problem(_REFUSALS[s], retry=s in (429, 503)) for s in statuses}


def predicting_paths(manifest: Manifest) -> dict[str, Any]:
    """`paths` for /v1/predict and /v1/predict_batch."""
    return {"/v1/predict": {"post": _operation(manifest, batch=False)},
            "/v1/predict_batch": {"post": _operation(manifest, batch=True)}}  # fmt: skip


def _operation(manifest: Manifest, *, batch: bool) -> dict[str, Any]:
    one, one_schema = _example(manifest)
    several = {"type": "array", "items": one_schema, "minItems": 1, "maxItems": MOST_EXAMPLES}
    key = "inputs" if batch else "input"
    schema = {"type": "object", "required": [key], "additionalProperties": False,
              "properties": {key: several if batch else one_schema}}  # fmt: skip
    json_type = {"schema": schema, "example": {key: [one, one] if batch else one}}
    top = {"name": "top", "in": "query", "required": False, "description": "also the K best labels",
           "schema": {"type": "integer", "minimum": 1, "maximum": MOST_EXAMPLES}}  # fmt: skip
    answered: dict[str, Any] = {"application/json": {"schema": _answer(manifest, batch=batch)}}
    responses: dict[str, Any] = {"200": {"description": "The model's answer", "content": answered}}
    responses.update(refusals(*_REFUSALS))
    return {
        "summary": f"Predict {'several examples' if batch else 'one example'}",
        "operationId": "predict_batch" if batch else "predict",
        "description": f"Takes {manifest.preprocessing.describe()}.",
        "parameters": [top],
        "requestBody": {
            "required": True,
            "content": {"application/json": json_type, **_other_types(manifest, batch=batch)},
        },
        "responses": responses,
    }


def _answer(manifest: Manifest, *, batch: bool) -> dict[str, Any]:
    best = {"type": "object", "required": ["label", "index", "score"], "properties": _LABEL}
    fields: dict[str, Any] = {**_LABEL, "latency_ms": {"type": "number"}}
    if not manifest.labels:
        fields = {"outputs": {"type": "object", "additionalProperties": {"type": "array"}}}
    version = {"version": {"type": "string"}}
    more: dict[str, Any] = {}
    if manifest.labels:
        given = {"type": "string", "description": "for POST /v1/labels; only where predictions are monitored"}
        more = {"top": {"type": "array", "items": best}, "id": given}
    if not batch:
        return {"type": "object", "required": [*fields, "version"], "properties": {**fields, **more, **version}}
    result = {"type": "object", "required": list(fields), "properties": {**fields, **more}}
    predictions = {"predictions": {"type": "array", "items": result}}
    return {"type": "object", "required": ["predictions", "version"], "properties": {**predictions, **version}}


def _example(manifest: Manifest) -> tuple[Any, dict[str, Any]]:
    """One raw example for JSON and the schema it has."""
    takes = manifest.preprocessing
    number = {"type": "number"}
    if isinstance(takes, TextPreprocessing):
        return "An example of a text.", {"type": "string"}
    if isinstance(takes, TensorsPreprocessing):
        shapes = {n: [d or 1 for d in s] for n, s in zip(takes.names, takes.shapes)}
        return {n: _zeros(s) for n, s in shapes.items()}, {"type": "object"}
    if isinstance(takes, WindowPreprocessing):
        shape = [takes.length, takes.channels]
    elif takes.kind == "image":
        channels, height, width = takes.output_shape
        shape = [height, width] if channels == 1 else [height, width, channels]
    else:
        shape = list(takes.output_shape)
    schema: dict[str, Any] = number
    for size in reversed(shape):
        schema = {"type": "array", "items": schema, "minItems": size, "maxItems": size}
    if takes.kind == "image":
        encoded = {"type": "object", "required": ["image_base64"], "additionalProperties": False,
                   "properties": {"image_base64": {"type": "string", "format": "byte"}}}  # fmt: skip
        schema = {"anyOf": [schema, encoded]}
    return _zeros(shape), schema


def _zeros(shape: list[int]) -> Any:
    return [_zeros(shape[1:]) for _ in range(shape[0])] if shape else 0


def _other_types(manifest: Manifest, *, batch: bool) -> dict[str, Any]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    kind = manifest.preprocessing.kind
    out: dict[str, Any] = {}
    if kind not in ("text", "tensors"):
        out[NPY] = binary
        file = {"type": "object", "required": ["file"], "additionalProperties": False,
                "properties": {"file": {"type": "string", "format": "binary"}}}  # fmt: skip
        out["multipart/form-data"] = {"schema": file}
    if kind == "image" and not batch:
        out.update(dict.fromkeys(IMAGE_TYPES, binary))
    if kind == "text" and not batch:
        out["text/plain"] = {"schema": {"type": "string"}}
    return out
