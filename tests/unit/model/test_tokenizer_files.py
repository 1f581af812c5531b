"""Tokenizers of model folders: read, held against the model, and trimmed without changing what they spell."""

import json

import pytest
from edge_runtime.text import TextPreprocessing
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from compress.errors import ModelError
from compress.model.tokenizer_files import (
    check_tokenizer,
    fallback_tokens,
    pad_of,
    read_tokenizer,
    tokenizer_files,
    trim_tokenizer,
    vocabulary_of,
)
from tests.unit.model.text_folders import PIECES, SPECIAL, WORDS, write_tokenizer

AWKWARD = ("", " ", "\U0001f600 good", "GOOD Film!!", "g\u00f6\u00f6d \u0444\u0438\u043b\u044c\u043c \u6620\u753b",
           "a" * 10_000, "\x00\x07bad\u200b", "[MASK] [PAD] good")  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(path)
    return path


def words_of(content):
    return Tokenizer.from_str(content.decode())


def test_vocab_txt_alone_spells_as_transformers_does(tmp_path, folder):
    import transformers

    (tmp_path / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    theirs = transformers.BertTokenizer.from_pretrained(tmp_path)
    ours = words_of(read_tokenizer(tmp_path))

    assert [p.name for p in tokenizer_files(tmp_path)] == ["vocab.txt", "tokenizer_config.json"]
    for text in AWKWARD:
        assert ours.encode(text).ids == theirs(text)["input_ids"]


def test_the_bundle_s_ids_are_those_of_transformers(folder):
    import transformers

    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), pad_token="[PAD]")
    ours = TextPreprocessing("tokenizer.json", 12, (4, 12)).with_tokenizer(read_tokenizer(folder))

    for text in AWKWARD:
        want = theirs(text, truncation=True, max_length=12)["input_ids"]
        assert [i for i in ours([text])[0].tolist() if i != 0 or 0 in want][: len(want)] == want


def test_a_tokenizer_that_fits_is_let_through(folder):
    check_tokenizer(read_tokenizer(folder), len(PIECES), 0, "here")
    check_tokenizer(read_tokenizer(folder), len(PIECES) + 3, 0, "here")  # tables are padded to round numbers
    assert pad_of(read_tokenizer(folder), "here") == 0


@pytest.mark.parametrize(
    ("vocabulary", "pad_id", "match"),
    [
        (len(PIECES) - 1, 0, "knows token .* the model's table ends at"),
        (2 * len(PIECES), 0, "knows .* tokens, the model .*: it is another model's"),
        (len(PIECES), 1, r"pads with token 1, which the tokenizer calls '\[UNK\]'"),
    ],
)
def test_a_tokenizer_of_another_model_is_refused(folder, vocabulary, pad_id, match):
    with pytest.raises(ModelError, match=match):
        check_tokenizer(read_tokenizer(folder), vocabulary, pad_id, "here")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"model": {}}', b'{"model": {"vocab": {"a": "b"}}}', b"\xff"])
def test_what_is_no_tokenizer_is_refused(content):
    with pytest.raises(ModelError, match=r"no tokenizer\.json"):
        vocabulary_of(content, "here")


def test_missing_files(tmp_path):
    with pytest.raises(ModelError, match=r"neither tokenizer\.json nor vocab\.txt"):
        read_tokenizer(tmp_path)
    (tmp_path / "vocab.txt").write_text("a")
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        read_tokenizer(tmp_path)


@settings(max_examples=40)
@given(st.sets(st.sampled_from(WORDS)), st.lists(st.sampled_from([*WORDS, "goodness", "baddest", "zq", "\u6620"])))
def test_trimmed_spelling_is_the_same_where_all_words_stay_and_pieces_elsewhere(folder, kept, said):
    content = read_tokenizer(folder)
    keep = sorted(fallback_tokens(content) | {PIECES.index(w) for w in kept})
    before, after = words_of(content), words_of(trim_tokenizer(content, keep))
    text = " ".join(said)
    old, new = before.encode(text).tokens, after.encode(text).tokens

    assert all(t in SPECIAL or PIECES.index(t) in keep for t in new)
    assert [PIECES[keep[i]] for i in after.encode(text).ids] == new
    if set(old) <= {PIECES[i] for i in keep}:
        assert new == old
    if "[UNK]" not in old:
        assert "[UNK]" not in new
        assert "".join(new).replace("##", "") == "".join(old).replace("##", "")


def test_special_tokens_must_stay(folder):
    content = read_tokenizer(folder)

    with pytest.raises(ModelError, match="special and has to stay"):
        trim_tokenizer(content, sorted(fallback_tokens(content) - {PIECES.index("[CLS]")}))


def test_byte_pairs_are_not_trimmed():
    doc = {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}

    with pytest.raises(ModelError, match="of type BPE; without some of its tokens it would spell other texts"):
        trim_tokenizer(json.dumps(doc).encode(), [0])
