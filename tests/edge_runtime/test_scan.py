"""Model files that mean harm, or are damaged, never reach an engine; files of every honest kind do."""

import dataclasses
from pathlib import Path

import edge_runtime
import flatbuffers
import numpy as np
import pytest
from edge_runtime import BundleError, EdgeError, EngineError
from edge_runtime.files import file_info
from edge_runtime.manifest import read_manifest, write_manifest
from edge_runtime.scan import scan_model
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.edge_runtime import conftest, tiny_texts
from tests.edge_runtime.conftest import tfl
from tests.edge_runtime.engines_here import with_onnx

onnx = pytest.importorskip("onnx", reason="no onnx, with which these tests make their models")
TensorProto, helper, numpy_helper = onnx.TensorProto, onnx.helper, onnx.numpy_helper

HONEST = {
    **conftest.CONTENT,
    "onnx-text": tiny_texts.onnx_model(),
    "tflite-text": tiny_texts.tflite_model(),
}


def format_of(kind):
    return kind.split("-")[0]


@pytest.mark.parametrize("kind", HONEST)
def test_honest_files_pass_and_hold_no_other_graphs(kind):
    assert scan_model(format_of(kind), HONEST[kind], "m") == frozenset()


@pytest.mark.parametrize("kind", HONEST)
def test_a_file_cut_anywhere_is_refused_or_still_a_model(kind):
    data = HONEST[kind]
    passed = [n for n in range(len(data)) if not refused(format_of(kind), data[:n])]

    # A protobuf may end after any field: only the very last ones, opset imports and the like, can be missing.
    assert len(passed) < 6
    assert min(passed, default=len(data)) > len(data) - 60


def refused(format, data):
    try:
        scan_model(format, data, "m")
    except BundleError:
        return True
    return False


# --- onnx ---


def onnx_file(nodes=None, initializers=(), **model):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])
    graph = helper.make_graph(nodes or [helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y], list(initializers))
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)], **model)


def with_external_data(location="weights.bin"):
    tensor = TensorProto(name="w", dims=[2], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return onnx_file(initializers=[tensor])


def with_promise(dims, data=b"1234"):
    return onnx_file(initializers=[TensorProto(name="w", dims=dims, data_type=TensorProto.FLOAT, raw_data=data)])


def with_body(op="If", depth=1):
    inner = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "body", [], [])
    for _ in range(depth):
        node = helper.make_node(op, ["x"], ["y"], then_branch=inner)
        inner = helper.make_graph([node], "body", [], [])
    return onnx_file(nodes=list(inner.node))


def with_function():
    function = helper.make_function(
        "own", "f", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    return onnx_file(functions=[function])


def with_attribute_tensor(**fields):
    tensor = TensorProto(name="c", data_type=TensorProto.FLOAT, **fields)
    return onnx_file(nodes=[helper.make_node("Constant", [], ["y"], value=tensor)])


def with_sparse():
    values = numpy_helper.from_array(np.float32([1]), "s")
    indices = numpy_helper.from_array(np.int64([0]), "i")
    model = onnx_file()
    model.graph.sparse_initializer.add(values=values, indices=indices, dims=[1 << 40])
    return model


def with_training():
    model = onnx_file()
    model.training_info.add()
    return model


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (with_external_data(), r"keeps its weights in another file\n  fix: save it as one file"),
        (with_external_data("../../etc/passwd"), "keeps its weights in another file"),
        (with_attribute_tensor(data_location=TensorProto.EXTERNAL), "keeps its weights in another file"),
        (with_promise([1 << 40]), r"tensor 'w' promises 2,147,483,649 elements or more, but holds 6 bytes"),
        (with_promise([1 << 62, 1 << 62]), "promises"),
        (with_promise([-1]), "promises"),
        (with_attribute_tensor(dims=[100], float_data=[1.0]), "tensor 'c' promises 100 elements or more"),
        (onnx_file([helper.make_node("Evil", ["x"], ["y"], domain="acme")]), "uses operators of 'acme'"),
        (onnx_file([helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft")]), "EPContext opens files"),
        (with_function(), r"defines functions of its own\n  fix: inline them"),
        (with_training(), "holds a training graph"),
        (with_sparse(), "holds a sparse tensor"),
        (with_body(depth=12), "graphs stand in each other more than 8 deep"),
    ],
    ids=str,
)
def test_onnx_files_that_no_bundle_needs_are_refused(model, message):
    with pytest.raises(BundleError, match=f"model.onnx: .*{message}"):
        scan_model("onnx", model.SerializeToString(), "model.onnx")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # a length that overflows
        b"\x3a" + b"\x80" * 20,  # a number without end
        b"\x3b\x0a",  # a group
        b"not a model",
        b"\x3a\x02\x0a",
    ],
)
def test_what_is_no_protobuf_of_a_model_is_refused(data):
    assert refused("onnx", data)


