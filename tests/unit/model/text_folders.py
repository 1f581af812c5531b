"""Tiny BERT-type model folders as transformers writes them, and their tokenizers."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = ("good", "bad", "film", "the", "it", "is", "was", "not", "very", "plot", "dull", "great", "story", *"!,.?")
PIECES = (*SPECIAL, *WORDS, *"abcdefghijklmnopqrstuvwxyz", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"))


def write_tokenizer(folder: Path) -> None:
    """A lower-casing WordPiece tokenizer of a few pieces, as BERT's."""
    vocab = {piece: i for i, piece in enumerate(PIECES)}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(t, vocab[t]) for t in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.save(str(folder / "tokenizer.json"))


def write_bert(folder: Path, *, labels: int = 2, kind: str = "BertForSequenceClassification", spread: float = 0.3):
    """A random 2-layer BERT or DistilBERT of width 16 with positions for 24 tokens; returns the transformers model."""
    import transformers

    common = {"vocab_size": len(PIECES), "max_position_embeddings": 24, "num_labels": labels, "pad_token_id": 0}
    if kind.startswith("Distil"):
        config = transformers.DistilBertConfig(dim=16, n_layers=2, n_heads=4, hidden_dim=32, **common)
    else:
        config = transformers.BertConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=32, **common
        )
    generator = torch.Generator().manual_seed(0)
    model = getattr(transformers, kind)(config).eval()
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            p.copy_(torch.randn(p.shape, generator=generator) * spread + ("LayerNorm.weight" in name))
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return model


def edit_config(folder: Path, **changes: object) -> None:
    """Rewrite some keys of config.json; None removes one."""
    path = folder / "config.json"
    doc = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in doc.items() if v is not None}))
