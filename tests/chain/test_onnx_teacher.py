"""`teacher: {onnx: FILE}`: a file without training code is compressed itself if possible, else it teaches a student."""

import onnx
import pytest
from onnx import helper

from compress.result import load_result
from tests.chain.conftest import Cli

pytestmark = pytest.mark.slow

COMMON = """\
version: 1
name: from_file
data: {source: digits, limit: 500, calibration: 64}
teacher: {onnx: teacher.onnx}
export: [onnx, tflite]
measure: {profile: smoke}
allow_slower: true
"""
STUDENT = "student: {net: ds-cnn, args: {width: 16, blocks: 2}}\n"
DISTIL = "stages: [{distill: {epochs: 2, learning_rate: 0.02}}, {quantize: {how: static}}]\n"


@pytest.fixture
def cli_with_file(tmp_path, finished):
    """A Cli whose folder holds the teacher of a finished run as an ONNX file that somebody gave us."""
    cli = Cli(tmp_path)
    data = (finished.folder / "runs/digits_tiny/artefacts/00-teacher.onnx/model.onnx").read_bytes()
    (tmp_path / "teacher.onnx").write_bytes(data)
    return cli


def make_foreign(path):
    """The same function with two operators that compress has not: sinh(asinh(x))."""
    model = onnx.load(path)
    out = model.graph.output[0].name
    last = next(n for n in model.graph.node if out in n.output)
    last.output[0] = "before"
    model.graph.node.append(helper.make_node("Asinh", ["before"], ["between"]))
    model.graph.node.append(helper.make_node("Sinh", ["between"], [out]))
    onnx.save(model, path)


def test_a_file_in_our_operators_is_compressed_itself(cli_with_file):
    folder = cli_with_file.folder
    (folder / "r.yaml").write_text(COMMON + "stages: [{quantize: {how: static}}]\n")

    cli_with_file("run", "r.yaml")
    result = load_result(folder / "runs/from_file/result.json")

    first, int8 = result.artefact("00-teacher.onnx"), result.artefact("01-quantize.onnx")
    assert int8.kernels["float"] == 0
    assert int8.kernels["integer"] == len(first.layers)
    assert abs(int8.accuracy[1].top1 - first.accuracy[1].top1) < 0.03
    assert all(h.ok for h in result.ledger)


def test_any_other_file_teaches_and_is_what_the_student_is_compared_with(cli_with_file):
    folder = cli_with_file.folder
    make_foreign(folder / "teacher.onnx")
    (folder / "r.yaml").write_text(COMMON + STUDENT + DISTIL)

    cli_with_file("run", "r.yaml")
    result = load_result(folder / "runs/from_file/result.json")

    teacher, last = result.artefact("00-teacher.onnx"), result.artefact("02-quantize.onnx")
    assert "Sinh" in {n.op_type for n in onnx.load(folder / "runs/from_file" / teacher.path).graph.node}
    assert teacher.operators["Sinh"] == 1
    assert teacher.parameters > 10_000
    assert teacher.accuracy[1].top1 > 0.7
    assert last.paired is not None
    assert last.latency[0].ratio is not None
    assert ("00-teacher", "00-teacher.onnx") in {(h.source, h.target) for h in result.ledger}
    assert ("00-teacher", "01-distill") in {(h.source, h.target) for h in result.ledger}


def test_lint_says_what_such_a_file_cannot_do(cli_with_file):
    folder = cli_with_file.folder
    make_foreign(folder / "teacher.onnx")
    (folder / "r.yaml").write_text(COMMON + "stages: [{quantize: {how: static}}]\n")

    done = cli_with_file("lint", "r.yaml", check=2)

    assert (
        "teacher.onnx: compress cannot take it apart (operator Asinh), so it can only teach; name a student"
        in done.stderr
    )
    (folder / "r.yaml").write_text(COMMON.replace("teacher.onnx", "none.onnx") + STUDENT + DISTIL)
    assert "there is no such file" in cli_with_file("lint", "r.yaml", check=2).stderr
