"""The text recipe's int8 student written with other operators: milliseconds by length, and what each file answers.

    compress run recipes/text_sentiment_int8.yaml
    python benchmarks/text_operators.py runs/text_sentiment_int8

ONNX Runtime: as exported; query, key and value as three products; ONNX Runtime's own operators (SkipLayerNormalization,
MultiHeadAttention, QAttention) and ONNX's Attention of opset 23 in place of the plain ones. LiteRT: as exported (1x1
convolutions, ranges found while running); three products; FULLY_CONNECTED; the same calibrated, int8 in and out. One
thread, batch 1, in turn, three processes. Accuracy and agreement are on validation texts. Writes
benchmarks/results/text_operators.json.
"""

import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from text_int8 import in_turn

import compress.export.onnx as onnx_export
import compress.export.tflite_text as text_export
from compress.benchmark.host import host_facts
from compress.data.sources import open_data
from compress.export.flatbuffer import Quantization
from compress.export.joined import JOINT, join_projections
from compress.export.lowering import Grid, Program, lower
from compress.export.onnx import to_onnx
from compress.export.tflite_tensors import signed
from compress.model.checkpoint import load_checkpoint
from compress.model.model import Model
from compress.model.rewrite import with_ranges_found_running
from compress.numerics.affine import activation_grid
from compress.numerics.calibration import minmax_range
from compress.recipe.load import load_recipe
from compress.stages.quantize import observe
from compress.stages.texts import fit_data
from compress.tokenized import TokenizedHandle

RECIPE = Path("recipes/text_sentiment_int8.yaml")
RESULTS = Path(__file__).parent / "results" / "text_operators.json"
LENGTHS, BLOCKS, RUNS, PROCESSES = (8, 16, 24, 32, 64), 30, 10, 3
ORT = "com.microsoft"
Ranges = dict[str, tuple[float, float]]


