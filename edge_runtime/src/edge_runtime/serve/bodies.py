"""Bytes of a request to raw examples, by content type. What can be wrong with them ends as a Problem."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime.errors import InputError
from edge_runtime.files import read_npy
from edge_runtime.inputs import decode_image
from edge_runtime.preprocessing import Preprocessing
from edge_runtime.serve.problems import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from numpy.typing import NDArray

    from edge_runtime.kinds import AnyPreprocessing

MOST_EXAMPLES = 1024
IMAGE_TYPES = ("image/png", "image/jpeg", "image/bmp", "image/gif", "image/webp", "image/tiff")
NPY = "application/x-npy"
_LONGEST_TYPE = 200
_QUICK_BYTES = 1 << 16  # decoded in the event loop; what is longer, or an image, would hold it up
_MOST_PIXELS = 1 << 24  # a small file may claim to be a huge picture


async def read_examples(content_type: bytes, body: bytes, takes: AnyPreprocessing, *, batch: bool) -> list[Any]:
    """Raw examples of a request's body. What takes long to decode does so in another thread.

    Raises:
        Problem: 400 not readable, 415 a type that is unknown or not for this model, 422 no usable input.
    """
    kind, _, parameters = content_type.decode("latin-1")[:_LONGEST_TYPE].partition(";")
    kind = kind.strip().lower()
    parts = await _form_files(parameters, body) if kind == "multipart/form-data" else [body]
    decode = partial(_examples, kind, parts, takes, batch=batch)
    if len(body) <= _QUICK_BYTES and kind in ("application/json", NPY, "text/plain"):
        return decode()
    return await asyncio.get_running_loop().run_in_executor(None, decode)


def _examples(kind: str, parts: list[bytes], takes: AnyPreprocessing, *, batch: bool) -> list[Any]:
    try:
        if kind == "application/json":
            examples = _from_json(parts[0], takes, batch=batch)
        elif kind == NPY:
            array = _npy(parts[0], "body")
            examples = _rows(array) if batch and array.ndim else [array]
        elif kind in IMAGE_TYPES and not batch:
            examples = [_image(parts[0], takes, "body")]
        elif kind == "text/plain" and not batch and takes.kind == "text":
            examples = [_utf8(parts[0])]
        elif kind == "multipart/form-data":
            examples = [_file(part, takes, f"file {i}") for i, part in enumerate(parts)]
        else:
            raise Problem(415, f"content type {ascii(kind)[:80]}", "Content-Type", _types(takes, batch=batch))
    except InputError as error:
        raise Problem(422, error.what, error.where, error.fix) from error
    _want(len(examples), MOST_EXAMPLES if batch else 1)
    return examples


def _rows(array: NDArray[Any]) -> list[Any]:
    _want(len(array), MOST_EXAMPLES)  # before each row becomes an object: a header alone can claim a billion empty ones
    return list(array)


def _want(count: int, most: int) -> None:
    if not 1 <= count <= most:
        limit = f"1 to {most} examples" if most > 1 else "one example; /v1/predict_batch takes several"
        raise Problem(422, f"{count} examples", "body", f"send {limit}")


def _types(takes: AnyPreprocessing, *, batch: bool) -> str:
    types = ["application/json", NPY]
    if takes.kind == "image":
        types += [*([] if batch else ["image/png, image/jpeg, ..."]), "multipart/form-data"]
    if takes.kind == "text" and not batch:
        types.append("text/plain")
    return f"send {' or '.join(types)}; this model takes {takes.describe()}"


def _from_json(body: bytes, takes: AnyPreprocessing, *, batch: bool) -> list[Any]:
    try:
        doc = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Problem(400, f"not valid JSON: {str(error)[:200]}", "body", "send UTF-8 JSON") from error
    key = "inputs" if batch else "input"
    if not isinstance(doc, dict) or set(doc) != {key}:
        has = ", ".join(ascii(k)[:20] for k in list(doc)[:5]) if isinstance(doc, dict) else type(doc).__name__
        raise Problem(422, f'want an object with the one key "{key}", got {has or "an empty one"}', "body",
                      f'send {{"{key}": ...}} with {takes.describe()}')  # fmt: skip
    value = doc[key]
    plain = body.count(b'"') == 2  # of the key: no string stands anywhere else
    if not batch:
        return [_value(value, takes, "input", plain)]
    if not isinstance(value, list):
        raise Problem(422, f"inputs is no list but {type(value).__name__}", "inputs", "send a list of examples")
    if len(value) > MOST_EXAMPLES:
        raise Problem(422, f"{len(value)} examples", "inputs", f"send at most {MOST_EXAMPLES}")
    return [_value(v, takes, f"inputs[{i}]", plain) for i, v in enumerate(value)]


def _value(value: Any, takes: AnyPreprocessing, where: str, plain: bool) -> Any:
    """One example out of JSON; texts stay as they are, so that no string is ever taken for a path.

    plain: whether it is known to hold no strings.
    """
    if takes.kind == "text":
        if not isinstance(value, str):
            raise Problem(422, f"got {type(value).__name__}, not a text", where, "send a string")
        return value
    if isinstance(value, dict) and set(value) == {"image_base64"} and isinstance(value["image_base64"], str):
        try:
            data = base64.b64decode(value["image_base64"], validate=True)
        except (binascii.Error, ValueError) as error:
            raise Problem(422, f"not base64: {error}", where, "encode the image file's bytes as base64") from error
        return _image(data, takes, where)
    if takes.kind == "tensors" and isinstance(value, dict):
        return {name: _array(v, f"{where}.{ascii(name)[:40]}", plain) for name, v in value.items()}
    if not isinstance(value, list):
        fix = f"this model takes {takes.describe()}"
        raise Problem(422, f"got {type(value).__name__}, not a list of numbers", where, fix)
    return _array(value, where, plain)


def _array(value: Any, where: str, plain: bool) -> Any:
    try:
        array = np.asarray(value if plain else _without_strings(value, where))
    except ValueError as error:
        raise Problem(422, "rows of different lengths", where, "send rows of one length") from error
    if array.dtype.kind not in "uif":
        raise Problem(422, "something in it is not a number", where, "send numbers, and no larger than 64 bits")
    return array


def _without_strings(value: Any, where: str) -> Any:
    """The value. Strings in it would all be made as wide as the longest one: gigabytes of a small body."""
    inside = [value]
    while inside:
        item = inside.pop()
        if isinstance(item, list):
            inside += item
        elif isinstance(item, (str, dict)):
            raise Problem(422, "something in it is not a number", where, "send numbers, and no larger than 64 bits")
    return value


def _npy(data: bytes, where: str) -> Any:
    try:
        return read_npy(data)
    except ValueError as error:
        raise Problem(400, f"not a .npy file of numbers: {error}", where, "write it with numpy.save") from error


def _image(data: bytes, takes: AnyPreprocessing, where: str) -> Any:
    if not isinstance(takes, Preprocessing) or takes.kind != "image":
        raise Problem(415, "an image, but this model takes none", where, f"send {takes.describe()}")
    return decode_image(data, where, takes.output_shape[0], most_pixels=_MOST_PIXELS)


def _file(data: bytes, takes: AnyPreprocessing, where: str) -> Any:
    return _npy(data, where) if data[:6] == b"\x93NUMPY" else _image(data, takes, where)


def _utf8(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Problem(400, f"not UTF-8 at byte {error.start:,}", "body", "send UTF-8") from error


async def _form_files(parameters: str, body: bytes) -> list[bytes]:
    """Files of a multipart form; other fields are refused, so that nothing is left out unseen."""
    from starlette.datastructures import Headers, UploadFile
    from starlette.formparsers import MultiPartException, MultiPartParser

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    headers = Headers({"content-type": f"multipart/form-data;{parameters}"})
    try:
        parser = MultiPartParser(headers, stream(), max_files=MOST_EXAMPLES, max_fields=1)
    except AssertionError as error:  # starlette's way to say so
        fix = "on the server: pip install edge-runtime[serve]"
        raise Problem(501, "forms need a package the server lacks: python-multipart", "body", fix) from error
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError, AssertionError) as error:
        text = getattr(error, "message", "") or "it has no boundary, or breaks off"
        raise Problem(400, f"not a readable form: {text}", "body", "send multipart/form-data with a file") from error
    out = []
    try:
        for name, part in form.multi_items():
            if not isinstance(part, UploadFile):
                raise Problem(422, f"field {ascii(name)[:40]} is no file", "body", "send files alone")
            out.append(await part.read())
    finally:
        await form.close()
    return out


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")
