"""Model with both real engines: answers held against numpy, every input an app may hand over, every refusal."""

import asyncio
import dataclasses
import functools
import math
import sys
import threading
import types

import edge_runtime
import numpy as np
import pytest
from edge_runtime import BundleError, EngineError, InputError
from edge_runtime._quick import quick_way
from edge_runtime.files import file_info, npz_bytes
from edge_runtime.manifest import INTEGER_RANGES, SelfTest, TensorInfo, read_manifest, write_manifest
from edge_runtime.prediction import score_few, score_rows, softmax
from edge_runtime.preprocessing import Preprocessing
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from tests.edge_runtime.engines_here import ENGINE_MODULES, FORM, FORMS, with_onnx

KINDS = tuple(k for k in ("onnx", "onnx-uint8", "tflite", "tflite-int8") if k.split("-")[0] in FORMS)
TOLERANCE = {"onnx": 1e-5, "onnx-uint8": 0.05, "tflite": 1e-5, "tflite-int8": 0.1}


@pytest.fixture
def images():
    return np.random.default_rng(3).integers(0, 256, (70, 4, 5), np.uint8)


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_gives_the_logits_of_numpy(make_bundle, images, expected_logits, kind):
    with edge_runtime.load(make_bundle(kind)) as model:
        found = model.logits(images)

    assert found.dtype == np.float32
    assert found == pytest.approx(expected_logits(images), abs=TOLERANCE[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_answers_as_its_examples_one_by_one(make_bundle, images, kind):
    model = edge_runtime.load(make_bundle(kind))

    batch = model.predict_batch(images)

    assert len(batch) == len(images)
    for image, together in zip(images[:5], batch, strict=False):
        alone = model.predict(image)
        assert (alone.index, alone.label) == (together.index, together.label)
        assert alone.scores == pytest.approx(together.scores, abs=1e-6)


def test_a_prediction_holds_label_scores_and_latency(bundle, images, expected_logits):
    answer = edge_runtime.load(bundle).predict(images[0])

    exact = np.exp(expected_logits(images[:1])[0].astype(np.float64))
    assert answer.scores == pytest.approx(exact / exact.sum(), abs=1e-6)
    assert answer.index == int(exact.argmax())
    assert answer.label == ("cat", "dog", "owl")[answer.index]
    assert answer.score == answer.scores.max()
    assert 0 < answer.latency_ms < 1000


def test_prepare_then_run_are_the_two_halves_of_logits(make_bundle, images):
    model = edge_runtime.load(make_bundle("tflite-int8"))

    prepared = model.prepare(images[0])

    assert (prepared.shape, prepared.dtype) == ((1, 4, 5, 1), np.int8)
    raw = model.run(prepared)
    assert (raw.shape, raw.dtype) == ((1, 3), np.int8)
    assert np.array_equal((raw.astype(np.float32) - 3) / 16, model.logits(images[:1]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1)])
def test_the_short_way_of_a_small_image_gives_the_same_bits(make_bundle, images, kind, shape):
    model = edge_runtime.load(make_bundle(kind))
    for image in (images[0], np.arange(0, 240, 12, np.uint8), images[1:5, 0].copy()):
        quick = model.prepare(image.reshape(shape))
        careful = model._ready(model.preprocessing(image.reshape(1, *shape)))
        assert (quick.shape, quick.dtype, quick.flags.c_contiguous) == (careful.shape, careful.dtype, True)
        assert np.array_equal(quick, careful)
    assert model._quick is not None


@given(
    channels=st.integers(1, 4),
    layout=st.sampled_from(["NCHW", "NHWC"]),
    dtype=st.sampled_from(["float32", "int8", "uint8"]),
    numbers=st.lists(st.floats(0.01, 3), min_size=9, max_size=9),
    seed=st.integers(0, 9),
)
def test_the_short_way_of_any_image_gives_the_same_bits(channels, layout, dtype, numbers, seed):
    scale, mean, std = numbers[0], numbers[1 : 1 + channels], numbers[5 : 5 + channels]
    p = Preprocessing("image", height=3, width=4, channels=channels, scale=scale / 99, mean=mean, std=std)
    shape = (3, 4, channels) if layout == "NHWC" else (channels, 3, 4)
    grid = () if dtype == "float32" else (0.02, 5)
    tensor = TensorInfo("x", shape, layout, dtype, *grid)
    model = types.SimpleNamespace(entry=types.SimpleNamespace(input=tensor), _dtype=np.dtype(dtype))
    model._range = INTEGER_RANGES.get(dtype)
    ready = functools.partial(edge_runtime.model.Model._ready, model)
    image = np.random.default_rng(seed).integers(0, 256, (3, 4, channels), np.uint8)

    quick, shapes = quick_way(p, tensor, ready)

    assert image.shape in shapes
    found, careful = quick(image), ready(p(image[np.newaxis]))
    assert (found.dtype, found.shape, found.flags.c_contiguous) == (careful.dtype, careful.shape, True)
    assert np.array_equal(found, careful)


def test_inputs_are_quantized_half_to_even_and_clipped(make_bundle):
    model = edge_runtime.load(make_bundle("tflite-int8"))  # scale 1/64, zero point -64
    # raw r becomes x = (r/255 - 0.5) / 0.5; these r give x/scale = 0.5, 1.5, 2.5, -0.5 and far beyond both ends
    raw = np.full((4, 5), 127.5)
    raw.flat[:6] = [127.5 + 127.5 / 64 * steps for steps in (0.5, 1.5, 2.5, -0.5, 1e4, -1e4)]
    x = model.manifest.preprocessing(raw[None]).ravel() * 64

    found = model.prepare(raw).ravel()

    assert found[4:6].tolist() == [127, -128]
    python = [max(-128, min(127, round(float(v)) - 64)) for v in x]  # round() of Python is half to even
    assert found.tolist() == python


@with_onnx
def test_a_fixed_batch_onnx_file_takes_any_number_of_examples(make_bundle, images, expected_logits, onnx_model):
    for size in (1, 4):
        folder = make_bundle("onnx", name=f"fixed{size}", content={"onnx": onnx_model(size)})
        model = edge_runtime.load(folder)
        for n in (1, 3, 4, 9):
            assert model.logits(images[:n]) == pytest.approx(expected_logits(images[:n]), abs=1e-5)


# --- what may be handed over ---


def test_lists_float_arrays_and_npy_paths_answer_as_the_array(bundle, images, tmp_path):
    model = edge_runtime.load(bundle)
    np.save(tmp_path / "one.npy", images[0])
    expected = model.predict(images[0]).scores

    for same in (images[0].tolist(), images[0].astype(float), tmp_path / "one.npy", str(tmp_path / "one.npy")):
        assert np.array_equal(model.predict(same).scores, expected)
    batch = model.predict_batch([images[0], tmp_path / "one.npy", images[0][:, :, None]])
    assert all(np.array_equal(p.scores, expected) for p in batch)


def test_image_files_are_read_upright_and_in_the_models_channels(bundle, tmp_path):
    image_module = pytest.importorskip("PIL.Image")
    model = edge_runtime.load(bundle)
    pixels = np.random.default_rng(4).integers(0, 256, (8, 6), np.uint8)
    image_module.fromarray(pixels).save(tmp_path / "gray.png")
    image_module.fromarray(np.dstack([pixels] * 3)).save(tmp_path / "colour.png")
    exif = image_module.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    image_module.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)

    assert np.array_equal(model.predict(tmp_path / "gray.png").scores, model.predict(pixels).scores)
    assert np.array_equal(model.predict(tmp_path / "colour.png").scores, model.predict(pixels).scores)
    upright = np.rot90(pixels, -1)
    assert np.array_equal(model.predict(tmp_path / "turned.png").scores, model.predict(upright).scores)