class Onnx:
    """An exported file whose nodes are replaced by others."""

    def __init__(self, data: bytes) -> None:
        self.model = onnx.load_from_string(data)
        self.nodes = list(self.model.graph.node)
        self.constants = {i.name: numpy_helper.to_array(i) for i in self.model.graph.initializer}
        self.real = self.node("Not", [self.of("Equal")[0].output[0]])
        self.mask = self.node("Cast", self.real.output, to=TensorProto.INT32)

    def of(self, op: str) -> list[Any]:
        return [n for n in self.nodes if n.op_type == op]

    def maker(self, name: str) -> Any:
        return next((n for n in self.nodes if name in n.output), None)

    def constant(self, array: Any) -> str:
        name = f"_c{len(self.model.graph.initializer)}"
        self.model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(self, op: str, inputs: Any, outputs: Any = None, **attrs: Any) -> Any:
        return helper.make_node(op, list(inputs), list(outputs or [f"_{op}{random.getrandbits(32)}"]), **attrs)

    def swap(self, old: list[Any], new: list[Any]) -> None:
        """New nodes where the last of the old stood."""
        at = max(i for i, n in enumerate(self.nodes) if any(n is o for o in old)) + 1
        self.nodes[at:at] = new
        self.nodes = [n for n in self.nodes if not any(n is o for o in old)]

    def attentions(self) -> list[tuple[list[Any], str, str, int, int]]:
        """Their nodes from Split to the last Transpose; input (N, L, 3 heads, features), output, heads, features."""
        out = []
        for split in self.of("Split"):
            names, found = set(split.output), [split]
            for node in self.nodes:
                if names & set(node.input) and node.op_type in ("Transpose", "MatMul", "Add", "Softmax"):
                    names |= set(node.output)
                    found.append(node)
            features = int(self.constants[self.maker(self.maker(split.input[0]).input[1]).input[1]][1])
            rows = next(n for n in self.nodes if n.op_type == "Reshape" and n.input[0] == found[-1].output[0])
            width = int(self.constants[rows.input[1]][1])
            out.append((found, split.input[0], found[-1].output[0], width // features, features))
        return out

    def thirds(self, source: str, width: int) -> tuple[list[Any], list[str]]:
        """Nodes that split (N, L, 3 heads, features) into three (N, L, width), and their names."""
        wide = self.node("Reshape", [source, self.constant(np.array([0, 0, 3 * width], np.int64))])
        sizes = self.constant(np.full(3, width, np.int64))
        parts = [f"{source}_{k}" for k in "qkv"]
        return [wide, self.node("Split", [*wide.output, sizes], parts, axis=2)], parts

    def bytes(self, opset: int = 17) -> bytes:
        del self.model.graph.node[:], self.model.opset_import[:]
        self.model.graph.node.extend(self.nodes)
        self.model.opset_import.extend([helper.make_opsetid("", opset), helper.make_opsetid(ORT, 1)])
        self.model.ir_version = 11 if opset > 20 else 8
        return bytes(self.model.SerializeToString())


def skip_norm(data: bytes) -> bytes:
    file = Onnx(data)
    for norm in file.of("LayerNormalization"):
        add = file.maker(norm.input[0])
        if add is not None and add.op_type == "Add":
            eps = next(a.f for a in norm.attribute if a.name == "epsilon")
            inputs = [*add.input, *norm.input[1:]]
            file.swap([add, norm], [file.node("SkipLayerNormalization", inputs, norm.output, domain=ORT, epsilon=eps)])
    return file.bytes()


def multi_head(data: bytes) -> bytes:
    file = Onnx(data)
    extra = [file.real, file.mask]
    for old, source, out, heads, features in file.attentions():
        nodes, parts = file.thirds(source, heads * features)
        attrs: dict[str, Any] = {"domain": ORT, "num_heads": heads, "scale": 1.0}
        file.swap(
            old, [*extra, *nodes, file.node("MultiHeadAttention", [*parts, "", *file.mask.output], [out], **attrs)]
        )
        extra = []
    return file.bytes()


def attention_23(data: bytes) -> bytes:
    file = Onnx(data)
    scores = file.maker(file.maker(file.of("Softmax")[0].input[0]).input[1])
    ones = [file.constant(np.ones(n, np.int64)) for n in (2, 1)]
    length = file.node("Shape", file.of("Equal")[0].output, start=1)
    square = file.node("Concat", [ones[0], *length.output, ones[1]], axis=0)
    mask = file.node("Expand", [*scores.output, *square.output])
    extra = [length, square, mask]
    for old, source, out, heads, features in file.attentions():
        nodes, parts = file.thirds(source, heads * features)
        attrs: dict[str, Any] = {"q_num_heads": heads, "kv_num_heads": heads, "scale": 1.0}
        file.swap(old, [*extra, *nodes, file.node("Attention", [*parts, *mask.output], [out], **attrs)])
        extra = []
    return file.bytes(23)


def q_attention(data: bytes) -> bytes:
    file = Onnx(data)
    extra = [file.real, file.mask]
    for old, source, out, heads, features in file.attentions():
        shape = file.maker(source)
        gemm = file.maker(shape.input[0])
        x, weight, bias = (file.maker(name) for name in gemm.input)
        rows, scale = file.constants[weight.input[0]], file.constants[weight.input[1]].copy()
        real_bias = file.constants[bias.input[0]].astype(np.float32) * file.constants[bias.input[1]]
        for array in (scale, real_bias):  # this operator divides the scores itself
            array[: heads * features] *= features**0.5
        sizes = [file.maker(shape.input[1]).input[0], file.constant(np.array([-1], np.int64))]
        size = file.node("Concat", sizes, axis=0)
        texts = file.node("Reshape", [x.input[0], *size.output])
        zeros = file.constant(np.zeros(len(scale), np.int8))
        inputs = [*texts.output, file.constant(np.ascontiguousarray(rows.T)), file.constant(real_bias), x.input[1],
                  file.constant(scale), *file.mask.output, x.input[2], zeros]  # fmt: skip
        node = file.node("QAttention", inputs, [out], domain=ORT, num_heads=heads)
        file.swap([shape, gemm, weight, bias, *old], [*extra, size, texts, node])
        extra = []
    return file.bytes()


class Writer(text_export._Writer):
    """The exporter's writer, its integer layers as FULLY_CONNECTED; ranges: of calibrated ones, else none."""

    ranges: Ranges | None = None

    def _linear(self, step: Any) -> int:
        p, x, op = step.parameters, self._read(step.inputs[0]), text_export._OP
        shape, options = (self._shape(x)[0], step.output.shape[-1]), text_export.schema.FullyConnectedOptionsT()
        zeros = np.zeros(len(p.scale), np.int64)
        weight = self.constant(p.weight, step.name, Quantization(p.scale, zeros))
        if self.ranges is None:
            return self._emit(op.FULLY_CONNECTED, [x, weight, self.constant(p.bias)], shape, options, version=12)
        entry, out = (self._grid(name) for name in (step.inputs[0].name, step.output.name))
        unit = entry.scale[0] * p.scale
        bias = self.constant(np.rint(p.bias / unit).astype(np.int32), quantization=Quantization(unit, zeros))
        q = self._once(f"{x}", lambda: self._emit(op.QUANTIZE, [x], self._shape(x), dtype="int8", quantization=entry))
        y = self._emit(op.FULLY_CONNECTED, [q, weight, bias], shape, options, "int8", version=12, quantization=out)
        return self._emit(op.DEQUANTIZE, [y], shape, version=2)

    def _grid(self, value: str) -> Quantization:
        """One for all parts of a joined value."""
        assert self.ranges is not None
        found = [self.ranges[name] for name in value.split(JOINT)]
        scale, zero_point = activation_grid(min(low for low, _ in found), max(high for _, high in found))
        grid = signed(Grid(np.float32(scale), int(zero_point)))
        assert grid is not None
        return grid


def tflite(program: Program, writer: Any = text_export._Writer, ranges: Ranges | None = None) -> bytes:
    writer.ranges = ranges
    return text_export.pack_signatures({f"ids_{n}": writer(program, n, False).file for n in LENGTHS})


def calibrated(model: Model, data: Any) -> Ranges:
    """Ranges of what linear layers read and give; the query's with the factor that stands in its weights."""
    linear = [n for n in model.graph if n.op == "linear"]
    names = tuple({n.name for n in linear} | {n.inputs[0] for n in linear})
    found = {name: minmax_range(h) for name, h in observe(model, names, data).items()}
    for a in (n for n in model.graph if n.op == "attention"):
        low, high = found[a.inputs[0]]
        found[a.inputs[0]] = (low * a.attrs["head_features"] ** -0.5, high * a.attrs["head_features"] ** -0.5)
    return found


def runners(folder: Path) -> dict[str, Callable[[Any], Any]]:
    """Every file of a folder as a function of ids (1, L)."""
    import onnxruntime
    from ai_edge_litert.interpreter import Interpreter

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    out: dict[str, Any] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".onnx":
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            out[path.stem] = lambda ids, s=session: s.run(None, {"input_ids": ids})[0]
        else:
            engine = Interpreter(model_path=str(path), num_threads=1)
            by_length = {n: engine.get_signature_runner(f"ids_{n}") for n in LENGTHS}
            out[path.stem] = lambda ids, r=by_length: r[ids.shape[1]](input_ids=ids.astype(np.int32))["logits"]
    return out


def work(folder: Path) -> None:
    """One process: medians of blocks by length and file, every file in turn."""
    files, out = runners(folder), {}
    for length in LENGTHS:
        ids = np.random.default_rng(length).integers(5, 1000, (1, length))
        out[length] = in_turn(files, ids, BLOCKS, RUNS)
    print(json.dumps(out))


def timings(folder: Path) -> dict[str, Any]:
    """By length and file: ms, and how many times as fast as the ONNX file that ships."""
    command = [sys.executable, __file__, "--work", str(folder)]
    done = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(PROCESSES)]
    raw, rows = [json.loads(d) for d in done], dict[str, Any]()
    for length in map(str, LENGTHS):
        rows[length] = {}
        for name in raw[0][length]:
            pairs = [zip(p[length]["onnx"], p[length][name], strict=True) for p in raw]
            ratio = statistics.median(statistics.median(a / b for a, b in both) for both in pairs)
            ms = statistics.median(statistics.median(p[length][name]) for p in raw)
            rows[length][name] = {"ms": round(ms, 4), "ratio": round(ratio, 3)}
    return rows


def answers(folder: Path, data: Any) -> dict[str, Any]:
    """Logits of every file on validation texts, one at a time."""
    pad_id, rows = data.preprocessing.pad_id, data.inputs(data.validation)
    used = [max(1, int(np.flatnonzero(row != pad_id).max(initial=0)) + 1) for row in rows]
    ids = [row[np.newaxis, : next(n for n in LENGTHS if n >= length)] for row, length in zip(rows, used, strict=True)]
    files = runners(folder)
    return {name: np.concatenate([say(x.astype(np.int64)) for x in ids]) for name, say in files.items()}


def main() -> None:
    run = Path(sys.argv[1])
    recipe = load_recipe(RECIPE)
    data = TokenizedHandle(open_data(recipe.data, recipe.seed, recipe.task), recipe).load()
    pruned, student = (load_checkpoint(run / "checkpoints" / n) for n in ("03-prune", "04-quantize"))
    own = fit_data(data, student)
    exported, free = to_onnx(student, name="x"), lower(with_ranges_found_running(student))
    joined = join_projections(free)
    onnx_export.join_projections = lambda program: program  # type: ignore[attr-defined]
    files = {
        "onnx.onnx": exported,
        "onnx, three products.onnx": to_onnx(student, name="x"),
        "onnx, SkipLayerNormalization.onnx": skip_norm(exported),
        "onnx, MultiHeadAttention.onnx": multi_head(exported),
        "onnx, QAttention.onnx": q_attention(exported),
        "onnx, Attention of opset 23.onnx": attention_23(exported),
        "tflite.tflite": tflite(joined),
        "tflite, three products.tflite": tflite(free),
        "tflite, FULLY_CONNECTED.tflite": tflite(joined, Writer),
        "tflite, FULLY_CONNECTED calibrated.tflite": tflite(joined, Writer, calibrated(pruned, own)),
    }
    with tempfile.TemporaryDirectory() as scratch:
        for name, content in files.items():
            (Path(scratch) / name).write_bytes(content)
        said, y = answers(Path(scratch), own), own.validation.y
        facts = {
            name: {
                "validation_accuracy": round(float((logits.argmax(1) == y).mean()), 4),
                "agreement_with_onnx": round(float((logits.argmax(1) == said["onnx"].argmax(1)).mean()), 4),
                "mean_difference": round(float(np.abs(logits - said["onnx"]).mean()), 4),
            }
            for name, logits in said.items()
        }
        speed = timings(Path(scratch))
    command = "python benchmarks/text_operators.py runs/text_sentiment_int8"
    doc = {"command": command, "label": "measured", "threads": 1, "processes": PROCESSES, "files": facts,
           "by_length": speed, "host": host_facts()}  # fmt: skip
    RESULTS.write_text(json.dumps(doc, indent=1) + "\n")
    print(json.dumps({k: doc[k] for k in ("files", "by_length")}, indent=1))


if __name__ == "__main__":
    work(Path(sys.argv[2])) if sys.argv[1:2] == ["--work"] else main()
