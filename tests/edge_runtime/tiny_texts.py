"""A text classifier small enough to compute by hand: logits = sum over tokens of a row of a table, padding left out.

Its tokenizer is a real tokenizer.json whose own truncation and padding settings are deliberately wrong.
"""

import flatbuffers
import numpy as np
import pytest
from edge_runtime.files import file_info, npz_bytes
from edge_runtime.manifest import Manifest, ModelFile, SelfTest, Signature, TensorInfo, write_manifest
from edge_runtime.reference import pack_inputs
from edge_runtime.text import TextPreprocessing
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from tests.edge_runtime.conftest import tfl

onnx = pytest.importorskip("onnx", reason="no onnx, with which these tests make their models")
TensorProto, helper, numpy_helper = onnx.TensorProto, onnx.helper, onnx.numpy_helper

LABELS = ("bad", "good")
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "good", "bad", "film", "not", "##s", "##ly", "über", "映", "!")
LENGTHS = (4, 8, 16)
TABLE = np.round(np.random.default_rng(5).normal(size=(len(WORDS), 2)), 2).astype(np.float32)
TABLE[0] = 0.0
TEXTS = ("a good film", "bad", "not a good film!", "films badly, " * 30, "")


def tokenizer_json():
    tokenizer = Tokenizer(models.WordPiece({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(list(WORDS[:4]))
    tokenizer.enable_truncation(5, stride=2, direction="left")
    tokenizer.enable_padding(length=9, pad_id=7)
    return tokenizer.to_str().encode()


TOKENIZER = tokenizer_json()
PREPROCESSING = TextPreprocessing("tokenizer.json", max_length=16, lengths=LENGTHS, pad_id=0)


def expected_logits(texts):
    ids = PREPROCESSING.with_tokenizer(TOKENIZER)(list(texts))
    return TABLE[ids].sum(axis=1)


def onnx_model(dtype=TensorProto.INT64, length="length"):
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("ReduceSum", ["rows", "axes"], ["logits"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "texts",
        [helper.make_tensor_value_info("input_ids", dtype, ["n", length])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(TABLE, "table"), numpy_helper.from_array(np.array([1], np.int64), "axes")],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)]).SerializeToString()


def tflite_model(lengths=LENGTHS):
    """One subgraph and one signature `ids_<length>` a length: GATHER, then SUM over the ids."""

    def buffer(content):
        out = tfl.BufferT()
        out.data = None if content is None else np.frombuffer(content.tobytes(), np.uint8)
        return out

    def tensor(name, shape, type_, at=0):
        out = tfl.TensorT()
        out.name, out.shape, out.type, out.buffer = name, shape, type_, at
        return out

    def operator(code, inputs, outputs, kind, options):
        out = tfl.OperatorT()
        out.opcodeIndex, out.inputs, out.outputs = code, inputs, outputs
        out.builtinOptionsType, out.builtinOptions = kind, options
        return out

    def subgraph(length):
        graph = tfl.SubGraphT()
        kinds = tfl.TensorType
        graph.tensors = [
            tensor(f"ids{length}", [1, length], kinds.INT32),
            tensor("table", list(TABLE.shape), kinds.FLOAT32, 1),
            tensor("axes", [1], kinds.INT32, 2),
            tensor("rows", [1, length, 2], kinds.FLOAT32),
            tensor(f"logits{length}", [1, 2], kinds.FLOAT32),
        ]
        graph.inputs, graph.outputs = [0], [4]
        options = tfl.BuiltinOptions
        graph.operators = [
            operator(0, [1, 0], [3], options.GatherOptions, tfl.GatherOptionsT()),
            operator(1, [3, 2], [4], options.ReducerOptions, tfl.ReducerOptionsT()),
        ]
        return graph

    def signature(index, length):
        def side(name, at):
            out = tfl.TensorMapT()
            out.name, out.tensorIndex = name, at
            return out

        out = tfl.SignatureDefT()
        out.signatureKey, out.subgraphIndex = f"ids_{length}", index
        out.inputs, out.outputs = [side("input_ids", 0)], [side("logits", 4)]
        return out

    codes = []
    for kind in (tfl.BuiltinOperator.GATHER, tfl.BuiltinOperator.SUM):
        code = tfl.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = kind
        code.version = 1
        codes.append(code)
    model = tfl.ModelT()
    model.version, model.operatorCodes = 3, codes
    model.buffers = [buffer(None), buffer(TABLE), buffer(np.array([1], np.int32))]
    model.subgraphs = [subgraph(n) for n in lengths]
    model.signatureDefs = [signature(i, n) for i, n in enumerate(lengths)]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def entry(kind):
    logits = TensorInfo("logits", (2,))
    if kind == "onnx":
        return ModelFile("onnx", "model.onnx", "float32", (TensorInfo("input_ids", (None,), "NL", "int64"),), (logits,))
    signatures = tuple(Signature(n, f"ids_{n}") for n in LENGTHS)
    ids = TensorInfo("input_ids", (None,), "NL", "int32")
    return ModelFile("tflite", "model.tflite", "float32", (ids,), (logits,), signatures)


def write_text_bundle(folder, kinds=("onnx", "tflite"), *, texts=TEXTS):
    folder.mkdir(exist_ok=True)
    models = tuple(entry(k) for k in kinds)
    test = SelfTest("reference.npz", 1.0, 1e-5)
    draft = Manifest("tiny-texts", "tests", "text-classification", LABELS, PREPROCESSING, models, {}, test)
    logits = {f"logits_{k}": expected_logits(texts) for k in kinds}
    files = {"tokenizer.json": TOKENIZER, "reference.npz": npz_bytes({**pack_inputs(draft, texts), **logits})}
    files |= {m.path: {"onnx": onnx_model, "tflite": tflite_model}[m.format]() for m in models}
    for path, data in files.items():
        (folder / path).write_bytes(data)
    infos = {path: file_info(data) for path, data in files.items()}
    manifest = Manifest("tiny-texts", "tests", "text-classification", LABELS, PREPROCESSING, models, infos, test)
    write_manifest(folder, manifest)
    return folder
