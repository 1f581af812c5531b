"""Stages on a tiny text encoder: their own tokenizers, copies that only the teacher labels, heads that go whole."""

import numpy as np
import pytest
import torch
from edge_runtime.text import TextPreprocessing

from compress.data.copies import MASK, altered_copies
from compress.data.dataset import Dataset, Split, Untokenized
from compress.errors import ModelError, StageError
from compress.export.counts import count_onnx
from compress.export.onnx import to_onnx
from compress.export.tflite import to_tflite
from compress.model.bert import BertShape, bert_graph
from compress.model.channels import channel_groups
from compress.model.encoder_weights import take_layers
from compress.model.module import GraphModule, initial_model
from compress.model.shapes import count_macs
from compress.readers.texts import Texts
from compress.recipe.schema import (
    AugmentConfig,
    DistillConfig,
    LayerPair,
    PruneConfig,
    QuantizeConfig,
    TrainConfig,
    VocabularyConfig,
)
from compress.stages.base import Context, run_stage
from compress.stages.batches import Feed, split_batches
from compress.stages.distill import distill
from compress.stages.prune import prune
from compress.stages.quantize import quantize
from compress.stages.surgery import remove_channels
from compress.stages.teacher import make_teacher
from compress.stages.texts import TOKENS, fit_data, with_copies
from compress.stages.train import train
from compress.stages.vocabulary import in_vocabulary, narrowed, vocabulary
from tests.unit.export.test_text import in_onnx
from tests.unit.export.test_text_tflite import in_tflite
from tests.unit.model.text_folders import PIECES, write_tokenizer

GOOD, BAD = ("good", "great", "not dull", "very good"), ("bad", "dull", "not good", "very bad")
SHAPE = BertShape(vocabulary=len(PIECES), layers=3, width=16, heads=4, ffn=32, max_length=16)
SHORT = {"epochs": 1, "batch_size": 16, "learning_rate": 0.003}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    content = (folder / "tokenizer.json").read_bytes()
    rng = np.random.default_rng(0)

    def split(count):
        y = rng.integers(0, 2, count)
        said = [rng.choice((BAD, GOOD)[label]) for label in y]
        start = rng.choice(["the film is", "a story was", "the plot", "very"], count)
        return Split(Texts(f"{a} {b}" for a, b in zip(start, said, strict=True)), y.astype(np.int64))

    ready = TextPreprocessing("tokenizer.json", 16, (8, 16)).with_tokenizer(content)
    train, validation, empty = split(160), split(40), Split(Texts([]), np.zeros(0, np.int64))
    return Dataset("tiny", ("bad", "good"), ready, train, validation, empty, train.take(np.arange(32)), "tiny texts")


@pytest.fixture(scope="module")
def teacher(texts):
    model = initial_model(bert_graph(SHAPE, 2), 0)
    config = TrainConfig(epochs=6, batch_size=16, learning_rate=0.005)
    return run_stage(train, model, config, Context(0, texts), where="train").model


def logits(model, data, split):
    module, own = GraphModule(model).eval(), fit_data(data, model)
    out = torch.zeros(len(split), 2)
    with torch.no_grad():
        for x, _, places in split_batches(own, split, CPU):
            out[places] = module(x)
    return out


def accuracy(model, data):
    return float((logits(model, data, data.validation).argmax(1).numpy() == data.validation.y).mean())


def test_the_teacher_learns(teacher, texts):
    assert accuracy(teacher, texts) > 0.9


def test_an_epoch_holds_every_text_once_in_batches_of_about_one_length(texts):
    feed = Feed(texts, TrainConfig(batch_size=16), seed=0, device=CPU)
    batches = list(feed.epoch(0))

    assert sorted(int(i) for b in batches for i in b.index) == list(range(160))
    assert all(b.x.shape[1] in (8, 16) for b in batches)
    assert [b.index.tolist() for b in feed.epoch(0)] == [b.index.tolist() for b in batches]
    assert [b.index.tolist() for b in feed.epoch(1)] != [b.index.tolist() for b in batches]
    lengths = [(b.x != 0).sum(1) for b in batches]
    assert max(int(n.max() - n.min()) for n in lengths) <= 3


