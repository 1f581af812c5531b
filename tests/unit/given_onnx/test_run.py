"""The whole of `compress quantize`: what it leaves, what it refuses, and when it keeps the float file."""

import json
import re
import shutil
from pathlib import Path

import edge_runtime
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from edge_runtime._onnx import import_onnxruntime

from compress.cli import main
from compress.errors import ExportError, ModelError, UsageError
from compress.given_onnx.opened import Options, lighter, open_all
from compress.given_onnx.run import FLOAT, choose, quantize_file
from compress.onnx_file.lookups import with_lookups
from compress.onnx_file.open import open_onnx
from compress.onnx_file.prepare import prepare
from compress.quantize_result import FileRow, load
from compress.report.pages.given import render, write_reports
from compress.report.text.given import markdown
from compress.result import Latency
from tests.unit.onnx_file import nets
from tests.unit.onnx_file.test_lookups import one_hot_net


def invoke(*arguments):
    return CliRunner().invoke(main, ["quantize", *map(str, arguments)])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One whole run of a classifier with labels; allow_slower, as what a smoke timing says is chance."""
    folder = tmp_path_factory.mktemp("run")
    path = nets.save(folder / "blobs.onnx", nets.conv_net(opset=11))
    x = nets.images(80)
    session = import_onnxruntime().InferenceSession(str(path))
    labels = session.run(None, {"x": x})[0].argmax(1)
    np.savez(folder / "calib.npz", x=x, labels=labels)
    options = Options(folder / "calib.npz", profile="smoke", allow_slower=True)
    return quantize_file(path, options, folder / "out"), folder


def test_it_leaves_a_bundle_that_checks_itself_and_the_file_beside_it(finished):
    result, folder = finished
    out = folder / "out"

    with edge_runtime.load(out / "bundle") as model:
        report = model.check()
        scores = model.outputs({"x": nets.images(1)})["y"]

    assert report.ok, report.message
    assert scores.shape == (1, 5)
    assert (out / "int8.onnx").read_bytes() == (out / "bundle" / "model.onnx").read_bytes()
    assert {n.op_type for n in onnx.load(out / "int8.onnx").graph.node} >= {"QuantizeLinear", "DequantizeLinear"}
    assert result.shipped in ("static", "static-layers")


def test_compress_report_writes_the_same_reports_again(finished, tmp_path):
    result, folder = finished
    written = write_reports(result, folder / "out")
    kept = {path.name: path.read_bytes() for path in written}
    shutil.copy(folder / "out" / "result.json", tmp_path)

    done = CliRunner().invoke(main, ["report", str(tmp_path)])

    assert done.exit_code == 0, done.output
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.suffix != ".json"} == kept
    assert "ships" in done.output
    assert str(tmp_path / "report.html") in done.output
    doc = json.loads((tmp_path / "result.json").read_text())
    (tmp_path / "result.json").write_text(json.dumps({**doc, "files": 3}))
    done = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert (done.exit_code, "it is damaged" in done.output) == (2, True)


def test_the_result_holds_the_evidence_and_reads_back(finished):
    result, folder = finished
    first, static, layers = result.files

    assert load(folder / "out" / "result.json") == result
    assert first.id == FLOAT
    assert first.kernels == {"integer": 0, "dynamic-integer": 0, "float": 3}
    assert static.kernels == layers.kernels == {"integer": 3, "dynamic-integer": 0, "float": 0}
    assert all(row.latency and row.latency.label == "measured" for row in result.files)
    assert static.paired is not None
    assert static.accuracy[0].count == result.examples.counts["test"] == 20
    assert first.accuracy[0].top1 == 1.0  # the labels are its own answers
    assert {x.name: x.kernel for x in static.layers} == dict.fromkeys(("stem", "body", "head"), "integer")
    assert result.limits == {"max_drop_points": 1.0}
    assert "opset 11 raised to 17" in result.source.notes


def test_the_reports_say_what_came_of_it(finished):
    result, folder = finished
    written = write_reports(result, folder / "out")
    text, html = markdown(result), render(result)

    assert {p.name for p in written} == {"report.html", "report.md"}
    assert f"int8 ({result.shipped}) ships" in text.replace("\\", "")
    assert "| float | 100.00" in text
    assert "opset 11" in text
    assert "stem" in html
    assert re.search(r"<script|src=|https?://", html) is None


def test_a_second_run_replaces_its_own_folder_and_nobody_elses(finished, tmp_path):
    result, folder = finished
    options = Options(folder / "calib.npz", profile="smoke", allow_slower=True, how="static")
    killed = folder / "killed"  # what a run leaves that died while it wrote, and a note that the user put beside it
    (killed / "files" / "old").mkdir(parents=True)
    (killed / ".compress-quantize").touch()
    (killed / "mine.txt").write_text("keep me")

    again = quantize_file(folder / "blobs.onnx", options, killed)

    assert sorted(p.name for p in (killed / "files").iterdir()) == [FLOAT, "static"]
    assert (killed / "mine.txt").read_text() == "keep me"
    assert again.file("static").sha256 == result.file("static").sha256  # the same input gives the same bytes
    (tmp_path / "bundle").mkdir()
    with pytest.raises(UsageError, match="it holds bundle, which this command did not write"):
        quantize_file(folder / "blobs.onnx", options, tmp_path)
    assert (tmp_path / "bundle").is_dir()


def test_a_dry_run_shows_the_recipe_and_writes_nothing(finished, tmp_path):
    _, folder = finished
    done = invoke(folder / "blobs.onnx", "--data", folder / "calib.npz", "--dry-run", "--out", tmp_path / "none")

    assert done.exit_code == 0, done.output
    assert "recipe for x86-vnni" in done.output
    assert "40 calibrate, 20 choose, 20 judge" in done.output
    plain = " ".join(done.output.split())
    assert "1. static: uint8 activations, minmax ranges; int8 weights per output channel, 8 bits" in plain
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--target", "armv7"], 2, "armv7 has no ONNX Runtime"),
        (["--target", "z80"], 2, "no target 'z80'"),
        (["--fix", "x"], 2, "'x' has no value"),
        (["--keep-float", "nose"], 2, "no layer 'nose'"),
        (["--labels", "none.npy"], 2, "none.npy: there is no such file"),
    ],
)
def test_wrong_calls_end_with_their_code_and_a_fix(finished, more, code, message):
    _, folder = finished
    done = invoke(folder / "blobs.onnx", "--data", folder / "calib.npz", *more)
    assert done.exit_code == code
    assert message in done.output
    assert "fix: " in done.output


def test_bad_files_are_refused_before_anything_is_written(tmp_path):
    (tmp_path / "cut.onnx").write_bytes(nets.conv_net().SerializeToString()[:300])
    np.savez(tmp_path / "c.npz", x=nets.images(16))
    done = invoke(tmp_path / "cut.onnx", "--data", tmp_path / "c.npz", "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "cut off" in done.output
    assert not (tmp_path / "out").exists()


def test_where_the_engine_leaves_everything_in_float_the_run_fails(tmp_path):
    """The one layer that could be integer is read inside an If, by its float name."""
    net = nets.branching_net(hidden=False)
    del net.graph.node[1]  # stem
    net.graph.node[1].input[0] = "x"
    net.graph.initializer[2].CopyFrom(nets.weights("w1", 3, 3, 3, 3))
    path = nets.save(tmp_path / "net.onnx", net)
    np.savez(tmp_path / "c.npz", x=nets.images(16), rate=np.array(8))

    with pytest.raises(ExportError, match="the engine computes all of its layers in float all the same"):
        quantize_file(path, Options(tmp_path / "c.npz", profile="smoke"), tmp_path / "out")


def test_a_preparation_that_changes_the_answers_is_refused(tmp_path, monkeypatch):
    from compress.given_onnx import opened

    path = nets.save(tmp_path / "net.onnx", nets.dense_net())
    np.savez(tmp_path / "c.npz", x=np.random.default_rng(0).normal(size=(16, 20)).astype(np.float32))
    real = opened.prepare

    def wrong(given, fixed):
        prepared = real(given, fixed)
        weight = next(i for i in prepared.model.graph.initializer if len(i.dims) == 2)
        weight.CopyFrom(nets.constant(weight.name, 1.01 * onnx.numpy_helper.to_array(weight)))
        return prepared

    monkeypatch.setattr(opened, "prepare", wrong)
    with pytest.raises(ModelError, match="bringing it up to date changed output 'y'"):
        open_all(path, Options(tmp_path / "c.npz"))


def row(name, ratio=None, low=0.0, ok=True, size=100):
    timed = None
    if ratio is not None:
        timed = Latency(device="cpu", engine="e", threads=1, batch=1, label="measured", processes_ms=((1.0,),),
                        p50_ms=1.0, p90_ms=1.0, ratio=ratio, ratio_ci95=(low, ratio * 1.1))  # fmt: skip
    return FileRow(id=name, reason="", sha256="", size_bytes=size, gzip_bytes=size, kernels={}, operators={},
                   layers=(), latency=timed, ok=ok, verdict="" if ok else "it strays")  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "shipped", "said"),
    [
        ([row("a", 1.5, 1.4), row("b", 2.0, 1.9)], "b", "2.00 times as fast as the float file and 4.0 times smaller"),
        ([row("a", 1.5, 1.4), row("b", 2.0, 1.9, ok=False)], "a", "1.50 times as fast"),
        ([row("a", 1.02, 0.99)], FLOAT, "int8 is not faster: a runs at 1.02 times"),
        ([row("a", 3.0, 2.9, ok=False)], FLOAT, "no int8 file keeps the limit: a: it strays"),
    ],
)
def test_the_fastest_sound_file_ships_if_it_is_faster_beyond_doubt(rows, shipped, said):
    found, reason = choose((row(FLOAT, size=400), *rows), allow_slower=False)
    assert found == shipped
    assert said in reason


def test_allow_slower_ships_for_the_size():
    found, reason = choose((row(FLOAT, size=400), row("a", 0.7, 0.6)), allow_slower=True)
    assert (found, "4.0 times smaller" in reason) == ("a", True)


def test_a_result_of_something_else_is_named(tmp_path):
    path = Path(tmp_path / "result.json")
    for text, message in (("{", "cannot be read"), (json.dumps({"format": "compress.result"}), "no compress.quantize"),
                          (json.dumps({"format": "compress.quantize-result", "version": 1}), "damaged")):  # fmt: skip
        path.write_text(text)
        with pytest.raises(UsageError, match=message):
            load(path)


def test_products_with_one_hot_rows_become_look_ups_only_where_every_answer_stays(tmp_path, monkeypatch):
    from compress.given_onnx import opened

    prepared = prepare(open_onnx(nets.save(tmp_path / "net.onnx", one_hot_net())))
    feeds = [{"ids": np.array([[i, 8 - i, -1]], np.int32)} for i in range(8)]
    lean = lighter(prepared, feeds)

    assert (lean.lookups, lean.changes()) == (1, ("in int8 files a product with one-hot rows became a look-up",))
    other = with_lookups(one_hot_net(columns=[0, 1, 2, 3, 4, 5, 6]))[0]
    table = next(i for i in other.graph.initializer if i.name == "embed_lookup_table")
    table.CopyFrom(nets.constant(table.name, np.ones(tuple(table.dims), np.float32)))
    monkeypatch.setattr(opened, "with_lookups", lambda model: (other, 1))
    assert lighter(prepared, feeds) is prepared
