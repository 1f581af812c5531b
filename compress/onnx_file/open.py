"""Open a float ONNX file that somebody else made, or refuse it with the reason. Nothing is trusted, nothing is run."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.errors import ModelError
from compress.onnx_file.signature import inputs_of, outputs_of

LARGEST_BYTES = 2_000_000_000  # protobuf's limit on one message, less some room for the quantizer's own nodes
STANDARD_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")  # what every build of ONNX Runtime brings
_QUANTIZED = ("QuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "MatMulNBits")


@dataclass(frozen=True, slots=True)
class Given:
    """A file as it was given. model: onnx.ModelProto with its weights inside; size_bytes: external data included."""

    path: Path
    model: Any
    sha256: str
    size_bytes: int

    @property
    def name(self) -> str:
        """The file's stem, or its folder's name where the file is called model.onnx."""
        return self.path.parent.resolve().name if self.path.stem == "model" else self.path.stem


def open_onnx(path: Path) -> Given:
    """Read a .onnx file, or the one in a folder (as Optimum writes them), with external data confined to its folder.

    Raises:
        ModelError: it is missing, cut off, no ONNX, too large, quantized already; its external data is missing, cut
            off or outside the folder; or it holds operators that ONNX Runtime does not bring.
    """
    import onnx
    from onnx.external_data_helper import load_external_data_for_model

    path = onnx_file_of(path)
    where = str(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"it cannot be read: {error.strerror}", where, "give a readable .onnx file") from error
    try:
        model = onnx.load_from_string(data)
    except Exception as error:  # protobuf's error types differ between its implementations
        what = f"it is no ONNX file, or cut off: {error}"
        raise ModelError(what, where, "copy or export the file again") from error
    if not model.HasField("graph") or not model.graph.node:
        raise ModelError("it holds no graph", where, "copy or export the file again")
    outside = [(t, _external_file(t, path)) for t in tensors_of(model) if t.external_data and t.data_location == 1]
    files = {file for _, file in outside}
    size = len(data) + sum(file.stat().st_size for file in files)
    if size > LARGEST_BYTES:
        what = f"it is {size / 1e9:.1f} GB with its weights; more than {LARGEST_BYTES / 1e9:.0f} GB cannot be handled"
        raise ModelError(what, where, "quantize it with a tool that works layer by layer")
    digest = hashlib.sha256(data)
    for file in sorted(files):
        digest.update(file.read_bytes())
    if outside:
        load_external_data_for_model(model, str(path.parent))
    return Given(path, _checked(model, where), digest.hexdigest(), size)


def graphs_of(graph: Any) -> Iterator[Any]:
    """The graph and every graph inside its If, Loop and Scan nodes, outermost first."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from graphs_of(inner)


def tensors_of(model: Any) -> Iterator[Any]:
    """Every constant tensor: initializers, and values of Constant nodes, at any depth and in functions."""
    for graph in graphs_of(model.graph):
        yield from graph.initializer
        yield from _attribute_tensors(graph.node)
    for function in model.functions:
        yield from _attribute_tensors(function.node)


def _attribute_tensors(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def onnx_file_of(path: Path) -> Path:
    """The file itself, or the one that a folder holds, such as Optimum's exporter leaves.

    Raises:
        ModelError: there is none, or more than one and none called model.onnx.
    """
    if not path.is_dir():
        if not path.exists():
            raise ModelError("there is no such file", str(path), "give the path of a .onnx file")
        return path
    found = sorted(path.glob("*.onnx"))
    if (path / "model.onnx") in found:
        return path / "model.onnx"
    if len(found) != 1:
        what = f"the folder holds {', '.join(f.name for f in found) or 'no .onnx file'}"
        raise ModelError(what, str(path), "give the path of one .onnx file")
    return found[0]


def _external_file(tensor: Any, path: Path) -> Path:
    """Where a tensor's bytes stand, checked: inside the model's folder, there, and long enough."""
    facts = {entry.key: entry.value for entry in tensor.external_data}
    location, where = facts.get("location", ""), f"{path}, tensor {tensor.name!r}"
    folder = path.parent.resolve()
    file = (folder / location).resolve()
    if not location or os.path.isabs(location) or not file.is_relative_to(folder):
        what = f"its external data is at {location!r}, outside the model's folder"
        raise ModelError(what, where, "keep the data file beside the .onnx file and save the model again")
    if not file.is_file():
        what = f"its external data {location!r} is missing"
        raise ModelError(what, where, f"copy {location} into {path.parent}")
    try:
        offset, length = int(facts.get("offset", "0")), int(facts.get("length", "0"))
    except ValueError:
        offset, length = -1, -1
    if offset < 0 or length < 0 or offset + length > file.stat().st_size:
        what = f"its external data {location!r} is cut off: it should reach to byte {offset + length}"
        raise ModelError(what, where, f"copy {location} again")
    return file


def _checked(model: Any, where: str) -> Any:
    """The model, with shapes of its outputs filled in where the exporter left them out; or why it cannot be used."""
    import onnx

    nodes = [n for graph in graphs_of(model.graph) for n in graph.node]
    own = {(f.domain, f.name) for f in model.functions}
    strange = sorted({f"{n.domain}::{n.op_type}" for n in nodes if n.domain not in STANDARD_DOMAINS
                      and (n.domain, n.op_type) not in own})  # fmt: skip
    if strange:
        what = f"it needs operators that ONNX Runtime does not bring: {', '.join(strange)}"
        raise ModelError(what, where, "export the model without custom operators")
    done = sorted({n.op_type for n in nodes if n.op_type in _QUANTIZED})
    if done:
        what = f"it is quantized already ({', '.join(done)})"
        raise ModelError(what, where, "give the float file it was made from")
    inputs_of(model, where)
    if any(not v.type.tensor_type.HasField("shape") for v in model.graph.output):
        with contextlib.suppress(Exception):  # an aid: what it cannot infer is refused below
            model = onnx.shape_inference.infer_shapes(model)
    outputs_of(model, where)
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # ValidationError, or protobuf's and C++'s own
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        what = f"it breaks the ONNX standard: {lines[0] if lines else type(error).__name__}"
        raise ModelError(what, where, "export the model again") from error
    return model