def test_split_batches_cover_texts_between_processes(texts):
    seen = [int(i) for r in (0, 1) for _, _, p in split_batches(texts, texts.train, CPU, rank=r, world=2) for i in p]

    assert sorted(seen) == list(range(160))


# -- altered copies ---------------------------------------------------------------------------------------------------


def test_copies_repeat_for_a_seed_and_differ_from_their_sources(texts):
    copies = altered_copies(texts.train.x, 3, seed=0)

    assert copies == altered_copies(texts.train.x, 3, seed=0)
    assert copies != altered_copies(texts.train.x, 3, seed=1)
    assert len(copies) == 480
    assert all(copies)
    assert np.mean([c != t for c, t in zip(copies, [*texts.train.x] * 3, strict=True)]) > 0.5
    known = {MASK, *(w for t in texts.train.x for w in t.split())}
    assert {w for c in copies for w in c.split()} <= known


def test_a_text_of_one_word_is_never_emptied():
    assert all(altered_copies(Texts(["good", "x"]), 50, seed=0))


def test_a_copy_is_labelled_by_the_teacher_alone(teacher, texts):
    config = DistillConfig(augment=AugmentConfig(text_copies=2), batch_size=480, **{"epochs": 1})
    wise = make_teacher(teacher, texts, config, 0, where="test")
    data = with_copies(texts, config, 0)
    (batch,) = Feed(data, config, seed=0, device=CPU).epoch(0)
    wanted = wise.logits(batch)
    targets = wise.targets(batch, wanted)

    assert len(data.train) == 480
    own = batch.index < 160
    torch.testing.assert_close(targets[own], batch.targets[own])
    torch.testing.assert_close(targets[~own], torch.softmax(wanted[~own], 1))
    torch.testing.assert_close(wanted[own], logits(teacher, texts, texts.train)[batch.index[own]], rtol=1e-4, atol=1e-4)


# -- vocabulary -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trimmed(teacher, texts):
    return run_stage(vocabulary, teacher, VocabularyConfig(), Context(0, texts), where="vocabulary")


def test_texts_whose_tokens_all_stay_get_the_same_logits(trimmed, teacher, texts):
    before, after = trimmed.metrics["tokens"]

    assert before == len(PIECES)
    assert after < before
    assert trimmed.model.weights["embedding.weight"].shape == (after, 16)
    assert trimmed.metrics["validation_texts_respelled"] == 0
    torch.testing.assert_close(
        logits(trimmed.model, texts, texts.train), logits(teacher, texts, texts.train), rtol=0, atol=0
    )


def test_an_unseen_word_falls_back_to_pieces(trimmed, texts):
    own = fit_data(texts, trimmed.model).preprocessing
    kept = [PIECES[i] for i in trimmed.model.weights[TOKENS]]

    assert "actor" not in kept
    assert "story" in kept
    row = own(["actor"])[0]
    assert [kept[i] for i in row if i != own.pad_id] == ["[CLS]", "a", "##c", "##t", "##o", "##r", "[SEP]"]
    assert own.pad_id == kept.index("[PAD]")


def test_min_count_counts_texts(teacher, texts):
    often = run_stage(vocabulary, teacher, VocabularyConfig(min_count=30), Context(0, texts), where="v")

    assert "story" in [PIECES[i] for i in often.model.weights[TOKENS]]
    assert (
        often.metrics["tokens"][1]
        < run_stage(vocabulary, teacher, VocabularyConfig(), Context(0, texts), where="v").metrics["tokens"][1] + 1
    )