def test_two_graphs_or_two_tensors_that_a_reader_would_merge_are_refused():
    def message(field, body):
        assert len(body) < 128
        return bytes([field << 3 | 2, len(body)]) + body

    tensor = message(5, TensorProto(dims=[1], data_type=TensorProto.FLOAT, float_data=[1.0]).SerializeToString())
    once, twice = (message(1, message(4, b"Constant") + message(5, tensor * n)) for n in (1, 2))

    assert not refused("onnx", message(7, once))
    assert refused("onnx", message(7, twice))
    assert refused("onnx", message(7, once) * 2)


def test_endless_small_fields_cost_seconds_at_most(monkeypatch):
    monkeypatch.setattr("edge_runtime._scan_onnx._MOST_FIELDS", 1000)

    with pytest.raises(BundleError, match="more than 1,000 fields"):
        scan_model("onnx", b"\x08\x01" * 5000, "m")


@with_onnx
def test_operators_with_bodies_must_be_listed(make_bundle):
    condition = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array(True)))
    shape = [1, 1, conftest.HEIGHT, conftest.WIDTH]
    base = helper.make_graph([helper.make_node("Identity", ["input"], ["picked"])], "b", [], [
        helper.make_tensor_value_info("picked", TensorProto.FLOAT, shape)])  # fmt: skip
    import onnx

    model = onnx.load_from_string(conftest.onnx_model())
    nodes = list(model.graph.node)
    nodes[0].input[0] = "chosen"
    del model.graph.node[:]
    model.graph.node.extend(
        [condition, helper.make_node("If", ["c"], ["chosen"], then_branch=base, else_branch=base), *nodes]
    )
    folder = make_bundle("onnx", content={"onnx": model.SerializeToString()})

    with pytest.raises(BundleError, match="the model holds If, which the manifest does not list under control_flow"):
        edge_runtime.load(folder)

    manifest = read_manifest(folder)
    entry = dataclasses.replace(manifest.models[0], control_flow=("If",))
    write_manifest(folder, dataclasses.replace(manifest, models=(entry,)))
    assert read_manifest(folder).models[0].control_flow == ("If",)
    assert edge_runtime.load(folder).check().ok


@with_onnx
def test_a_fixed_batch_that_would_fill_the_memory_is_refused(make_bundle, onnx_model):
    folder = make_bundle("onnx", content={"onnx": onnx_model(1 << 20)})

    with pytest.raises(EngineError, match=r"takes batches of 1,048,576; at most 4,096 are allowed"):
        edge_runtime.load(folder)


# --- tflite ---


