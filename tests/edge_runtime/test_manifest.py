"""The manifest: what is written is read back; what is wrong is named; nothing but BundleError comes out."""

import copy
import json
import pickle

import pytest
from edge_runtime import BundleError
from edge_runtime.manifest import FileInfo, Manifest, SelfTest, TensorInfo, read_manifest, write_manifest
from hypothesis import given
from hypothesis import strategies as st


def problems_of(doc):
    with pytest.raises(BundleError) as caught:
        Manifest.from_json(doc)
    return caught.value.what


@pytest.fixture
def doc(bundle):
    return json.loads((bundle / "manifest.json").read_text())


def test_what_is_written_is_read_back_and_written_again_as_the_same_bytes(bundle, tmp_path):
    manifest = read_manifest(bundle)
    again = tmp_path / "again"
    again.mkdir()

    write_manifest(again, manifest)

    assert read_manifest(again) == manifest
    assert (again / "manifest.json").read_bytes() == (bundle / "manifest.json").read_bytes()
    assert [p.name for p in again.iterdir()] == ["manifest.json"]  # no temporary file is left
    assert pickle.loads(pickle.dumps(manifest)) == manifest


def test_the_documented_keys_are_the_ones_written(doc):
    assert list(doc) == [
        *("format", "format_version", "name", "created_by", "task", "labels", "preprocessing"),
        *("models", "files", "self_test"),
    ]
    assert doc["format"] == "edge-bundle"
    assert doc["format_version"] == 2
    assert list(doc["models"][0]) == ["format", "path", "precision", "inputs", "outputs", "signatures"]
    assert list(doc["models"][0]["inputs"][0]) == ["name", "shape", "layout", "dtype", "scale", "zero_point"]
    assert list(doc["files"]["model.onnx"]) == ["sha256", "size_bytes"]
    assert list(doc["self_test"]["tolerance"]) == ["agreement", "largest_difference"]


def test_a_newer_format_says_what_to_upgrade(doc):
    with pytest.raises(BundleError) as caught:
        Manifest.from_json({**doc, "format_version": 3, "surprise": 1})

    assert str(caught.value) == (
        "manifest.json: the bundle has format_version 3, this edge_runtime reads up to 2\n"
        "  fix: pip install --upgrade edge-runtime"
    )


def test_all_problems_are_listed_at_once(doc):
    doc["labels"][1] = 7
    doc["lables"] = doc.pop("task")
    doc["models"][0]["inputs"][0]["dtype"] = "float64"
    del doc["models"][1]["path"]
    doc["files"]["model.onnx"]["size_bytes"] = True

    assert problems_of(doc).splitlines() == [
        "6 problem(s)",
        "    lables: unknown; did you mean 'labels'?",
        "    task: missing",
        "    labels[1]: 7 is not a string",
        "    models[0].inputs[0].dtype: 'float64' is none of float32, int8, uint8, int32, int64",
        "    models[1].path: missing",
        "    files[model.onnx].size_bytes: True is not a whole number from 0 to 2147483647",
    ]


def test_a_flood_of_strange_keys_costs_little_and_prints_well(doc):
    doc |= {f"\ud800{'x' * 500}{i}": i for i in range(2000)}

    assert len(problems_of(doc)) < 3000
    problems_of(doc).encode()