def test_a_second_trimming_starts_from_the_first(trimmed, texts):
    with pytest.raises(StageError, match="use all"):
        vocabulary(trimmed.model, VocabularyConfig(), Context(0, texts))


def test_the_teacher_reads_the_student_s_tokens(trimmed, teacher, texts):
    restricted = in_vocabulary(teacher, trimmed.model)

    assert in_vocabulary(teacher, teacher) is teacher
    np.testing.assert_array_equal(restricted.weights[TOKENS], trimmed.model.weights[TOKENS])
    torch.testing.assert_close(logits(restricted, texts, texts.train), logits(teacher, texts, texts.train))
    with pytest.raises(StageError, match="tokens that the teacher's lacks"):
        in_vocabulary(trimmed.model, teacher_with_all_tokens(teacher))


def teacher_with_all_tokens(teacher):
    from compress.stages.vocabulary import with_tokens

    return with_tokens(teacher, np.arange(len(PIECES), dtype=np.int32))


def test_vocabulary_refuses_what_has_none(teacher, texts, digits, trained):
    with pytest.raises(StageError, match="takes no texts"):
        vocabulary(trained, VocabularyConfig(), Context(0, digits))
    quantized = quantize(teacher, QuantizeConfig(how="dynamic"), Context(0, texts)).model
    with pytest.raises(StageError, match="quantized already"):
        vocabulary(quantized, VocabularyConfig(), Context(0, texts))


# -- layers, heads, widths --------------------------------------------------------------------------------------------


def test_a_student_begins_as_layers_of_its_teacher(teacher):
    student = take_layers(teacher, [1, 3])

    np.testing.assert_array_equal(student.weights["layer2_query.weight"], teacher.weights["layer3_query.weight"])
    np.testing.assert_array_equal(student.weights["embedding.weight"], teacher.weights["embedding.weight"])
    assert student.graph.node("layer2_query").inputs == ("layer1_norm",)
    assert student.graph.node("pooled").inputs[0] == "layer2_norm"
    assert take_layers(teacher, [1, 2, 3]).digest() == teacher.digest()


@pytest.mark.parametrize("layers", [[0], [1, 4], [2, 1], [1, 1]])
def test_layers_that_the_teacher_lacks_are_refused(teacher, layers):
    from compress.errors import ModelError

    with pytest.raises(ModelError, match="are not some of 1 to 3, ascending"):
        take_layers(teacher, layers)


def test_inner_losses_reach_the_student_and_shrink(teacher, texts, trimmed):
    start = take_layers(trimmed.model, [1, 3])
    pairs = {
        "hints": (LayerPair(teacher="layer3_norm", student="layer2_norm"),),
        "relations": (LayerPair(teacher="layer3_attention", student="layer2_attention"),),
    }
    plain = DistillConfig(augment=AugmentConfig(text_copies=1), **SHORT)
    results = {}
    for name, config in {"plain": plain, **{k: plain.model_copy(update={k: v}) for k, v in pairs.items()}}.items():
        results[name] = run_stage(distill, start, config, Context(0, texts, teacher=teacher), where=name).model
        assert accuracy(results[name], texts) > 0.8
        assert set(results[name].weights) == set(start.weights)
    assert len({m.digest() for m in results.values()}) == 3


def test_relations_of_equal_nets_are_equal(teacher, texts):
    from compress.stages.student import Student

    config = DistillConfig(relations=(LayerPair(teacher="layer2_attention", student="layer2_attention"),))
    student = Student(teacher, teacher.graph, config, 0).eval()
    x = torch.from_numpy(texts.inputs(texts.train)[:8])
    with torch.no_grad():
        _, taps = student.net(x, taps=student.taps[0])
        same = student.distance(taps, taps, x)
        other = student.distance(taps, {k: v + torch.randn(v.shape) for k, v in taps.items()}, x)

    assert float(same) == pytest.approx(0, abs=1e-6)
    assert float(other) > 0.05