def tflite_file(change):
    model = tfl.ModelT.InitFromPackedBuf(conftest.CONTENT["tflite-int8"])
    change(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def custom_operator(model):
    model.operatorCodes[0].customCode = "Evil"
    model.operatorCodes[0].builtinCode = 32


def body(kind, options, own_graph):
    def change(model):
        model.operatorCodes[0].builtinCode = kind
        model.operatorCodes[0].deprecatedBuiltinCode = kind
        operator = model.subgraphs[0].operators[0]
        operator.builtinOptionsType, operator.builtinOptions = options
        if not own_graph:
            model.subgraphs.append(tfl.SubGraphT())

    return change


def loop(index):
    options = tfl.WhileOptionsT()
    options.condSubgraphIndex = options.bodySubgraphIndex = index
    return tfl.BuiltinOptions.WhileOptions, options


def put(path, value):
    """Set model.a[0].b from "a.0.b"."""

    def change(model):
        at, *rest = [model, *path.split(".")]
        for step in rest[:-1]:
            at = at[int(step)] if step.isdigit() else getattr(at, step)
        setattr(at, rest[-1], value)

    return change


GRAPH = "subgraphs.0."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (custom_operator, "holds a custom operator 'Evil'"),
        (put("operatorCodes.0.builtinCode", 51), "an operator of a delegate or of StableHLO"),
        (put("operatorCodes.0.builtinCode", 173), "an operator of a delegate or of StableHLO"),
        (put(GRAPH + "operators.0.customOptions", [1, 2]), "custom options"),
        (put(GRAPH + "tensors.1.sparsity", tfl.SparsityParametersT()), "a sparse tensor"),
        (put("buffers.2.offset", 1 << 33), "weights outside its own tables"),
        (put(GRAPH + "tensors.1.shape", [1 << 20, 1 << 20]), "a tensor of 1,099,511,627,776 elements"),
        (put(GRAPH + "tensors.1.shape", [1 << 20]), "a tensor of 1,048,576 elements in 60 bytes"),
        (put(GRAPH + "tensors.1.shape", [-5, 3]), "damaged"),
        (put(GRAPH + "tensors.1.buffer", 99), "damaged"),
        (put(GRAPH + "operators.0.opcodeIndex", 7), "damaged"),
        (put(GRAPH + "operators.0.inputs", [0, 1, 9]), "damaged"),
        (put(GRAPH + "operators.0.outputs", [-2]), "damaged"),
        (put(GRAPH + "inputs", [44]), "damaged"),
        (put(GRAPH + "tensors.1.quantization.scale", [1.0, 2.0]), "damaged"),
        (put(GRAPH + "tensors.1.quantization.zeroPoint", [1, 2, 3]), "damaged"),
        (put("subgraphs", []), "damaged"),
        (body(119, loop(0), True), "subgraphs that may run each other in a circle"),
        (body(119, loop(5), True), "damaged"),
    ],
)
def test_tflite_files_that_no_bundle_needs_are_refused(change, message):
    with pytest.raises(BundleError, match=f"model.tflite: .*{message}"):
        scan_model("tflite", tflite_file(change), "model.tflite")


def test_tflite_operators_that_run_other_graphs_are_named():
    assert scan_model("tflite", tflite_file(body(119, loop(1), False)), "m") == {"WHILE"}


@pytest.mark.parametrize("data", [b"", b"TFL3", b"\x1c\0\0\0TFL3" + b"\xff" * 40, b"\xff\xff\xff\xffTFL3", b"x" * 99])
def test_what_is_no_flatbuffer_of_a_model_is_refused(data):
    assert refused("tflite", data)


@pytest.mark.parametrize("path", sorted((Path(__file__).parent / "hostile").glob("*.tflite")), ids=lambda p: p.stem)
def test_files_that_kill_an_engine_are_refused_before_it_sees_them(path, tmp_path):
    """Found by fuzzing: each ends a process that hands it to ai-edge-litert 2.3 with a segmentation fault."""
    folder = tiny_texts.write_text_bundle(tmp_path / "b", ("tflite",))
    manifest, body = read_manifest(folder), path.read_bytes()
    (folder / "model.tflite").write_bytes(body)
    write_manifest(folder, dataclasses.replace(manifest, files={**manifest.files, "model.tflite": file_info(body)}))

    with pytest.raises(BundleError, match=r"model\.tflite: it is damaged"):
        edge_runtime.load(folder)


# --- any damage, with checksums that fit it: an answer or an EdgeError, never another exception or a dead process ---


@settings(max_examples=60, deadline=None)
@given(data=st.data(), kind=st.sampled_from(sorted(HONEST)))
def test_any_damage_to_a_model_gives_an_answer_or_an_edge_error(tmp_path_factory, data, kind):
    body = bytearray(HONEST[kind])
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.sampled_from([0, 1, 127, 128, 255]))
    body = bytes(body[: data.draw(st.integers(len(body) - 40, len(body)))])
    folder = tmp_path_factory.mktemp("damaged")
    text = kind.endswith("text")
    if text:
        tiny_texts.write_text_bundle(folder, (format_of(kind),))
    else:
        conftest.write_bundle(folder, (kind,))
    manifest = read_manifest(folder)
    path = manifest.models[0].path
    (folder / path).write_bytes(body)
    write_manifest(folder, dataclasses.replace(manifest, files={**manifest.files, path: file_info(body)}))

    try:
        with edge_runtime.load(folder) as model:
            model.predict("a good film" if text else np.zeros((4, 5)))
    except EdgeError as error:
        str(error).encode()
