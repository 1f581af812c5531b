"""Look through a TFLite file before an engine does. Field numbers: schema.fbs of LiteRT 2.3."""

from __future__ import annotations

from edge_runtime._flatbuffer import Damaged, Table
from edge_runtime.errors import BundleError

_IDENTIFIER = b"TFL3"
_CUSTOM, _DELEGATE, _FIRST_STABLEHLO = 32, 51, 162
_NOT_STABLEHLO = (203, 205)  # DILATE and REDUCE_WINDOW came after
_BODIES = {31: "CALL", 118: "IF", 119: "WHILE", 129: "CALL_ONCE"}  # run another subgraph
_BODY_FIELDS = {16: 1, 92: 2, 93: 2, 103: 1}  # type of their options -> how many of its fields are subgraphs
_OPTION_VECTORS = {3: ((1, 4), (2, 4)), 17: ((0, 4),), 30: ((0, 4),), 111: ((0, 1), (1, 1)), 115: ((0, 4),)}
_LARGEST_DIMENSION, _LARGEST_TENSOR = 1 << 28, 1 << 28
_MOST_TABLES = 500_000

# field numbers
_MODEL_CODES, _MODEL_SUBGRAPHS, _MODEL_BUFFERS, _MODEL_METADATA, _MODEL_SIGNATURES = 1, 2, 4, 6, 7
_MODEL_EXTERNAL = (8, 9)
_CODE_OLD, _CODE_CUSTOM, _CODE_NEW = 0, 1, 3
_GRAPH_TENSORS, _GRAPH_INPUTS, _GRAPH_OUTPUTS, _GRAPH_OPERATORS = 0, 1, 2, 3
_TENSOR_SHAPE, _TENSOR_BUFFER, _TENSOR_NAME, _TENSOR_QUANTIZATION, _TENSOR_SIGNATURE = 0, 2, 3, 4, 7
_TENSOR_REFUSED = {6: "a sparse tensor", 9: "a variant tensor", 10: "a tensor whose weights are in another file"}
_QUANTIZATION_SCALE, _QUANTIZATION_ZERO, _QUANTIZATION_DETAILS, _QUANTIZATION_AXIS = 2, 3, 5, 6
_OPERATOR_CODE, _OPERATOR_INPUTS, _OPERATOR_OUTPUTS, _OPERATOR_KIND, _OPERATOR_OPTIONS = 0, 1, 2, 3, 4
_OPERATOR_REFUSED = (5, 9, 10, 12)  # custom options, here or elsewhere in the file, and options of StableHLO
_OPERATOR_INTERMEDIATES = 8
_BUFFER_DATA, _BUFFER_OFFSET = 0, 1
_SIGNATURE_INPUTS, _SIGNATURE_OUTPUTS, _SIGNATURE_KEY, _SIGNATURE_SUBGRAPH = 0, 1, 2, 4


def scan_tflite(data: bytes, where: str) -> frozenset[str]:
    """Refuse what no bundle needs; the operators that run other subgraphs (IF, WHILE, ...) are returned.

    Raises:
        BundleError: a damaged or truncated file; an index or offset that leads nowhere; custom operators, delegates
            and StableHLO; sparse tensors; weights outside the file; subgraphs that run each other in a circle.
    """
    try:
        return _scan(data)
    except Damaged as error:
        raise BundleError("it is damaged or cut off", where, "copy the bundle again, whole") from error
    except _RefusedError as error:
        raise BundleError(f"the model holds {error}", where, "export it again without") from error


class _RefusedError(ValueError):
    pass


def _scan(data: bytes) -> frozenset[str]:
    if len(data) < 8 or data[4:8] != _IDENTIFIER:
        raise Damaged
    model = Table(data, int.from_bytes(data[:4], "little"))
    if any(model.has(field) for field in _MODEL_EXTERNAL):
        raise _RefusedError("weights in another file")
    buffers = [_buffer(b) for b in model.tables(_MODEL_BUFFERS)]
    for entry in model.tables(_MODEL_METADATA):
        entry.text(0)
        _inside((entry.number(1, "I"),), len(buffers))
    codes = [_code(code) for code in model.tables(_MODEL_CODES)]
    subgraphs = model.tables(_MODEL_SUBGRAPHS)
    if not subgraphs:
        raise Damaged
    bodies: set[str] = set()
    tensors, left = [], _MOST_TABLES
    for index, graph in enumerate(subgraphs):
        tensors.append(len(found := graph.tables(_GRAPH_TENSORS)))
        operators = graph.tables(_GRAPH_OPERATORS)
        left -= len(found) + len(operators)  # one table may stand in many vectors: a small file, endless work
        if left < 0:
            raise _RefusedError(f"more than {_MOST_TABLES:,} tensors and operators")
        for tensor in found:
            _tensor(tensor, buffers)
        for field in (_GRAPH_INPUTS, _GRAPH_OUTPUTS):
            _inside(graph.numbers(field, "i"), len(found))
        for operator in operators:
            _operator(operator, codes, len(found), index, len(subgraphs), bodies)
    for signature in model.tables(_MODEL_SIGNATURES):
        _signature(signature, tensors)
    return frozenset(bodies)