def test_relations_name_attention(teacher, texts):
    config = DistillConfig(relations=(LayerPair(teacher="layer2_query", student="layer2_attention"),))

    with pytest.raises(StageError, match="no attention 'layer2_query'"):
        distill(take_layers(teacher, [1, 2]), config, Context(0, texts, teacher=teacher))


def test_heads_and_widths_are_the_channels_of_an_encoder(teacher):
    groups = {g.name: g for g in channel_groups(teacher.graph)}

    heads = groups["layer1_query"]
    assert (heads.channels, heads.width, heads.producers) == (4, 4, ("layer1_query", "layer1_key", "layer1_value"))
    assert [(t.node, t.repeat) for t in heads.consumers] == [("layer1_attention_out", 4)]
    assert (groups["layer1_ffn_in"].channels, groups["layer1_ffn_in"].prunable) == (32, True)
    assert "a norm mixes them" in groups["embedding"].reason
    assert "classes" in groups["classifier"].reason


def test_removing_a_silent_head_and_silent_features_changes_nothing(teacher, texts):
    weights = {k: v.copy() for k, v in teacher.weights.items()}
    weights["layer2_attention_out.weight"][:, 4:8] = 0
    weights["layer1_ffn_out.weight"][:, [3, 30]] = 0
    silent = type(teacher)(teacher.graph, weights)
    features = [i for i in range(32) if i not in (3, 30)]
    small = remove_channels(silent, {"layer2_query": [0, 2, 3], "layer1_ffn_in": features})

    assert small.graph.node("layer2_attention").attrs["heads"] == 3
    assert small.weights["layer2_value.weight"].shape == (12, 16)
    want, got = logits(silent, texts, texts.validation), logits(small, texts, texts.validation)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    lively = remove_channels(teacher, {"layer2_query": [0, 2, 3]})
    assert (logits(lively, texts, texts.validation) - logits(teacher, texts, texts.validation)).abs().max() > 1e-3


@pytest.mark.parametrize("importance", ["magnitude", "taylor"])
def test_pruning_reaches_its_goal_in_whole_heads(teacher, texts, importance):
    config = PruneConfig(keep_macs=0.6, round_to=8, importance=importance, finetune_epochs=1, batch_size=16)
    result = run_stage(prune, teacher, config, Context(0, texts, teacher=teacher), where="prune")
    graph = result.model.graph

    assert 0.5 < count_macs(graph) / count_macs(teacher.graph) <= 0.6
    assert all(n.attrs["heads"] % 2 == 0 for n in graph if n.op == "attention")
    assert all(graph.node(f"layer{i}_ffn_in").attrs["out_features"] % 8 == 0 for i in (1, 2, 3))
    assert "embedding" in result.kept


def test_taylor_spares_the_head_that_matters(teacher, texts):
    from compress.stages.importance import taylor

    weights = {k: v.copy() for k, v in teacher.weights.items()}
    weights["layer2_attention_out.weight"][:, 4:8] = 0
    silent = type(teacher)(teacher.graph, weights)
    groups = [g for g in channel_groups(silent.graph) if g.name == "layer2_query"]

    scores = taylor(silent, groups, texts)["layer2_query"]
    assert scores[1] == pytest.approx(0, abs=1e-6)
    assert (scores[[0, 2, 3]] > 1e-5).all()


@pytest.mark.parametrize("how", ["static", "qat", "dynamic"])
def test_quantized_encoders_keep_what_they_know(trimmed, teacher, texts, how):
    training = {"epochs": 1, "batch_size": 16} if how == "qat" else {}
    config = QuantizeConfig(how=how, **training)
    result = run_stage(quantize, trimmed.model, config, Context(0, texts, teacher=teacher), where=how)
    graph = result.model.graph

    assert accuracy(result.model, texts) > 0.9
    assert all("weight_bits" in n.attrs for n in graph.layers)
    assert sum(n.op == "quantize" for n in graph) == (0 if how == "dynamic" else 3 * 4 + 1)


