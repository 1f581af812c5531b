"""Texts: the ids of the bundle's tokenizer, whatever is in the text, and the models that take them."""

import asyncio
import dataclasses
import json
import sys
import time

import edge_runtime
import numpy as np
import pytest
from edge_runtime import BundleError, EngineError, InputError
from edge_runtime.manifest import read_manifest, write_manifest
from edge_runtime.text import TextPreprocessing
from hypothesis import given
from hypothesis import strategies as st

from tests.edge_runtime.engines_here import FORMS

pytest.importorskip("tokenizers")

from tests.edge_runtime.tiny_texts import (
    LENGTHS,
    PREPROCESSING,
    TEXTS,
    TOKENIZER,
    expected_logits,
    write_text_bundle,
)

READY = PREPROCESSING.with_tokenizer(TOKENIZER)
AWKWARD = {
    "empty": "",
    "spaces": " \t\n\r\u00a0",
    "emoji": "good 😀👩‍👩‍👧‍👦 film",
    "scripts": "über 映画 фильм فيلم a\u0301 \U0001d400",
    "long": "not a good film, " * 600,
    "one long word": "good" * 2500,
    "spaces first": " " * 10_000 + "good film",
    "special words": "[SEP] good [PAD] [CLS] film",
    "control": "good\x00film\x1b[31m\u200b\ufeff\ufffd",
}


@pytest.fixture
def bundle(tmp_path):
    return write_text_bundle(tmp_path / "texts")


def test_ids_are_padded_to_the_shortest_length_that_fits_and_cut_at_the_longest():
    assert READY(["good film"]).tolist() == [[2, 5, 7, 3]]
    assert READY(["bad"]).tolist() == [[2, 6, 3, 0]]
    assert READY(["bad", "a good film!!"]).tolist() == [[2, 6, 3, 0, 0, 0, 0, 0], [2, 4, 5, 7, 13, 13, 3, 0]]
    assert READY(["good " * 100]).tolist() == [[2, *[5] * 14, 3]]
    assert READY(["x"]).dtype == np.int64


@pytest.mark.parametrize("text", AWKWARD.values(), ids=AWKWARD)
def test_the_ids_are_those_of_transformers(text, tmp_path):
    transformers = pytest.importorskip("transformers")
    (tmp_path / "tokenizer.json").write_bytes(TOKENIZER)
    theirs = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(tmp_path / "tokenizer.json"),
        pad_token="[PAD]",
        padding_side="right",
        truncation_side="right",
    )

    expected = theirs(text, truncation=True, max_length=16)["input_ids"]

    found = READY([text])[0].tolist()
    assert found[: len(expected)] == expected
    assert set(found[len(expected) :]) <= {0}


@given(text=st.text(st.sampled_from("ago dfilmnt!s🎬ü映 \n\u0301"), max_size=60), times=st.integers(1, 400))
def test_a_long_text_gives_the_beginning_of_its_ids(text, times):
    whole = dataclasses.replace(PREPROCESSING, max_length=65_536, lengths=(65_536,)).with_tokenizer(TOKENIZER)
    ids = [i for i in whole([text * times])[0].tolist() if i]
    expected = ids if len(ids) <= 16 else [*ids[:15], 3]

    found = READY([text * times])[0].tolist()

    assert found[: len(expected)] == expected


@pytest.mark.parametrize(
    "text", ["good film ", "g", " ", "映", "😀"], ids=["words", "word", "spaces", "ideograms", "emoji"]
)
def test_a_million_characters_take_no_minute(text):
    start = time.process_time()

    READY([(text * 1_000_000)[:1_000_000]])

    assert time.process_time() - start < 20


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "input: an empty list\n"),
        ("good", "input: got str\n"),
        ([b"good"], "input 0: got bytes, not text\n  fix: decode bytes"),
        (["good", None], "input 1: got NoneType, not text"),
        (["good \ud800 film"], "input 0: a lone surrogate at character 5\n"),
        (["x" * 4_000_001], "input 0: 4,000,001 characters; at most 4,000,000 are allowed"),
    ],
    ids=["none", "str", "bytes", "None", "surrogate", "huge"],
)
def test_what_is_no_text_is_refused(texts, message):
    with pytest.raises(InputError) as caught:
        READY(texts)

    assert message in str(caught.value)


def test_a_tokenizer_without_special_tokens_refuses_a_text_without_words():
    from tokenizers import Tokenizer, models

    bare = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))

    with pytest.raises(InputError, match="without a single token"):
        PREPROCESSING.with_tokenizer(bare.to_str().encode())([""])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no tokenizer that can be read"),
        (b"\xff\xfe", "no tokenizer that can be read"),
        (b"{}", "no tokenizer that can be read"),
        (TOKENIZER[:-20], "no tokenizer that can be read"),
        (b"x" * ((64 << 20) + 1), "67,108,865 bytes; at most 67,108,864 are allowed"),
    ],
    ids=["empty", "binary", "object", "cut", "huge"],
)
def test_what_is_no_tokenizer_is_the_bundles_fault(content, message):
    with pytest.raises(BundleError, match=message):
        PREPROCESSING.with_tokenizer(content)