def test_an_image_file_without_pillow_says_what_to_install(bundle, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    (tmp_path / "x.png").write_bytes(b"\x89PNG")

    with pytest.raises(InputError, match=r"needs Pillow\n  fix: pip install pillow, or pass the pixels"):
        edge_runtime.load(bundle).predict(tmp_path / "x.png")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.npy", b"", r"x\.npy: not a \.npy file of numbers"),
        ("x.npy", b"\x93NUMPY\x01\0\x10\0", "its header is damaged"),
        ("x.png", b"", r"x\.png: an empty file\n  fix: give"),
        ("x.png", b"hello", r"x\.png: not a readable image: of no known format\n  fix: give"),
        ("x.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "not a readable image"),
        ("x.txt", b"1 2 3", r"\.txt is no known kind of file"),
        ("x", b"1 2 3", "no suffix is no known kind of file"),
        ("x.npy", None, "the file is missing"),
    ],
)
def test_files_that_cannot_be_read_are_named(bundle, tmp_path, name, content, message):
    if name.endswith("png"):
        pytest.importorskip("PIL.Image")
    if content is not None:
        (tmp_path / name).write_bytes(content)

    with pytest.raises(InputError, match=message):
        edge_runtime.load(bundle).predict(tmp_path / name)


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (None, "got NoneType\n  fix: pass a numpy array"),
        ({"a": 1}, "got dict"),
        (b"123", "got bytes"),
        (3, "examples of shape ()"),
        ([], "an empty array"),
        ([[1, 2], [3]], "rows of different lengths"),
        (["a", "b"], "an array of dtype <U1"),
        (np.zeros((2, 4, 5)), "examples of shape (2, 4, 5)"),
        (np.zeros((2, 4, 5, 1)), "shape (2, 4, 5, 1) holds several examples\n  fix: use predict_batch for several"),
        (np.full((4, 5), np.nan), "holds NaN"),
        (np.full((4, 5), -np.inf), "holds NaN, infinite"),
        (np.zeros((0, 5)), "an empty array"),
        (np.zeros((4, 5), object), "an array of dtype object"),
    ],
    ids=str,
)
def test_what_cannot_be_an_example_is_refused(bundle, example, message):
    model = edge_runtime.load(bundle)

    with pytest.raises(InputError) as caught:
        model.predict(example)

    assert message in str(caught.value)
    assert model.predict(np.zeros((4, 5))).label  # the model goes on


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([], "an empty batch"),
        (np.zeros((0, 4, 5)), "an empty array"),
        (np.zeros((4, 5)), r"examples of shape \(5,\)"),
        ([np.zeros((4, 5)), np.zeros((4, 5, 3))], r"input 1: examples of shape \(4, 5, 3\)"),
        (np.stack([np.zeros((4, 5)), np.full((4, 5), np.nan)]), "example 1 of 2 holds NaN"),
    ],
    ids=["list", "array", "single", "second", "nan"],
)
def test_what_cannot_be_a_batch_is_refused(bundle, examples, message):
    with pytest.raises(InputError, match=message):
        edge_runtime.load(bundle).predict_batch(examples)


