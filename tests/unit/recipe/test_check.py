"""What is wrong between the parts of a recipe, and with the files it names."""

import gzip
import struct

import numpy as np
import pytest

from compress.errors import RecipeError
from compress.model.checkpoint import load_checkpoint, save_checkpoint
from compress.model.model import Model
from compress.model.nets import build_net
from compress.model.shapes import parameter_shapes
from compress.recipe.load import parse_recipe
from compress.stages.placement import place_quantizers


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("  train: {epochs: 2}\n", "", "line 4: teacher: a net begins with random weights; add `train: {epochs: 10}`"),
        ("net: mlp\n", "net: bert\n", "teacher.net: bert: it takes texts, the data are numbers; choose ds-cnn or mlp"),
        ("width: 8", "with: 8", "line 7: student.args.with: ds-cnn takes no 'with'; did you mean 'width'?"),
        ("width: 8", "width: wide", "line 7: student.args: ds-cnn: width: want a whole number from 1 to 4096, got"),
        ("width: 8", "width: 0", "line 7: student.args: ds-cnn: width: want a whole number from 1 to 4096, got 0"),
        ("blocks: 2", "blocks: 4000", "line 7: student.args: ds-cnn: 4000 blocks; at most 2000; make it shallower"),
        ("net: mlp\n", "net: mlp\n  args: {hidden: 8}\n", "mlp: hidden: want a list of 1 to 16 whole numbers from 1"),
        ("student: {net: ds-cnn, args: {width: 8, blocks: 2}}\n", "",
         "line 8: stages[0].distill: the model still is the teacher, so there is nothing to learn"),
        ("  - distill: {epochs: 3}\n", "",
         "line 9: stages[0]: the student still has random weights here; put a distill or train stage before"),
        ("{epochs: 3}", "{hints: [{teacher: fc, student: pool}]}",
         "stages[0].distill.hints[0].teacher: the teacher has no node 'fc'; did you mean 'fc2'?"),
        ("{epochs: 3}", "{hints: [{teacher: fc1, student: stm}]}",
         "line 9: stages[0].distill.hints[0].student: the student has no node 'stm'; did you mean 'stem'?"),
        ("{epochs: 3}", "{hints: [{teacher: fc1, student: stem}]}",
         "stages[0].distill.hints[0]: fc1 gives shape [64] and stem [8, 4, 4]; choose nodes of the same height and"),
        ("{epochs: 3}", "{attention: [{teacher: fc1, student: stem}]}",
         "fc1 gives shape [64]; attention wants images (channels, height, width)"),
        ("keep_macs: 0.8", "keep_macs: 0.01", "stages[1].prune.keep_macs: 0.01 cannot be reached: with round_to 2"),
        ("keep_macs: 0.8", "keep_macs: 0.8, layers: [stm]",
         "stages[1].prune.layers[0]: pattern 'stm' matches no layer; did you mean 'stem'?"),
        ("keep_macs: 0.8", "keep_macs: 0.8, layers: ['re:(']", "'re:(' is no regular expression: missing )"),
        ("keep_macs: 0.8", "keep_macs: 0.8, layers: []", "stages[1].prune.layers: it is empty; name layers, or leave"),
        ("keep_macs: 0.8", "keep_macs: 0.8, layers: [classifier]",
         "stages[1].prune.layers: no channel can be removed (stem: not chosen by `layers`"),
        ("keep_macs: 0.8", "keep_macs: 0.8, learning_rate: 0.1",
         "stages[1].prune.learning_rate: it has no effect: finetune_epochs is 0, so nothing is trained; leave it out"),
        ("how: static", "how: static, keep_float: [re:.*]",
         "line 11: stages[2].quantize.keep_float: it leaves no layer to quantize; shorten it"),
        ("how: static", "how: static, percentile: 99.9",
         "line 11: stages[2].quantize.percentile: it has no effect: calibration is minmax; leave it out"),
        ("how: static", "how: dynamic, calibration: entropy", "it has no effect: how is dynamic, which needs no calib"),
        ("how: static", "how: static, temperature: 2", "it has no effect: how is static, which trains nothing"),
        ("how: static}", "how: static}\n  - quantize: {how: static}", "stages[3].quantize: the model is quantized"),
        ("how: static}", "how: static}\n  - prune: {keep_macs: 0.9, round_to: 1}", "put prune before quantize"),
        ("[onnx, tflite]", "[onnx, tflite, onnx]", "line 12: export[2]: onnx stands here twice"),
        ("export:", "target: armv7\nexport:", None),
        ("export: [onnx, tflite]", "target: armv7\nexport: [onnx]", "export: target armv7 has no ONNX Runtime; add"),
        ("export: [onnx, tflite]", "target: tflite\nexport: [onnx]", "target tflite runs TFLite files only; add"),
        ("[cpu]", "[cpu, cpu]", "line 13: measure.devices[1]: cpu stands here twice"),
        ("{cpu: 1}", "{gpu: 1}", "line 15: budget.latency_ms.gpu: 'gpu' is not among measure.devices"),
        ("{cpu: 1}", "{cpu: 1}\n  consistency_drop_points: 2",
         "line 16: budget.consistency_drop_points: nothing is transformed; add `invariance:"),
        ("{source: digits}", "{source: digits, revision: abc}", "data.revision: it belongs to hf; leave it out"),
        ("{source: digits}", "{source: fashion-mnist, test: 0.1}", "data.test: it has no effect: this source has"),
        ("{source: digits}", "{hf: a/b}", "line 3: data.revision: missing; give the commit of the data set"),
        ("{source: digits}", "{idx: nowhere}", "line 3: data.idx: nowhere: there is no such folder; give the folder"),
        ("{source: digits}", "{npz: nowhere.npz}", "line 3: data.npz: nowhere.npz: there is no such file; give an"),
        ("net: mlp\n  train: {epochs: 2}", "checkpoint: gone", "teacher.checkpoint: gone: there is no such folder"),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_are_reported(change, problems, old, new, line):
    text = change(old, new)
    if line is None:
        assert parse_recipe(text, "r.yaml")
        return
    found = problems(text)
    assert len(found) == 1, found
    assert line in found[0]