def _buffer(buffer: Table) -> int:
    """Its size in bytes."""
    if buffer.number(_BUFFER_OFFSET, "Q") > 1:  # 0 and 1 both mean that the data is here
        raise _RefusedError("weights outside its own tables")
    return buffer.count(_BUFFER_DATA, 1)


def _code(code: Table) -> int:
    number = max(code.number(_CODE_OLD, "b"), code.number(_CODE_NEW, "i"))
    if number == _CUSTOM or code.has(_CODE_CUSTOM):
        raise _RefusedError(f"a custom operator {ascii(code.text(_CODE_CUSTOM))[:80]}")
    if number == _DELEGATE or (number >= _FIRST_STABLEHLO and number not in _NOT_STABLEHLO):
        raise _RefusedError("an operator of a delegate or of StableHLO")
    if number < 0:
        raise Damaged
    return number


def _tensor(tensor: Table, buffers: list[int]) -> None:
    for field, what in _TENSOR_REFUSED.items():
        if tensor.has(field):
            raise _RefusedError(what)
    tensor.text(_TENSOR_NAME)
    shape = tensor.numbers(_TENSOR_SHAPE, "i")
    total = 1
    for dimension in shape:
        if not 0 <= dimension <= _LARGEST_DIMENSION:
            raise Damaged
        total *= dimension
    if total > _LARGEST_TENSOR:
        raise _RefusedError(f"a tensor of {total:,} elements")
    if any(d < -1 for d in tensor.numbers(_TENSOR_SIGNATURE, "i")):
        raise Damaged
    index = tensor.number(_TENSOR_BUFFER, "I")
    _inside((index,), len(buffers))
    if buffers[index] and total > 8 * buffers[index]:  # no type has less than a bit
        raise _RefusedError(f"a tensor of {total:,} elements in {buffers[index]:,} bytes")
    quantization = tensor.table(_TENSOR_QUANTIZATION)
    if quantization is None:
        return
    if quantization.has(_QUANTIZATION_DETAILS):
        raise _RefusedError("quantization of a custom kind")
    scales, zeros = quantization.count(_QUANTIZATION_SCALE, 4), quantization.count(_QUANTIZATION_ZERO, 8)
    axis = quantization.number(_QUANTIZATION_AXIS, "i")
    if scales > 1 and (not 0 <= axis < len(shape) or scales != shape[axis]):
        raise Damaged
    if zeros not in (0, 1, scales):
        raise Damaged


def _operator(operator: Table, codes: list[int], tensors: int, graph: int, graphs: int, bodies: set[str]) -> None:
    index = operator.number(_OPERATOR_CODE, "I")
    _inside((index,), len(codes))
    for field in (_OPERATOR_INPUTS, _OPERATOR_OUTPUTS, _OPERATOR_INTERMEDIATES):
        _inside(operator.numbers(field, "i"), tensors, lowest=-1)  # -1: an optional one that is left out
    if any(operator.has(field) for field in _OPERATOR_REFUSED):
        raise _RefusedError("an operator with custom options")
    kind = operator.number(_OPERATOR_KIND, "B")
    options = operator.table(_OPERATOR_OPTIONS)
    if options is not None:
        for field, item_bytes in _OPTION_VECTORS.get(kind, ()):
            options.count(field, item_bytes)
    name = _BODIES.get(codes[index])
    if name is None:
        return
    bodies.add(name)
    if options is None or kind not in _BODY_FIELDS:
        raise Damaged
    for field in range(_BODY_FIELDS[kind]):
        other = options.number(field, "i")
        _inside((other,), graphs)
        if other <= graph:  # as converters write them; so none can run itself
            raise _RefusedError("subgraphs that may run each other in a circle")


def _signature(signature: Table, tensors: list[int]) -> None:
    signature.text(_SIGNATURE_KEY)
    graph = signature.number(_SIGNATURE_SUBGRAPH, "I")
    _inside((graph,), len(tensors))
    for field in (_SIGNATURE_INPUTS, _SIGNATURE_OUTPUTS):
        for entry in signature.tables(field):
            entry.text(0)
            _inside((entry.number(1, "I"),), tensors[graph])


def _inside(indices: tuple[int, ...], count: int, lowest: int = 0) -> None:
    if indices and not lowest <= min(indices) <= max(indices) < count:
        raise Damaged