# --- life of a model ---


def test_after_close_every_call_says_so(bundle, images):
    with edge_runtime.load(bundle) as model:
        assert model.engine in repr(model)
    model.close()  # twice does no harm

    assert "closed" in repr(model)
    for call in (model.predict, model.logits):
        with pytest.raises(EngineError, match=r"the model is closed\n  fix: load the bundle again"):
            call(images[0] if call == model.predict else images)


@pytest.mark.parametrize("kind", [FORM, "tflite-int8"])
def test_eight_threads_share_a_model_and_get_the_right_answers(make_bundle, images, kind):
    model = edge_runtime.load(make_bundle(kind))
    expected = model.logits(images)
    wrong = []

    def work(offset):
        for i in range(150):
            j = (i * 7 + offset) % len(images)
            if not np.allclose(model.logits(images[j : j + 1])[0], expected[j], atol=1e-5):
                wrong.append(j)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]

    assert wrong == []


def test_apredict_leaves_the_event_loop_running(bundle, images):
    model = edge_runtime.load(bundle)

    async def many():
        return await asyncio.gather(*(model.apredict(image) for image in images[:5]))

    answers = asyncio.run(many())

    assert [a.index for a in answers] == [model.predict(image).index for image in images[:5]]
    with pytest.raises(InputError, match="holds NaN"):
        asyncio.run(model.apredict(np.full((4, 5), np.nan)))


@pytest.mark.parametrize("kind", FORMS)
def test_more_threads_give_the_same_answers(make_bundle, images, kind):
    folder = make_bundle(kind)

    with edge_runtime.load(folder, threads=2) as two, edge_runtime.load(folder) as one:
        assert two.logits(images) == pytest.approx(one.logits(images), abs=1e-5)


# --- choosing an engine ---