def test_costs_want_a_row_and_a_column_a_class(change, problems):
    found = problems(change("export:", "costs: [[0, 1], [1, 0]]\nexport:"))

    assert [f.split(": ", 1)[1] for f in found] == [
        "costs[0]: it holds 2 costs, want one for each of 10 classes",
        "costs[1]: it holds 2 costs, want one for each of 10 classes",
        "costs: it holds 2 rows, want one for each of 10 classes",
    ]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("{transformations: {sparkle: [1]}}", "sparkle"),
        ("{transformations: {shift: []}}", "invariance.transformations.shift"),
        ("{examples: 5}", "name a transformation with its strengths"),
        ("{swaps: [[he]]}", "invariance.swaps[0]"),
        ("{swaps: [[he, she]]}", "invariance.swaps: words are swapped in texts alone; leave it out"),
        ("{transformations: {jitter: [0.1]}}", "jitter is not made for such data; made for them: shift, rotation,"),
    ],
)
def test_a_wrong_invariance_is_reported(change, problems, value, problem):
    found = problems(change("export:", f"invariance: {value}\nexport:"))

    assert len(found) == 1
    assert problem in found[0]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("slices: [{column: sharpness, above: 1}]", "slices[0].column: 'sharpness' is no column of data.metadata and"),
        ("slices: [{column: brightnes, above: 1}]", "did you mean 'brightness'?"),
        ("slices: [{column: brightness}]", "slices[0]: give above, below or both for numbers, or one_of for texts"),
        ("slices: [{column: brightness, above: 3, below: 2}]", "above: 3 and below: 2 leave nothing between"),
        ("sensitive: [site]", "sensitive[0]: 'site' is no column of data.metadata; add it there"),
    ],
)
def test_slices_and_groups_want_columns_that_are_there(change, problems, value, problem):
    found = problems(change("export:", f"{value}\nexport:"))

    assert len(found) == 1, found
    assert problem in found[0]


def test_the_same_float_file_is_not_wanted_twice(change, problems):
    text = change("  - quantize: {how: static}\n", "", change("[onnx, tflite]", "[onnx, onnx-float32]"))

    assert problems(text) == ["line 11: export[1]: nothing is quantized, so this is the same file as onnx"]