def change(path, value):
    def apply(doc):
        at = doc
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = value

    return apply


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["format"], "zip", 'not a bundle manifest: it does not say "format": "edge-bundle"'),
        (["format_version"], "1", "format_version is '1'"),
        (["format_version"], 0, "format_version is 0"),
        (["name"], "", "name: 0 characters; 1 to 200 are allowed"),
        (["name"], "a\x1b[31m", "name: 'a\\x1b[31m' holds characters that cannot be printed"),
        (["labels"], [], "labels: a list is not a list of 1 to 100000 items"),
        (["labels"], ["a", "a", "b"], "labels: two are equal"),
        (["labels"], ["a", "b"], "models[0].outputs[0]: shape [3] (NC), but there are 2 labels"),
        (["labels", 0], "\ud800", "labels[0]: '\\ud800' holds characters that cannot be printed"),
        (["preprocessing", "std"], [0.0], "preprocessing: std holds a value that is not positive"),
        (
            ["preprocessing", "height"],
            5,
            "models[0].inputs[0]: shape [1, 4, 5] (NCHW), but preprocessing gives [1, 5, 5]",
        ),
        (["preprocessing"], None, "preprocessing: kind is None, known are image, vector, window, text, tensors"),
        (["models"], [], "models: a list is not a list of 1 to 2 items"),
        (["models", 0], None, "models[0]: None is not an object"),
        (["models", 1, "format"], "onnx", "models: two have the same format"),
        (["models", 0, "path"], "other.onnx", "models[0].path: 'other.onnx' is not listed under files"),
        (["models", 0, "path"], "../model.onnx", "models[0].path: '../model.onnx' leaves the bundle folder"),
        (["models", 0, "inputs", 0, "shape"], [1, 4], "models[0].inputs[0].shape: [1, 4] does not fit layout NCHW"),
        (["models", 0, "inputs", 0, "shape"], [1, -4, 5], "models[0].inputs[0].shape: want whole numbers from 1"),
        (["models", 0, "inputs", 0, "shape"], [1 << 20, 1 << 20, 1], "with a product of at most 67,108,864"),
        (["models", 0, "inputs", 0, "scale"], 0.5, "models[0].inputs[0].scale: dtype float32 has no scale"),
        (["models", 0, "inputs", 0, "dtype"], "int8", "models[0].inputs[0].zero_point: dtype int8 needs zero_point"),
        (["models", 0, "outputs", 0, "layout"], "NCHW", "models[0].outputs[0].shape: [3] does not fit layout NCHW"),
        (["files", "/etc/passwd"], {}, "files: '/etc/passwd' is not relative with forward slashes"),
        (["files", "manifest.json"], {}, "files: the manifest cannot list itself"),
        (["files", "model.onnx", "sha256"], "AB", "files[model.onnx].sha256: want 64 lower-case hex digits"),
        (["files", "model.onnx", "size_bytes"], 1 << 40, "is not a whole number from 0 to 2147483647"),
        (["files"], {f"f{i}": {} for i in range(65)}, "files: 65 files; at most 64 are allowed"),
        (["self_test", "path"], "none.npz", "self_test.path: 'none.npz' is not listed under files"),
        (
            ["self_test", "tolerance", "agreement"],
            1.5,
            "self_test.tolerance.agreement: 1.5 is not a number from 0 to 1",
        ),
    ],
)
def test_a_wrong_value_is_named(doc, path, value, message):
    change(path, value)(doc)

    assert message in problems_of(doc)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not valid JSON: Expecting value"),
        (b'{"format": ', "not valid JSON"),
        (b"\xff\xfe", "not valid JSON: 'utf-8' codec can't decode"),
        (b"[" * 100_000, "not valid JSON: "),
        (b'{"a": NaN}', "not valid JSON: NaN is no JSON number"),
        (b'{"a": 1, "a": 2}', "not valid JSON: the same key stands twice"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "not valid JSON: Exceeds the limit"),
        (b"[]", 'not a bundle manifest: it does not say "format"'),
        (b" " * (4 << 20) + b"{}", "4,194,306 bytes; at most 4,194,304 are allowed"),
    ],
    ids=["empty", "half", "utf16", "deep", "nan", "twice", "digits", "list", "huge"],
)
def test_text_that_is_no_manifest_is_refused(tmp_path, text, message):
    (tmp_path / "manifest.json").write_bytes(text)

    with pytest.raises(BundleError, match=r"manifest\.json") as caught:
        read_manifest(tmp_path)

    assert message in caught.value.what


def test_a_missing_folder_and_a_missing_manifest_are_told_apart(tmp_path):
    with pytest.raises(BundleError, match="no such folder"):
        read_manifest(tmp_path / "nowhere")
    with pytest.raises(BundleError, match="the file is missing"):
        read_manifest(tmp_path)


def test_a_manifest_that_could_not_be_read_is_not_written(bundle):
    good = read_manifest(bundle)
    bad = Manifest(**{**vars(good), "self_test": SelfTest("none.npz", 1.0, 0.0), "files": {"x": FileInfo("0", 1)}})
    before = (bundle / "manifest.json").read_bytes()

    with pytest.raises(BundleError, match="want 64 lower-case hex digits"):
        write_manifest(bundle, bad)

    assert (bundle / "manifest.json").read_bytes() == before


def test_tensor_defaults_are_float_logits():
    assert TensorInfo("logits", (3,)) == TensorInfo("logits", (3,), "NC", "float32", None, None)


# --- hypothesis: change, delete or insert anything anywhere ---

TEXT = st.text("ab.é/\\:\0\ud800", max_size=12)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXT)
STRANGE = st.sampled_from([1e308, 10**400, -1, "\ud800", "../x", "/x", "a\0b", [], {}, [[]], {"kind": []}, [1] * 300])
VALUES = st.one_of(SCALARS, STRANGE, st.lists(SCALARS, max_size=4), st.dictionaries(TEXT, SCALARS, max_size=3))


def places(node, path=()):
    """Every path into a document."""
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


@given(data=st.data())
def test_any_mutation_gives_a_manifest_or_a_bundle_error(whole_doc, data):
    doc = copy.deepcopy(whole_doc)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from([p for p in places(doc) if p]))
        at = doc
        for key in path[:-1]:
            at = at[key]
        if data.draw(st.booleans()):
            at[path[-1]] = copy.deepcopy(data.draw(VALUES))
        else:
            del at[path[-1]]
        if not isinstance(doc, dict) or not doc:
            break
    try:
        manifest = Manifest.from_json(doc)
    except BundleError as error:
        str(error).encode()  # can be printed and logged anywhere
    else:
        assert Manifest.from_json(manifest.to_json()) == manifest


@given(text=st.binary(max_size=200))
def test_any_bytes_give_a_bundle_error(tmp_path_factory, text):
    folder = tmp_path_factory.getbasetemp()
    (folder / "manifest.json").write_bytes(text)

    with pytest.raises(BundleError):
        read_manifest(folder)


@pytest.fixture(scope="module")
def whole_doc(tiny_manifest):
    return tiny_manifest.to_json()