@with_onnx
def test_the_manifests_first_model_is_taken_unless_another_is_named(bundle):
    assert edge_runtime.load(bundle).engine.startswith("onnxruntime ")
    assert edge_runtime.load(bundle, engine="tflite").engine.startswith(("ai-edge-litert ", "tflite-runtime "))


def test_a_missing_engine_gives_way_to_the_next(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)

    assert edge_runtime.load(bundle).entry.format == "tflite"
    with pytest.raises(EngineError, match=r"no engine is installed(.|\n)*pip install edge-runtime\[onnx\]$"):
        edge_runtime.load(bundle, engine="onnx")
    for module in ENGINE_MODULES["tflite"]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(EngineError, match=r"pip install edge-runtime\[onnx\] or edge-runtime\[tflite\]$"):
        edge_runtime.load(bundle)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "tensorrt"}, "engine 'tensorrt' is unknown(.|\n)*use one of onnx, tflite"),
        ({"engine": "tflite"}, "the bundle holds no tflite model(.|\n)*it holds onnx"),
        ({"threads": 0}, "threads is 0"),
        ({"threads": 2.0}, "threads is 2.0"),
        ({"threads": True}, "threads is True"),
        ({"threads": 1000}, "threads is 1000"),
    ],
)
def test_options_that_make_no_sense_are_refused(make_bundle, options, message):
    with pytest.raises(EngineError, match=message):
        edge_runtime.load(make_bundle("onnx"), **options)


def altered(folder, **changes):
    """Rewrite the manifest with changes to the first model's entry."""
    manifest = read_manifest(folder)
    entry = dataclasses.replace(manifest.models[0], **changes)
    write_manifest(folder, dataclasses.replace(manifest, models=(entry,)))


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        pytest.param(
            "onnx",
            {"name": "x"},
            r"the model says 'input' tensor\(float\) .*, the manifest 'x' float32",
            marks=with_onnx,
        ),
        pytest.param(
            "onnx",
            {"dtype": "int8", "scale": 1.0, "zero_point": 0},
            "the manifest 'input' int8",
            marks=with_onnx,
        ),
        ("tflite", {"dtype": "int8", "scale": 1.0, "zero_point": 0}, "the model says float32"),
        ("tflite-int8", {"scale": 0.5}, "with scale 0.015625 and zero point -64, the manifest int8 .* 0.5, -64"),
        ("tflite-int8", {"zero_point": 0}, "the manifest int8 .* 0.015625, 0"),
    ],
)
def test_a_model_file_that_contradicts_the_manifest_is_refused(make_bundle, kind, change, message):
    folder = make_bundle(kind)
    altered(folder, inputs=(dataclasses.replace(read_manifest(folder).models[0].input, **change),))

    with pytest.raises(EngineError, match=message):
        edge_runtime.load(folder)