def test_a_student_that_no_stage_uses_is_reported(good, problems):
    text = good.split("stages:")[0]

    assert problems(text) == ["line 7: student: no stage makes use of it; begin `stages` with distill or train"]


def test_sound_parts_are_checked_beside_faulty_ones(change, problems):
    found = problems(change("{source: digits}", "{source: digits, limit: x}", change("width: 8", "with: 8")))

    assert found == [
        "line 3: data.limit: want a whole number, got the text 'x'",
        "line 7: student.args.with: ds-cnn takes no 'with'; did you mean 'width'?",
    ]


def test_pruning_the_teacher_makes_distilling_from_it_sensible(change):
    text = change("student: {net: ds-cnn, args: {width: 8, blocks: 2}}\n", "")
    text = change("  - distill: {epochs: 3}\n  - prune: {keep_macs: 0.8, round_to: 2}\n",
                  "  - prune: {keep_macs: 0.8, round_to: 2}\n  - distill: {epochs: 3}\n", text)  # fmt: skip

    assert [s.kind for s in parse_recipe(text, "r.yaml").stages] == ["prune", "distill", "quantize"]


def checkpoint(folder, shape=(1, 8, 8), classes=10):
    graph = build_net("mlp", {"hidden": [4]}, shape, classes)
    weights = {f"{n.name}.{p}": np.zeros(s, np.float32) for n in graph for p, s in parameter_shapes(n).items()}
    save_checkpoint(folder, Model(graph, weights))
    return folder


def with_checkpoint(change, folder):
    return change("net: mlp\n  train: {epochs: 2}", f"checkpoint: '{folder}'")


def test_a_checkpoint_that_is_quantized_already_is_known_before_the_run(tmp_path, change, problems):
    model = load_checkpoint(checkpoint(tmp_path / "float"))
    graph, _ = place_quantizers(model.graph, [n.name for n in model.graph.layers], 8)
    weights = {f"{n.name}.{p}": np.ones(s, np.float32) for n in graph for p, s in parameter_shapes(n).items()}
    weights |= {k: v.astype(np.int32) for k, v in weights.items() if k.endswith("zero_point")}
    save_checkpoint(tmp_path / "int8", Model(graph, weights))
    student = change("net: ds-cnn, args: {width: 8, blocks: 2}", f"checkpoint: '{tmp_path / 'int8'}'")

    assert any("stages[1].prune: the model is quantized already; put prune before" in p for p in problems(student))
    assert any("the model is quantized already; keep one quantize stage" in p for p in problems(student))


def test_a_checkpoint_is_checked_against_the_data(tmp_path, change, problems):
    good = checkpoint(tmp_path / "good")
    assert parse_recipe(with_checkpoint(change, good), "r.yaml").teacher.checkpoint == str(good)

    wide = checkpoint(tmp_path / "wide", shape=(1, 9, 9))
    assert "it takes inputs of shape [1, 9, 9], the data has [1, 8, 8]" in problems(with_checkpoint(change, wide))[0]
    three = checkpoint(tmp_path / "three", classes=3)
    assert "its output has shape [3], the data has 10 classes" in problems(with_checkpoint(change, three))[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "model.json cannot be read"),
        ("[" * 100_000, "model.json cannot be read"),
        ("[]", "model.json is no compress checkpoint"),
        ('{"format": "compress.checkpoint"}', "model.json holds no graph and digest"),
        ('{"format": "compress.checkpoint", "graph": {}, "digest": "a"}', "not a graph"),
        ('{"format": "compress.checkpoint", "digest": "a", "graph": {"output": "i", "nodes": [{"name": "i", '
         '"op": "input", "inputs": [], "attrs": {}}]}}', "its graph is malformed"),
    ],
)  # fmt: skip
def test_a_damaged_checkpoint_is_reported(tmp_path, change, problems, content, message):
    folder = checkpoint(tmp_path / "c")
    (folder / "model.json").write_text(content)

    (found,) = problems(with_checkpoint(change, folder))
    assert found.startswith("line 5: teacher.checkpoint: ")
    assert message in found


def test_a_checkpoint_without_weights_is_reported(tmp_path, change, problems):
    folder = checkpoint(tmp_path / "c")
    (folder / "weights.safetensors").unlink()

    assert "it holds no weights.safetensors" in problems(with_checkpoint(change, folder))[0]