def test_data_without_a_tokenizer_says_so(texts):
    with pytest.raises(Exception, match="texts have no numbers without a tokenizer"):
        _ = Dataset("t", ("a", "b"), Untokenized(), *[texts.train] * 4, "f").input_shape


def test_a_narrow_table_is_widened_again(teacher, texts):
    config = VocabularyConfig(min_count=1, rank=8)
    result = run_stage(vocabulary, teacher, config, Context(0, texts), where="vocabulary")
    model, kept = result.model, result.metrics["tokens"][1]

    assert model.weights["embedding.weight"].shape == (kept, 8)
    assert model.weights["embedding_wide.weight"].shape == (16, 8)
    assert model.graph.node("positions").inputs == ("embedding_wide",)
    assert result.metrics["table_parameters"] == [len(PIECES) * 16, kept * 8 + 8 * 16]
    assert 0 < result.metrics["table_error"] < 0.5


def test_what_the_texts_read_loses_least(teacher, texts):
    plain = run_stage(vocabulary, teacher, VocabularyConfig(), Context(0, texts), where="v").model
    table, own = plain.weights["embedding.weight"], fit_data(texts, plain)
    counts = np.bincount(np.concatenate([np.unique(row) for row in own.inputs(own.train)]), minlength=len(table))

    def lost(weights):
        model, _ = narrowed(plain, 6, weights)
        gap = model.weights["embedding.weight"] @ model.weights["embedding_wide.weight"].T - table
        return ((gap**2).sum(1) * counts).sum() / ((table**2).sum(1) * counts).sum()

    assert lost(counts) < 0.8 * lost(np.ones_like(counts))


def test_a_narrow_table_of_full_rank_changes_nothing(teacher, texts):
    plain = run_stage(vocabulary, teacher, VocabularyConfig(), Context(0, texts), where="v").model
    same, error = narrowed(plain, 15, np.ones(plain.graph.node("embedding").attrs["vocabulary"], np.int64))

    assert error < 0.05
    with pytest.raises(ModelError, match="cannot be factorised to 16"):
        narrowed(plain, 16, np.ones(3, np.int64))
    with pytest.raises(ModelError, match="a smaller rank, once"):
        narrowed(same, 4, np.ones(3, np.int64))


@pytest.mark.parametrize("how", ["static", "dynamic"])
def test_a_narrow_table_goes_through_pruning_quantizing_and_both_exports(teacher, texts, how):
    narrow = run_stage(vocabulary, teacher, VocabularyConfig(rank=12), Context(0, texts), where="v").model
    config = PruneConfig(keep_macs=0.7, round_to=8, finetune_epochs=1, batch_size=16, learning_rate=0.003)
    pruned = run_stage(prune, narrow, config, Context(0, texts, teacher), where="prune").model
    model = run_stage(quantize, pruned, QuantizeConfig(how=how), Context(0, texts), where="quantize").model
    own = fit_data(texts, model)
    ids = own.inputs(own.validation)
    want = logits(model, texts, texts.validation).numpy()

    assert pruned.graph.node("embedding_wide").attrs == narrow.graph.node("embedding_wide").attrs
    assert model.graph.node("embedding_wide").attrs["weight_bits"] == 8
    onnx = np.concatenate([in_onnx(to_onnx(model, name="t"), row[None].astype(np.int64)) for row in ids])
    lite = in_tflite(to_tflite(model, name="t", lengths=(8, 16)), ids)
    for got in (onnx, lite):
        assert (got.argmax(1) == want.argmax(1)).mean() > 0.95
        assert np.abs(got - want).max() < 0.3 * want.std()
    kernels = count_onnx(to_onnx(model, name="t")).layer_kernels
    assert kernels["embedding_wide"] != "float"
    assert kernels["embedding"] == "integer"
