"""Look through an ONNX file before an engine does: a small protobuf walker with bounds, and what it must not find.

The wire format: protobuf.dev/programming-guides/encoding. Field numbers: onnx.proto of ONNX 1.23.
"""

from __future__ import annotations

from collections.abc import Iterator

from edge_runtime.errors import BundleError

DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc")  # what ONNX Runtime itself brings
LOADS_FILES = ("EPContext",)  # operators that open files of their own
_MOST_FIELDS = 3_000_000  # a large transformer has 100,000; a hostile file must not keep us for minutes
_DEEPEST = 8  # of graphs inside operators
_MOST_ELEMENTS = 1 << 31

# field numbers
_MODEL_GRAPH, _MODEL_TRAINING, _MODEL_FUNCTIONS = 7, 20, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_OP, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_ATTRIBUTE_SPARSE = (22, 23)
_TENSOR_DIMS, _TENSOR_NAME, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 1, 8, 13, 14
_TENSOR_DATA = (4, 5, 6, 7, 9, 10, 11)

Field = tuple[int, int, int]  # number; start and end of a message, string or packed list; or value and -1


def scan_onnx(data: bytes, where: str) -> frozenset[str]:
    """Refuse what no bundle needs; the operators with graphs inside them (If, Loop, ...) are returned.

    Raises:
        BundleError: a damaged or truncated file; data in other files; operators of other makers; functions; training
            graphs; sparse tensors; a tensor that promises more than it holds.
    """
    scan = _Scan(data, where)
    try:
        scan.model()
    except (IndexError, UnicodeDecodeError) as error:
        raise scan.refused("it is damaged or cut off", "copy the bundle again, whole") from error
    return frozenset(scan.bodies)


class _Scan:
    def __init__(self, data: bytes, where: str) -> None:
        self.data, self.where = data, where
        self.left = _MOST_FIELDS
        self.bodies: set[str] = set()

    def refused(self, what: str, fix: str) -> BundleError:
        return BundleError(what, self.where, fix)

    def damaged(self) -> BundleError:
        return self.refused("it is damaged or cut off", "copy the bundle again, whole")

    def model(self) -> None:
        graphs = 0
        for number, start, end in self.fields(0, len(self.data)):
            if number == _MODEL_GRAPH:
                graphs += 1
                self.graph(start, end, 0)
            elif number == _MODEL_FUNCTIONS:
                raise self.refused("the model defines functions of its own", "inline them: onnx.inliner does it")
            elif number == _MODEL_TRAINING:
                raise self.refused("the model holds a training graph", "export it for inference")
        if graphs != 1:
            raise self.refused("no ONNX model", "write the bundle again with compress")

    def graph(self, start: int, end: int, depth: int) -> None:
        if depth > _DEEPEST:
            raise self.refused(f"graphs stand in each other more than {_DEEPEST} deep", "export it again")
        for number, a, b in self.fields(start, end):
            if number == _GRAPH_NODE:
                self.node(a, b, depth)
            elif number == _GRAPH_INITIALIZER:
                self.tensor(a, b)
            elif number == _GRAPH_SPARSE:
                raise self.sparse()

    def node(self, start: int, end: int, depth: int) -> None:
        name, body = "", False
        for number, a, b in self.fields(start, end):
            if number == _NODE_OP:
                name = self.text(a, b)
                if name in LOADS_FILES:
                    raise self.refused(f"operator {name} opens files of its own", "export it without")
            elif number == _NODE_DOMAIN:
                self.domain(self.text(a, b))
            elif number == _NODE_ATTRIBUTE:
                body |= self.attribute(a, b, depth)
        if body:
            self.bodies.add(name)

    def attribute(self, start: int, end: int, depth: int) -> bool:
        """Whether it holds a graph."""
        body, tensors = False, 0
        for number, a, b in self.fields(start, end):
            if number in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                body = True
                self.graph(a, b, depth + 1)
            elif number in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
                tensors += number == _ATTRIBUTE_TENSOR
                self.tensor(a, b)
            elif number in _ATTRIBUTE_SPARSE:
                raise self.sparse()
        if tensors > 1:  # readers would merge the two into one that nobody has looked at
            raise self.damaged()
        return body

    def tensor(self, start: int, end: int) -> None:
        """Its elements must be there: eight to a byte at most, as no type has less than a bit."""
        elements, held, name = 1, 0, ""
        for number, a, b in self.fields(start, end):
            if number == _TENSOR_DIMS:
                for dimension in (a,) if b < 0 else self.packed(a, b):
                    elements = min(elements * dimension, _MOST_ELEMENTS + 1)
            elif number in _TENSOR_DATA:
                held += b - a + 2 if b >= 0 else 1
            elif number == _TENSOR_NAME:
                name = self.text(a, b)
            elif number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and a):
                what = "the model keeps its weights in another file"
                raise self.refused(what, "save it as one file: onnx.save(..., save_as_external_data=False)")
        if elements > min(held * 8, _MOST_ELEMENTS):
            what = f"tensor {ascii(name)[:80]} promises {elements:,} elements or more, but holds {held:,} bytes"
            raise self.refused(what, "copy the bundle again, whole")

    def sparse(self) -> BundleError:
        return self.refused("the model holds a sparse tensor", "export its weights as ordinary tensors")

    def domain(self, domain: str) -> None:
        if domain not in DOMAINS:
            what = f"the model uses operators of {ascii(domain)[:80]}, which no engine here brings"
            raise self.refused(what, f"export it with operators of {', '.join(d for d in DOMAINS if d)} alone")

    def text(self, start: int, end: int) -> str:
        if end < 0:
            raise self.damaged()
        return self.data[start:end].decode()

    def packed(self, start: int, end: int) -> Iterator[int]:
        while start < end:
            value, start = self.varint(start, end)
            yield value

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """The number and where it ends; negative ones come as huge ones."""
        value = 0
        for shift in range(0, 70, 7):
            if at >= end:
                break
            byte = self.data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
        raise self.damaged()

    def fields(self, at: int, end: int) -> Iterator[Field]:
        """The fields of a message that lies between two positions."""
        data = self.data
        while at < end:
            self.left -= 1
            if not self.left:
                raise self.refused(f"more than {_MOST_FIELDS:,} fields", "a model this large is not for this runtime")
            key = data[at]
            at += 1
            if key > 0x7F:
                key, at = self.varint(at - 1, end)
            wire = key & 7
            if wire == 2:
                length = data[at]
                at += 1
                if length > 0x7F:
                    length, at = self.varint(at - 1, end)
                start, at = at, at + length
                if at > end:
                    raise self.damaged()
                yield key >> 3, start, at
            elif wire == 0:
                value, at = self.varint(at, end)
                yield key >> 3, value, -1
            elif wire in (1, 5):
                at += 8 if wire == 1 else 4
                if at > end:
                    raise self.damaged()
                yield key >> 3, 0, -1
            else:  # groups, which ONNX has none of
                raise self.damaged()
