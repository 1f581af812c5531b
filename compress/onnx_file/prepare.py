"""Bring a given file up to date: functions inlined, inputs fixed, opset raised, constants folded, shapes inferred.

Quantizers per output channel need opset 13. The standard's own converter raises older files; ONNX Runtime's basic
optimisations fold batch norms and constants, and dissolve If nodes whose condition turns out constant. Whether the
result still is the same function is for the ledger to say.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compress.errors import ModelError, UsageError
from compress.onnx_file.open import Given, graphs_of
from compress.onnx_file.signature import Signature, inputs_of, outputs_of

OLDEST, WANTED = 13, 17  # read as is from 13 on; older ones are raised to 17
CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")


@dataclass(frozen=True, slots=True)
class Prepared:
    """model: onnx.ModelProto, float, ready to be quantized. notes: what was changed, in words. lookups: how many
    products with one-hot rows became look-ups, for the int8 files alone."""

    model: Any
    signature: Signature
    opset: int
    notes: tuple[str, ...]
    lookups: int = 0

    def changes(self) -> tuple[str, ...]:
        """What was made of it for the int8 files alone, in words."""
        many = f"{self.lookups} products" if self.lookups > 1 else "a product"
        return (f"in int8 files {many} with one-hot rows became a look-up",) * bool(self.lookups)

    @property
    def data(self) -> bytes:
        """The float file's bytes."""
        out: bytes = self.model.SerializeToString()
        return out


def prepare(given: Given, fixed: Mapping[str, str] | None = None) -> Prepared:
    """The graph as it will be quantized.

    fixed: input name -> the value to build into the graph, as text ("16000").

    Raises:
        ModelError: its opset cannot be raised, its inputs cannot be carried, or ONNX Runtime refuses it.
        UsageError: a fixed input that does not exist or does not fit.
    """
    import onnx

    where, notes = str(given.path), []
    model = onnx.ModelProto()
    model.CopyFrom(given.model)
    if model.functions:
        from onnx.inliner import inline_local_functions

        notes.append(f"{len(model.functions)} functions inlined")
        model = inline_local_functions(model)
    opset = _opset(model, where)
    if opset < OLDEST:
        notes.append(f"opset {opset} raised to {WANTED}")
        model = _raised(model, opset, where)
    _drop_constant_inputs(model)
    for name, text in (fixed or {}).items():
        _fix(model, name, text, where)
        notes.append(f"input {name} fixed to {text}")
    inputs = inputs_of(model, where)
    _name_nodes(model)  # ONNX Runtime refuses twins
    before = _count(model)
    model = _folded(model, where)
    after = _count(model)
    if dissolved := before["control"] - after["control"]:
        notes.append(f"{dissolved} of {before['control']} {'/'.join(CONTROL_FLOW[:3])} nodes dissolved")
    if dropped := before["all"] - after["all"]:
        notes.append(f"{dropped} of {before['all']} nodes folded away")
    _name_nodes(model)
    _flatten_biases(model)
    if inputs_of(model, where) != inputs:
        what = "folding its constants changed its inputs: one of them is not used"
        raise ModelError(what, where, "export the model without unused inputs")
    return Prepared(model, Signature(inputs, outputs_of(model, where)), _opset(model, where), tuple(notes))


def control_flow(model: Any) -> list[Any]:
    """Every If, Loop and Scan node, at any depth."""
    return [n for graph in graphs_of(model.graph) for n in graph.node if n.op_type in CONTROL_FLOW]


def _count(model: Any) -> dict[str, int]:
    nodes = sum(len(graph.node) for graph in graphs_of(model.graph))
    return {"all": nodes, "control": len(control_flow(model))}


def _opset(model: Any, where: str) -> int:
    versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    if not versions:
        raise ModelError("it does not say which opset it is written in", where, "export the model again")
    return int(versions[0])


