"""A model folder's tokenizer as one tokenizer.json, checked against the model, and the same for fewer tokens."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from compress.errors import MissingExtraError, ModelError

TOKENIZER = "tokenizer.json"
_OTHERS = ("vocab.txt", "tokenizer_config.json")
_FEWEST = 0.9  # of the model's tokens that its own tokenizer names: tables are padded, but not by a tenth


def tokenizer_files(folder: Path) -> tuple[Path, ...]:
    """The files a folder's tokenizer is read from.

    Raises:
        ModelError: there is none.
    """
    if (folder / TOKENIZER).is_file():
        return (folder / TOKENIZER,)
    if (folder / _OTHERS[0]).is_file():
        return tuple(folder / n for n in _OTHERS if (folder / n).is_file())
    fix = "copy tokenizer.json from where the model came; a tokenizer of Python code cannot be shipped to a device"
    raise ModelError(f"it holds neither {TOKENIZER} nor {_OTHERS[0]}", str(folder), fix)


def read_tokenizer(folder: Path) -> bytes:
    """tokenizer.json, or one made from vocab.txt as BERT's tokenizer does it.

    Raises:
        ModelError: a file is missing or malformed.
        MissingExtraError: only vocab.txt is there, and the tokenizers package is not.
    """
    files = tokenizer_files(folder)
    try:
        if files[0].name == TOKENIZER:
            return files[0].read_bytes()
        settings = json.loads(files[1].read_text(encoding="utf-8")) if len(files) > 1 else {}
        return _from_vocabulary(files[0].read_text(encoding="utf-8"), settings)
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"its tokenizer cannot be read: {error}", str(folder), "copy its files again") from error


def _from_vocabulary(text: str, settings: Mapping[str, Any]) -> bytes:
    try:
        from tokenizers import BertWordPieceTokenizer
    except ImportError as error:
        fix = "pip install 'compress-edge[text]'"
        raise MissingExtraError("reading vocab.txt needs the tokenizers package", "tokenizer", fix) from error
    vocabulary = {piece: i for i, piece in enumerate(text.rstrip("\n").split("\n"))}
    made = BertWordPieceTokenizer(
        vocabulary,
        lowercase=bool(settings.get("do_lower_case", True)),
        strip_accents=settings.get("strip_accents"),
        handle_chinese_chars=bool(settings.get("tokenize_chinese_chars", True)),
    )
    return str(made.to_str()).encode()


def check_tokenizer(content: bytes, vocabulary: int, pad_id: int, where: str) -> None:
    """Refuse a tokenizer that does not belong to a model with this many tokens.

    Raises:
        ModelError: with what does not fit.
    """
    fix = "give the tokenizer.json that came with the model; `net: bert` takes its size as args: {vocabulary: ...}"
    pieces = vocabulary_of(content, where)
    highest = max(pieces.values(), default=0)
    if highest >= vocabulary:
        what = f"the tokenizer knows token {highest}, the model's table ends at {vocabulary - 1}: it is another model's"
        raise ModelError(what, where, fix)
    if len(pieces) < _FEWEST * vocabulary:
        what = f"the tokenizer knows {len(pieces):,} tokens, the model {vocabulary:,}: it is another model's"
        raise ModelError(what, where, fix)
    pads = [piece for piece, i in pieces.items() if i == pad_id]
    if not pads or "pad" not in pads[0].lower():
        what = f"the model pads with token {pad_id}, which the tokenizer calls {pads[0] if pads else 'nothing'!r}"
        raise ModelError(what, where, fix)


def vocabulary_of(content: bytes, where: str) -> dict[str, int]:
    """Token text -> id, added tokens included.

    Raises:
        ModelError: it is no tokenizer.json.
    """
    try:
        doc = json.loads(content)
        vocabulary = doc["model"]["vocab"]
        pieces = dict(vocabulary) if isinstance(vocabulary, dict) else {p[0]: i for i, p in enumerate(vocabulary)}
        pieces |= {t["content"]: t["id"] for t in doc.get("added_tokens") or ()}
        if not all(type(i) is int and i >= 0 for i in pieces.values()):
            raise ValueError("a token's id is no whole number")
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ModelError(f"it is no tokenizer.json: {error!r}", where, "copy it again from where it came") from error
    return pieces


def is_word_piece(content: bytes) -> bool:
    """True for a tokenizer whose unseen words fall back to pieces and whose tokens can therefore be taken away."""
    model = json.loads(content).get("model", {})
    return model.get("type") == "WordPiece" or ("continuing_subword_prefix" in model and "merges" not in model)


def fallback_tokens(content: bytes) -> set[int]:
    """What a trimmed vocabulary always keeps: special tokens, and single characters, begun and continued."""
    doc = json.loads(content)
    prefix = doc["model"].get("continuing_subword_prefix", "##")
    single = {i for piece, i in doc["model"]["vocab"].items() if len(piece.removeprefix(prefix)) == 1}
    special = {t["id"] for t in doc.get("added_tokens") or ()}
    return single | special | {doc["model"]["vocab"][doc["model"]["unk_token"]]}


def trim_tokenizer(content: bytes, keep: Iterable[int]) -> bytes:
    """The tokenizer with the kept tokens alone: the i-th of them becomes token i.

    A word that is no longer a token is cut into the longest pieces that still are, as WordPiece does with any word it
    does not know (Wu et al. 2016, arXiv:1609.08144, section 4.1).

    Raises:
        ModelError: it is no WordPiece tokenizer, or a special token is not kept.
    """
    where, new = "vocabulary", {old: i for i, old in enumerate(keep)}
    if not is_word_piece(content):
        kind = json.loads(content).get("model", {}).get("type")
        what = f"the tokenizer is of type {kind}; without some of its tokens it would spell other texts than before"
        raise ModelError(what, where, "leave the vocabulary stage out; it takes WordPiece tokenizers (BERT, MiniLM)")
    doc = json.loads(content)
    doc["model"]["vocab"] = {p: new[i] for p, i in doc["model"]["vocab"].items() if i in new}
    try:
        for token in doc.get("added_tokens") or ():
            token["id"] = new[token["id"]]
        for token in ((doc.get("post_processor") or {}).get("special_tokens") or {}).values():
            token["ids"] = [new[i] for i in token["ids"]]
        for name in ("sep", "cls"):  # of the older BertProcessing
            if isinstance(pair := (doc.get("post_processor") or {}).get(name), list):
                pair[1] = new[pair[1]]
    except KeyError as error:
        raise ModelError(f"token {error} is special and has to stay", where, "keep all special tokens") from error
    return json.dumps(doc, ensure_ascii=False, separators=(",", ":")).encode()


def pad_of(content: bytes, where: str) -> int:
    """The id that a tokenizer fills texts up with.

    Raises:
        ModelError: it has none, or is no tokenizer.json.
    """
    pieces = vocabulary_of(content, where)
    for piece in ("[PAD]", "<pad>"):
        if piece in pieces:
            return pieces[piece]
    raise ModelError("it has neither [PAD] nor <pad>", where, "use a tokenizer that can fill texts up to one length")
