"""Write the int8 file: ONNX Runtime's own quantizer with our placement and ranges from our own calibration."""

import contextlib
import io
import logging
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.errors import DataError, ExportError
from compress.given_onnx.placement import integer_nodes
from compress.given_onnx.recipe import PRODUCTS, Candidate, OnnxRecipe
from compress.numerics.calibration import Histogram, entropy_range, percentile_range
from compress.onnx_file.prepare import Prepared

PERCENTILE = 99.99
Feeds = Sequence[Mapping[str, NDArray[Any]]]
Ranges = Mapping[str, tuple[float, float]]


def observe(prepared: Prepared, feeds: Feeds, method: str) -> Ranges:
    """The range of every float tensor of the main graph over the calibration examples.

    method: minmax, or percentile and entropy, which see whole histograms and take some ten times as long. Inputs span
    what was seen in any case: their ends carry the picture.

    Raises:
        DataError: an activation is not finite, or an example does not run.
    """
    import onnx
    from edge_runtime._onnx import import_onnxruntime

    onnxruntime = import_onnxruntime()
    model = onnx.ModelProto()
    model.CopyFrom(prepared.model)
    floats = _float_tensors(model)
    given = {v.name for v in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in floats if name not in given)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # every tensor must exist
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"], enable_fallback=0
    )
    inputs = {t.name for t in prepared.signature.inputs if t.dtype == "float32"}
    seen: dict[str, Histogram | _Ends] = {n: Histogram.empty() for n in floats} if method != "minmax" else {}
    for feed in feeds:
        try:
            found = dict(zip(floats, session.run(floats, dict(feed)), strict=True))
        except Exception as error:  # its exceptions have no public base class
            what = f"an example does not run: {str(error).splitlines()[0][:300]}"
            raise DataError(what, "calibration", "give inputs that the float model takes") from error
        for name, values in (*found.items(), *((n, feed[n]) for n in inputs)):
            if values.size and values.dtype == np.float32:
                seen.setdefault(name, _Ends()).add(values)
    return {name: _range(one, method) for name, one in seen.items() if np.isfinite(one.low)}


@dataclass
class _Ends:
    """Smallest and largest value seen."""

    low: float = np.inf
    high: float = -np.inf

    def add(self, values: NDArray[np.float32]) -> None:
        low, high = float(values.min()), float(values.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise DataError("an activation is not finite", "calibration", "check the calibration data and the model")
        self.low, self.high = min(self.low, low), max(self.high, high)


def _range(seen: Histogram | _Ends, method: str) -> tuple[float, float]:
    if isinstance(seen, _Ends):
        return seen.low, seen.high
    return percentile_range(seen, PERCENTILE) if method == "percentile" else entropy_range(seen)


def _float_tensors(model: Any) -> list[str]:
    """Outputs of the main graph's nodes that are, or may be, float32."""
    from onnx import TensorProto

    values = (*model.graph.value_info, *model.graph.output)
    known = {v.name: v.type.tensor_type.elem_type for v in values}
    makers = [n for n in model.graph.node if n.op_type != "Constant"]
    return [o for n in makers for o in n.output if o and known.get(o, TensorProto.FLOAT) == TensorProto.FLOAT]


def quantized(prepared: Prepared, recipe: OnnxRecipe, candidate: Candidate, ranges: Ranges) -> bytes:
    """The int8 file's bytes.

    Raises:
        ExportError: the engine's quantizer fails on this graph.
    """
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(prepared.model)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "int8.onnx"
        try:
            if candidate.how == "static":
                _static(model, recipe, candidate, ranges, path)
            else:
                _dynamic(model, recipe, candidate, path)
            written = onnx.load(path)
        except Exception as error:  # the quantizer raises whatever it meets
            what = f"ONNX Runtime's quantizer fails: {(str(error).splitlines() or [type(error).__name__])[0][:300]}"
            fix = "leave the layer it names in float with --keep-float, or try another --how"
            raise ExportError(what, f"quantize, {candidate.name}", fix) from error
    del written.graph.value_info[:]  # ballast: every engine infers it again
    written.producer_name = "compress"
    out: bytes = written.SerializeToString()
    return out


def _static(model: Any, recipe: OnnxRecipe, candidate: Candidate, ranges: Ranges, path: Path) -> None:
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    data = {k: (np.float32(low), np.float32(high)) for k, (low, high) in ranges.items()}
    options = {"ActivationSymmetric": False, "WeightSymmetric": True, "MatMulConstBOnly": True}
    _guard(model, candidate.keep_float)
    seen = {n.name for n in model.graph.node if _seen(n, ranges, model)}
    chosen = integer_nodes(model, candidate.operators, candidate.keep_float) & seen
    quantizer = QDQQuantizer(
        model,
        recipe.per_channel,
        recipe.weight_bits == 7,
        _type(recipe.weights),
        _type(recipe.activations),
        TensorsData(CalibrationMethod.MinMax, data),
        sorted(chosen),
        sorted({n.name for n in model.graph.node} - chosen),
        list(candidate.operators),
        options,
    )
    quantizer.quantize_model()
    quantizer.model.save_model_to_file(str(path), False)


def _type(name: str) -> Any:
    from onnxruntime.quantization import QuantType

    return {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}[name]


def _guard(model: Any, keep_float: Collection[str]) -> None:
    """A clip that cuts nothing behind every layer that stays float: ONNX Runtime runs a float layer between a
    DequantizeLinear and a QuantizeLinear in integers, unasked."""
    from onnx import helper, numpy_helper

    limit = "compress_lowest"
    kept = [n for n in model.graph.node if n.name in keep_float and n.op_type in PRODUCTS]
    if not kept:
        return
    model.graph.initializer.append(numpy_helper.from_array(np.array(np.finfo(np.float32).min), limit))
    nodes = []
    for node in model.graph.node:
        nodes.append(node)
        if node in kept:
            out, raw = node.output[0], f"{node.output[0]}_raw"
            node.output[0] = raw
            nodes.append(helper.make_node("Clip", [raw, limit], [out], name=f"{node.name}_clip"))
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _seen(node: Any, ranges: Mapping[str, Any], model: Any) -> bool:
    """Whether the tensors it makes and reads have ranges: those that are no floats or came in empty have none."""
    constants = {i.name for i in model.graph.initializer}
    return node.output[0] in ranges and (node.input[0] in ranges or node.input[0] in constants)


def _dynamic(model: Any, recipe: OnnxRecipe, candidate: Candidate, path: Path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(
        model,
        str(path),
        op_types_to_quantize=list(candidate.operators),
        per_channel=recipe.per_channel,
        reduce_range=recipe.weight_bits == 7,
        weight_type=_type(recipe.weights),
        nodes_to_exclude=list(candidate.keep_float),
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantizer prints and warns through the root logger; what matters of that is in the counts."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