def idx_folder(folder, size, labels):
    folder.mkdir()
    for part in ("train", "t10k"):
        images = b"\0\0\x08\x03" + struct.pack(">III", 2, size, size) + bytes(2 * size * size)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(images)
        with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz", "wb") as f:
            f.write(b"\0\0\x08\x01" + struct.pack(">I", len(labels)) + bytes(labels))
    return folder


def test_shapes_come_from_the_head_of_idx_files(tmp_path, change, problems):
    folder = idx_folder(tmp_path / "d", 8, [0, 3])
    recipe = parse_recipe(change("{source: digits}", f"{{idx: '{folder}'}}"), "r.yaml")
    assert recipe.data.idx == str(folder)

    three = checkpoint(tmp_path / "three", classes=3)
    text = with_checkpoint(change, three).replace("{source: digits}", f"{{idx: '{folder}'}}")
    assert "its output has shape [3], the data has 4 classes" in problems(text)[0]

    (folder / "t10k-images-idx3-ubyte").unlink()
    text = change("{source: digits}", f"{{idx: '{folder}'}}")
    assert "missing: t10k-images-idx3-ubyte[.gz]" in problems(text)[0]


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz"])
def test_damaged_idx_files_are_reported(tmp_path, change, problems, name):
    folder = idx_folder(tmp_path / "d", 8, [0, 3])
    (folder / name).write_bytes(b"nonsense")

    (found,) = problems(change("{source: digits}", f"{{idx: '{folder}'}}"))
    assert "no IDX file" in found or "cannot be read" in found


def test_shapes_come_from_the_head_of_npz_files(tmp_path, change, problems):
    path, x, y = tmp_path / "d.npz", np.zeros((6, 8, 8, 3), np.uint8), np.array([0, 1, 2, 3, 4, 1])
    three = with_checkpoint(change, checkpoint(tmp_path / "c")).replace("{source: digits}", f"{{npz: '{path}'}}")

    np.savez(path, x_train=x, y_train=y)
    assert "the data has [3, 8, 8]" in problems(three)[0]
    np.savez(path, x_train=x[..., 0], y_train=y)
    assert "the data has 5 classes" in problems(three)[0]
    np.savez(path, x_train=x[..., 0], y_train=y, classes=np.array(list("abcdefg")))
    assert "the data has 7 classes" in problems(three)[0]
    np.savez(path, x_train=x[..., 0])
    assert "d.npz: it lacks y_train; name its arrays" in problems(three)[0]
    np.savez(path, x_train=x[..., 0], y_train=np.array(list("abcdef")))
    assert "y_train is <U1 of shape (6,); give one whole number an example" in problems(three)[0]
    np.savez(path, x_train=x[..., 0], y_train=y + 0.5)
    assert "y_train is float64" in problems(three)[0]
    np.savez(path, x_train=np.zeros(3), y_train=y)
    assert "x_train has shape (3,)" in problems(three)[0]
    path.write_bytes(b"PK\x03\x04nonsense")
    assert "d.npz: it cannot be read" in problems(three)[0]


TEXTS = """
version: 1
name: texts
task: text-classification
data: {{source: movie-sentences{tokenizer}}}
teacher: {{net: {teacher}, train: {{epochs: 1}}}}
export: [onnx]
"""


@pytest.mark.parametrize(
    ("teacher", "tokenizer", "want"),
    [
        ("bert", "", "data.tokenizer: missing; a net brings no tokenizer"),
        ("mlp", ", tokenizer: .", "teacher.net: mlp: it takes numbers, the data are texts; choose bert"),
        ("bert, args: {vocabulary: 2000000}", ", tokenizer: .", "want a whole number from 1 to 1000000"),
    ],
)
def test_nets_that_do_not_go_with_texts(teacher, tokenizer, want):
    with pytest.raises(RecipeError) as error:
        parse_recipe(TEXTS.format(teacher=teacher, tokenizer=tokenizer), "r.yaml")
    assert want in str(error.value)


def test_bert_with_the_vocabulary_it_has_by_default():
    assert parse_recipe(TEXTS.format(teacher="bert", tokenizer=", tokenizer: ."), "r.yaml").teacher.net == "bert"