def _raised(model: Any, opset: int, where: str) -> Any:
    """Through the standard's converter, which knows adapters from opset 7 on."""
    import onnx

    try:
        converted = onnx.version_converter.convert_version(model, WANTED)
        onnx.checker.check_model(converted)
    except Exception as error:  # the converter is C++ and raises RuntimeError, ConvertError or ValidationError
        what = f"opset {opset} cannot be raised to {WANTED}: {_first_line(error).rpartition('failed: ')[2]}"
        raise ModelError(what, where, f"export the model again with opset {WANTED} or later") from error
    converted.ir_version = max(converted.ir_version, 8)
    return converted


def _drop_constant_inputs(model: Any) -> None:
    """Files older than IR 4 list their weights among the inputs; nobody passes them."""
    constants = {i.name for i in model.graph.initializer}
    kept = [v for v in model.graph.input if v.name not in constants]
    if len(kept) < len(model.graph.input):
        model.ir_version = max(model.ir_version, 4)
        del model.graph.input[:]
        model.graph.input.extend(kept)


def _fix(model: Any, name: str, text: str, where: str) -> None:
    from onnx import helper, numpy_helper

    value = next((v for v in model.graph.input if v.name == name), None)
    if value is None:
        names = ", ".join(v.name for v in model.graph.input)
        raise UsageError(f"there is no input {name!r} to fix", f"--fix {name}", f"one of {names}")
    info = value.type.tensor_type
    dims = [d.dim_value or 1 for d in info.shape.dim]
    dtype = helper.tensor_dtype_to_np_dtype(info.elem_type)
    try:
        array = np.full(dims, dtype.type(float(text) if dtype.kind == "f" else int(text)), dtype)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{text!r} is no {dtype}", f"--fix {name}", "give one number") from error
    model.graph.input.remove(value)
    model.graph.initializer.append(numpy_helper.from_array(array, name))


def _folded(model: Any, where: str) -> Any:
    """What ONNX Runtime's basic optimisations leave: still standard operators."""
    import onnx
    from edge_runtime._onnx import import_onnxruntime

    onnxruntime = import_onnxruntime()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "folded.onnx"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        options.log_severity_level, options.intra_op_num_threads = 4, 1
        try:
            onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except Exception as error:  # its exceptions have no public base class
            what = f"ONNX Runtime refuses it: {_first_line(error)}"
            raise ModelError(what, where, "export the model again, for ONNX Runtime") from error
        folded = onnx.load(path)
    used = {n.domain for graph in graphs_of(folded.graph) for n in graph.node}
    kept = [o for o in folded.opset_import if o.domain in used | {""}]
    del folded.opset_import[:]
    folded.opset_import.extend(kept)
    try:
        return onnx.shape_inference.infer_shapes(folded, data_prop=True)
    except Exception:  # an aid to the analysis; the graph itself is sound, ONNX Runtime took it
        return folded


def _name_nodes(model: Any) -> None:
    """Every node of the main graph gets a name of its own: layers are spoken of by name."""
    taken: set[str] = set()
    for node in model.graph.node:
        name = stem = node.name or f"{node.op_type}_{node.output[0]}"
        number = 1
        while name in taken:
            number += 1
            name = f"{stem}_{number}"
        node.name = name
        taken.add(name)


def _flatten_biases(model: Any) -> None:
    """A Gemm's bias of shape (1, n), as TensorFlow's converter writes it, becomes (n,): ONNX Runtime's quantizer takes
    its rows for channels."""
    from onnx import numpy_helper

    constants = {i.name: i for i in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Gemm" and len(node.input) == 3 and node.input[2] in constants:
            bias = constants[node.input[2]]
            if len(bias.dims) == 2 and bias.dims[0] == 1:
                name = f"{bias.name}_flat"
                if name not in constants:
                    constants[name] = numpy_helper.from_array(numpy_helper.to_array(bias)[0], name)
                    model.graph.initializer.append(constants[name])
                node.input[2] = name
    used = {name for graph in graphs_of(model.graph) for node in graph.node for name in node.input}
    used |= {v.name for v in model.graph.output}
    left = [i for i in model.graph.initializer if i.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(left)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