def test_a_preprocessing_without_its_tokenizer_says_how_to_get_it():
    with pytest.raises(BundleError, match=r"has not been opened\n  fix: load the bundle"):
        PREPROCESSING(["good"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokenizer": "../tokenizer.json"}, "leaves the bundle folder"),
        ({"tokenizer": 3}, "tokenizer: 3 is not a string"),
        ({"max_length": 0}, "max_length is 0"),
        ({"max_length": True}, "max_length is True"),
        ({"lengths": (8, 4, 16)}, "lengths is not a list"),
        ({"lengths": (4, 8)}, "lengths is not a list"),
        ({"lengths": 16}, "lengths is not a list"),
        ({"lengths": ("4", 16)}, "lengths is not a list"),
        ({"pad_id": -1}, "pad_id is -1"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(change, message):
    with pytest.raises(BundleError, match=message):
        dataclasses.replace(PREPROCESSING, **change)


def test_it_goes_through_json():
    assert TextPreprocessing.from_json(json.loads(json.dumps(PREPROCESSING.to_json()))) == PREPROCESSING
    assert READY == PREPROCESSING  # the open tokenizer is no part of what it says
    assert READY.content == TOKENIZER


# --- models that take texts ---


@pytest.mark.parametrize("engine", FORMS)
def test_both_engines_give_the_logits_of_numpy_for_every_length(bundle, engine):
    texts = ["a " * n for n in (0, 1, 2, 3, 6, 7, 14, 15, 100)]

    with edge_runtime.load(bundle, engine=engine) as model:
        assert model.check().ok
        for text in texts:
            assert model.logits([text]) == pytest.approx(expected_logits([text]), abs=1e-5)
        assert model.logits(texts) == pytest.approx(expected_logits(texts), abs=1e-5)
        one, many = model.predict(TEXTS[0]), model.predict_batch(list(TEXTS))
        assert one.scores == pytest.approx(many[0].scores, abs=1e-6)
        assert asyncio.run(model.apredict(TEXTS[0])).label == one.label


def test_a_path_is_a_file_with_one_text(bundle, tmp_path):
    model = edge_runtime.load(bundle)
    (tmp_path / "review.txt").write_text("\ufeffa good film", encoding="utf-8")
    (tmp_path / "bad.txt").write_bytes(b"caf\xe9")

    assert np.array_equal(model.predict(tmp_path / "review.txt").scores, model.predict("a good film").scores)
    with pytest.raises(InputError, match=r"bad\.txt: not UTF-8 at byte 3\n  fix: save it as UTF-8"):
        model.predict(tmp_path / "bad.txt")
    with pytest.raises(InputError, match="the file is missing"):
        model.predict(tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("call", "example", "message"),
    [
        ("predict", np.zeros(4), "input: got ndarray, not text\n  fix: pass a str"),
        ("predict", ["a", "b"], "input: got list, not text"),
        ("predict_batch", [], "an empty batch"),
        ("predict_batch", 5, "got int\n  fix: pass a list; this model takes texts, of which the first 16 tokens"),
        ("predict_batch", ["good", 3], "input 1: got int, not text"),
        ("outputs", {}, "this bundle takes no tensors by name"),
    ],
)
def test_what_is_no_text_is_refused_by_a_model(bundle, call, example, message):
    with pytest.raises(InputError) as caught:
        getattr(edge_runtime.load(bundle), call)(example)

    assert message in str(caught.value)


def test_without_the_tokenizers_package_a_text_bundle_says_what_to_install(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)

    with pytest.raises(EngineError, match=r"tokenizers package(.|\n)*pip install edge-runtime\[text\]"):
        edge_runtime.load(bundle)


def test_a_changed_tokenizer_is_refused(bundle):
    (bundle / "tokenizer.json").write_bytes(TOKENIZER.replace(b"good", b"fine"))

    with pytest.raises(BundleError, match=r"tokenizer\.json: its checksum is not the manifest's"):
        edge_runtime.load(bundle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"signatures": ()}, r"models\[1\]\.signatures: a tflite model of free length needs one for each"),
        ({"short": True}, r"models\[1\]\.signatures: none takes 16 ids"),
        ({"shape": (16,)}, r"models\[1\]\.signatures: only a tflite model of free length has them"),
    ],
)
def test_signatures_must_take_every_length(bundle, change, message):
    manifest = read_manifest(bundle)
    first, entry = manifest.models
    if "shape" in change:
        entry = dataclasses.replace(entry, inputs=(dataclasses.replace(entry.input, shape=change["shape"]),))
    else:
        entry = dataclasses.replace(entry, signatures=entry.signatures[:-1] if "short" in change else ())

    with pytest.raises(BundleError, match=message):
        write_manifest(bundle, dataclasses.replace(manifest, models=(first, entry)))


def test_a_signature_that_the_file_lacks_is_refused(bundle):
    text = (bundle / "manifest.json").read_text().replace('"ids_8"', '"ids_9"')
    (bundle / "manifest.json").write_text(text)

    with pytest.raises(EngineError, match="refuses the model"):
        edge_runtime.load(bundle, engine="tflite")
    assert LENGTHS == (4, 8, 16)
