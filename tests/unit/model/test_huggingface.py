"""Model folders against what transformers itself computes from them, and everything that is refused."""

import json

import numpy as np
import pytest
import torch

from compress.errors import ModelError
from compress.model.encoder_weights import read_model
from compress.model.huggingface import read_config, read_graph
from compress.model.module import GraphModule
from compress.model.shapes import count_parameters
from tests.unit.model.text_folders import PIECES, edit_config, write_bert

KINDS = ("BertForSequenceClassification", "DistilBertForSequenceClassification")


def ids(count=5, length=12):
    out = torch.randint(5, len(PIECES), (count, length), generator=torch.Generator().manual_seed(1))
    out[2:3, 7:], out[3:4, 2:] = 0, 0
    return out


@pytest.fixture
def bert(tmp_path):
    write_bert(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_transformers(kind, tmp_path):
    theirs, x = write_bert(tmp_path, labels=3, kind=kind), ids()
    ours = GraphModule(read_model(tmp_path, 20, 3, seed=0)).eval()

    with torch.no_grad():
        want = theirs(input_ids=x, attention_mask=(x != 0).long()).logits
        got = ours(x)

    assert float(want.std()) > 0.1
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def test_an_encoder_alone_gets_a_fresh_classifier_over_the_mean_of_its_tokens(tmp_path):
    theirs, x = write_bert(tmp_path, kind="BertModel"), ids()
    module = GraphModule(read_model(tmp_path, 20, 4, seed=0)).eval()

    with torch.no_grad():
        real = (x != 0).float()[:, :, None]
        hidden = theirs(input_ids=x, attention_mask=(x != 0).long()).last_hidden_state
        _, taps = module(x, taps=("pooled",))

    torch.testing.assert_close(taps["pooled"], (hidden * real).sum(1) / real.sum(1), rtol=1e-5, atol=1e-5)
    assert module(x).shape == (5, 4)


def test_a_head_for_other_classes_is_not_taken_over(bert):
    a, b = read_model(bert, 20, 2, seed=0), read_model(bert, 20, 3, seed=0)

    assert a.weights["classifier.weight"].shape == (2, 16)
    assert b.weights["classifier.weight"].shape == (3, 16)
    assert not np.array_equal(a.weights["pooler.weight"], b.weights["pooler.weight"])
    np.testing.assert_array_equal(a.weights["layer1_query.weight"], b.weights["layer1_query.weight"])


def test_the_graph_is_known_without_the_weights(bert):
    (bert / "model.safetensors").unlink()

    graph = read_graph(bert, 20, 2)

    assert graph.input_shape == (20,)
    assert graph.pad_id == 0
    assert count_parameters(graph) == 16 * (len(PIECES) + 20 + 2 + 16 + 2) + 18 + 2 * (
        4 * 272 + 4 * 16 + 16 * 32 * 2 + 48
    )
    assert read_config(bert, 20).labels == ("LABEL_0", "LABEL_1")


def test_padding_does_not_matter(bert):
    module, x = GraphModule(read_model(bert, 20, 2, seed=0)).eval(), ids(1, 9)

    with torch.no_grad():
        alone, padded = module(x), module(torch.nn.functional.pad(x, (0, 8)))

    torch.testing.assert_close(alone, padded, rtol=1e-5, atol=1e-6)


def refuse(folder, match, max_length=20):
    with pytest.raises(ModelError, match=match):
        read_model(folder, max_length, 2, seed=0)


def test_a_pickle_is_refused_with_the_command_that_converts_it(bert):
    (bert / "model.safetensors").rename(bert / "pytorch_model.bin")

    refuse(bert, r"pickled \(pytorch_model.bin\)(.|\n)*python -c .*save_pretrained\('converted'\)")


def test_missing_parts_are_named(bert, tmp_path):
    with pytest.raises(ModelError, match="no such folder"):
        read_config(tmp_path / "nowhere", 20)
    (bert / "model.safetensors").unlink()
    refuse(bert, "holds no model.safetensors")
    (bert / "model.safetensors.index.json").write_text("{}")
    refuse(bert, "spread over several files")
    (bert / "config.json").unlink()
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        read_config(bert, 20)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"model_type": "gpt2"}, "type is 'gpt2'"),
        ({"model_type": ["bert"]}, "type is"),
        ({"hidden_act": "relu"}, "activation 'relu'"),
        ({"position_embedding_type": "relative_key"}, "'relative_key' positions"),
        ({"hidden_size": None}, "garbles 'hidden_size'"),
        ({"hidden_size": "16"}, r"width \('16'\)"),
        ({"hidden_size": 32}, "weights that belong to its config.json"),
        ({"num_hidden_layers": 3}, "no tensor 'encoder.layer.2"),
        ({"num_attention_heads": 3}, "no multiple of heads"),
        ({"id2label": {"a": "b"}}, "id2label"),
    ],
)
def test_a_config_that_makes_no_model_is_refused(bert, changes, match):
    edit_config(bert, **changes)

    refuse(bert, match)


def test_texts_longer_than_the_model_reads(bert):
    refuse(bert, "reads at most 24 tokens, the recipe wants 25", max_length=25)


def test_damaged_files(bert):
    content = (bert / "model.safetensors").read_bytes()
    (bert / "model.safetensors").write_bytes(content[:-10])
    refuse(bert, "cannot be read")
    (bert / "config.json").write_text("[1, 2]")
    refuse(bert, "no JSON object")
    (bert / "config.json").write_text("{")
    refuse(bert, "cannot be read")


def test_gamma_and_beta_are_old_names_of_a_norm(bert):
    from safetensors.numpy import load_file, save_file

    want = read_model(bert, 20, 2, seed=0)
    stored = load_file(bert / "model.safetensors")
    old = {k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v
           for k, v in stored.items()}  # fmt: skip
    assert set(old) != set(stored)
    save_file(old, bert / "model.safetensors")

    assert read_model(bert, 20, 2, seed=0).digest() == want.digest()
    assert json.loads((bert / "config.json").read_text())["model_type"] == "bert"