@with_onnx
def test_an_engine_too_old_for_the_operators_says_what_to_upgrade(make_bundle, onnx_model):
    folder = make_bundle("onnx", content={"onnx": onnx_model(op="GemmOfTheFuture")})

    with pytest.raises(
        EngineError, match=r"refuses the model: .*GemmOfTheFuture(.|\n)*pip install --upgrade onnxruntime"
    ):
        edge_runtime.load(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_a_host_whose_numpy_raises_on_underflow_is_served_as_well(make_bundle, kind):
    model = edge_runtime.load(make_bundle(kind))
    tiny = np.full((9, 9), 1e-310)
    tiny[0, 0] = 1e6

    with np.errstate(all="raise"):
        assert model.predict(tiny).label


# --- self-test ---


@pytest.mark.parametrize("kind", KINDS)
def test_the_self_test_passes_on_a_sound_device(make_bundle, kind):
    report = edge_runtime.load(make_bundle(kind)).check()

    assert report.ok
    assert report.agreement == 1.0
    assert report.largest_difference < 0.1
    assert report.message.startswith("passed: 100.0% of 8 reference examples agree (want 80.0%)")


def test_canary_the_self_test_fails_where_the_engine_computes_something_else(make_bundle, expected_logits):
    images = np.random.default_rng(0).integers(0, 256, (8, 4, 5), np.uint8)
    expected = expected_logits(images)

    far = edge_runtime.load(make_bundle(FORM, name="far", logits=expected + np.float32(0.5))).check()
    flipped = edge_runtime.load(make_bundle(FORM, name="flip", logits=-expected, tolerance=100.0)).check()

    assert (far.ok, far.agreement) == (False, 1.0)
    assert far.largest_difference == pytest.approx(0.5, abs=1e-4)
    assert (flipped.ok, flipped.agreement < 0.5) == (False, True)
    assert far.message.startswith("FAILED: ")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "want an array `inputs`"),
        ({"inputs": np.zeros((2, 4, 5)), f"logits_{FORM}": np.zeros((3, 3), np.float32)}, "it is .3, 3."),
        ({"inputs": np.zeros(()), f"logits_{FORM}": np.zeros((1, 3), np.float32)}, "no list of examples"),
        ({"inputs": np.zeros((1, 4, 5)), f"logits_{FORM}": np.zeros((1, 3))}, f"`logits_{FORM}` is not finite float32"),
        (
            {"inputs": np.zeros((1, 4, 5)), f"logits_{FORM}": np.full((1, 3), np.nan, np.float32)},
            f"`logits_{FORM}` is not finite float32",
        ),
        (
            {"inputs": np.zeros((1, 9)), f"logits_{FORM}": np.zeros((1, 3), np.float32)},
            "the reference inputs: examples of",
        ),
        (
            {"inputs": np.zeros((0, 4, 5)), f"logits_{FORM}": np.zeros((0, 3), np.float32)},
            "the reference inputs: an empty",
        ),
    ],
)
def test_reference_data_that_does_not_fit_is_the_bundles_fault(make_bundle, arrays, message):
    folder = make_bundle(FORM)
    data = npz_bytes(arrays)
    (folder / "reference.npz").write_bytes(data)
    manifest = read_manifest(folder)
    files = {**manifest.files, "reference.npz": file_info(data)}
    write_manifest(folder, dataclasses.replace(manifest, files=files, self_test=SelfTest("reference.npz", 1.0, 1.0)))

    with pytest.raises(BundleError, match=message):
        edge_runtime.load(folder).check()


def test_nan_out_of_the_engine_is_an_error_not_an_answer(make_bundle, form_model):
    folder = make_bundle(FORM, content={FORM: form_model(bias=np.float32([np.nan, 0, 0]))})

    with pytest.raises(EngineError, match=r"gave NaN or infinite logits(.|\n)*edge-runtime check"):
        edge_runtime.load(folder).predict(np.zeros((4, 5)))


@given(logits=nps.arrays(np.float32, (2, 4), elements=st.floats(-(2.0**100), 2.0**100, width=32)))
def test_softmax_matches_python_and_is_stable(logits):
    found = softmax(logits)

    for row, scores in zip(logits.tolist(), found, strict=True):
        powers = [math.exp(v - max(row)) for v in row]
        assert scores == pytest.approx([p / sum(powers) for p in powers], abs=1e-6)


@given(
    logits=nps.arrays(
        np.float32, st.tuples(st.integers(1, 3), st.integers(1, 70)), elements=st.floats(-300, 300, width=32)
    )
)
def test_few_classes_are_scored_as_many_are(logits):
    with np.errstate(all="raise"):
        found = score_rows(logits)

    for row, (index, scores), whole in zip(logits, found, softmax(logits), strict=True):
        assert (scores.dtype, scores.shape) == (np.float32, row.shape)
        assert scores == pytest.approx(whole, abs=1e-6)
        assert scores[index] == scores.max()
        assert score_few(row.tolist())[0] == row.argmax()


# The kernels that LiteRT has without XNNPACK, as on 32-bit ARM, cut infinity down to the largest float.
@pytest.mark.parametrize("bad", [np.nan, *(pytest.param(v, marks=with_onnx) for v in (np.inf, -np.inf))])
@pytest.mark.parametrize("place", [0, 2])
def test_any_logit_that_is_not_finite_is_an_error_of_the_engine(make_bundle, form_model, bad, place):
    bias = np.zeros(3, np.float32)
    bias[place] = bad
    model = edge_runtime.load(make_bundle(FORM, content={FORM: form_model(bias=bias)}))

    for call in (model.predict, lambda x: model.predict_batch(x[None])):
        with pytest.raises(EngineError, match="gave NaN or infinite logits"):
            call(np.zeros((4, 5), np.uint8))
